"""RITM, FocalClick and SimpleClick behind the `Segmenter` contract: their rules of inference round their networks."""
