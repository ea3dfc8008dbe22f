"""What a decode needs is computed once: counted, and bit by bit what it was when it was computed twice."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from qupath_sam.models.frame import ModelFrame, masks_over_window
from tests.contracts.segmenters import clicks, picture, with_logits
from tests.models.networks import small_sam


@pytest.mark.parametrize("size", [(256, 256), (256, 128), (31, 300), (512, 512)])
def test_masks_over_a_window_are_those_of_the_interpolation(size: tuple[int, int]) -> None:
    logits = torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(1))
    logits[0, :4] = 0.0
    logits[1, :4] = torch.tensor(-0.0)
    expected = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0] > 0
    assert torch.equal(masks_over_window(logits, size), expected)


def test_a_window_of_the_logits_own_size_is_not_interpolated() -> None:
    with patch.object(F, "interpolate") as interpolate:
        masks_over_window(torch.randn(1, 256, 256), (256, 256))
    assert not interpolate.called


def test_the_mask_before_a_click_is_put_over_the_square_once() -> None:
    segmenter = small_sam()
    embedding = segmenter.embed(picture(90, 140))
    first = segmenter.decode(embedding, [clicks((50, 40))])[0]
    second = with_logits(clicks((50, 40), (60, 45)), first.logits[0])
    original, calls = ModelFrame.logits_over_square, []

    def counted(self: ModelFrame, logits: torch.Tensor) -> torch.Tensor:
        calls.append(logits.shape)
        return original(self, logits)

    with patch.object(ModelFrame, "logits_over_square", counted):
        segmenter.decode(embedding, [second])
    assert len(calls) == 1


def test_an_embedding_is_brought_into_the_decoders_format_once_while_a_person_clicks_in_its_window() -> None:
    segmenter = small_sam()
    embedding, other = (segmenter.embed(picture(64, 64, seed=seed)) for seed in (1, 2))
    images = []
    original = segmenter.network.decode

    def seen(image: torch.Tensor, *args: object, **options: object) -> object:
        images.append(image)
        return original(image, *args, **options)  # type: ignore[arg-type]

    with patch.object(segmenter.network, "decode", seen):
        first, second = (segmenter.decode(embedding, [clicks((20, 20))])[0] for _ in range(2))
        elsewhere = segmenter.decode(other, [clicks((20, 20))])[0]
        again = segmenter.decode(embedding, [clicks((20, 20))])[0]
    assert images[0] is images[1]
    assert images[2] is not images[0]
    for image, of in zip(images, (embedding, embedding, other, embedding), strict=True):
        assert torch.equal(image, of.tensors["image"].float())
    for answer in (second, again):
        np.testing.assert_array_equal(answer.logits, first.logits)
    assert not np.array_equal(elsewhere.logits, first.logits)
