"""Prompts that a model makes itself: a dense head proposes objects; the decoder is asked where that is not enough."""
