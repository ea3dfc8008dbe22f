"""Boxes that come alone are answered by the model that was not tuned, exactly as it answers them itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qupath_sam.models.base import WindowPrompts
from qupath_sam.models.load import LoadedModel, load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from tests.contracts.segmenters import clicks


@pytest.fixture(scope="module")
def default() -> LoadedModel:
    return load_segmenter(DEFAULT_MODEL, device="cpu")


@pytest.fixture(scope="module")
def untuned(default: LoadedModel) -> LoadedModel:
    return load_segmenter(default.spec.boxes_by, device="cpu")


def _window(height: int, width: int) -> np.ndarray:
    """A bright disc on dark noise: like nothing that the default was tuned on."""
    rows, columns = np.mgrid[:height, :width]
    inside = np.hypot(rows - height / 2, columns - width / 2) < min(height, width) / 5
    noise = np.random.default_rng(0).integers(0, 25, (height, width, 3))
    return (np.where(inside[..., None], (40, 200, 60), (10, 10, 15)) + noise).astype(np.uint8)


def _box(height: int, width: int) -> WindowPrompts:
    radius = min(height, width) / 5
    box = (width / 2 - radius, height / 2 - radius, width / 2 + radius, height / 2 + radius)
    return replace(clicks((1, 1)), points=np.zeros((0, 2), np.float32), labels=np.zeros(0, np.int64), box=box)


@pytest.mark.parametrize("size", [(256, 256), (300, 200)])
def test_a_box_gets_the_untuned_models_answer(
    default: LoadedModel, untuned: LoadedModel, size: tuple[int, int]
) -> None:
    pixels, box = _window(*size), _box(*size)
    (answer,) = default.segmenter.decode(default.segmenter.embed(pixels), [box])
    (expected,) = untuned.segmenter.decode(untuned.segmenter.embed(pixels), [box])
    np.testing.assert_array_equal(answer.logits, expected.logits)
    np.testing.assert_array_equal(answer.masks, expected.masks)
    rows, columns = np.mgrid[: size[0], : size[1]]
    disc = np.hypot(rows + 0.5 - size[0] / 2, columns + 0.5 - size[1] / 2) < min(size) / 5
    assert np.count_nonzero(answer.masks[0] & disc) / np.count_nonzero(answer.masks[0] | disc) > 0.9


def test_boxes_and_clicks_in_one_call_come_back_in_their_order(default: LoadedModel) -> None:
    pixels = _window(256, 256)
    embedding = default.segmenter.embed(pixels)
    prompts = [clicks((128, 128)), _box(256, 256), clicks((20, 20)), replace(_box(256, 256), box=(90, 90, 140, 140))]
    together = default.segmenter.decode(embedding, prompts)
    for prompt, answer in zip(prompts, together, strict=True):
        (alone,) = default.segmenter.decode(embedding, [prompt])
        np.testing.assert_array_equal(answer.logits, alone.logits)


def test_a_second_window_does_not_get_the_firsts_boxes(default: LoadedModel) -> None:
    bright, other = _window(256, 256), np.full((256, 256, 3), 230, np.uint8)
    first, second = (default.segmenter.embed(pixels) for pixels in (bright, other))
    (before,) = default.segmenter.decode(first, [_box(256, 256)])
    (between,) = default.segmenter.decode(second, [_box(256, 256)])
    (after,) = default.segmenter.decode(first, [_box(256, 256)])
    assert not np.array_equal(before.logits, between.logits)
    np.testing.assert_array_equal(before.logits, after.logits)


def test_boxes_are_left_to_no_model_of_another_kind(untuned: LoadedModel, default: LoadedModel) -> None:
    with pytest.raises(ValueError, match="same family"):
        untuned.segmenter.leave_boxes_to(default.segmenter)
