"""The memory of a model is that of all its networks, each counted once."""

from __future__ import annotations

from qupath_sam.models.fake import FakeSegmenter
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.weight_bytes import weight_bytes


def test_two_decoders_share_one_encoder() -> None:
    segmenter = load_segmenter("lite_medsam_histology", device="cpu").segmenter
    first, second = segmenter.first, segmenter.second  # type: ignore[attr-defined]
    encoder = sum(p.numel() * p.element_size() for p in first.network.image_encoder.parameters())
    whole = weight_bytes(segmenter)
    assert encoder < weight_bytes(first) < whole
    assert whole <= weight_bytes(first) + weight_bytes(second) - encoder


def test_a_model_without_weights_takes_none() -> None:
    assert weight_bytes(FakeSegmenter()) == 0
