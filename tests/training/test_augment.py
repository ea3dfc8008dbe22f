"""Augmentation changes what a view looks like, not what is in it."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.training.augment import augment, other_modality

NO_COLOURS = np.zeros((0, 2, 3))


def tile() -> tuple[np.ndarray, np.ndarray]:
    """A dark object on a bright, noisy field, off the middle."""
    labels = np.zeros((64, 64), np.int32)
    labels[8:30, 12:50] = 1
    noise = np.random.default_rng(0).integers(0, 12, (64, 64, 3))
    pixels = np.where(labels[..., None] == 1, (120, 60, 140), (225, 205, 220)) + noise
    return pixels.astype(np.uint8), labels


@pytest.mark.parametrize("seed", range(40))
def test_the_object_stays_where_its_label_is(seed: int) -> None:
    pixels, labels = augment(*tile(), np.random.default_rng(seed), colours=NO_COLOURS)
    grey = pixels.astype(float).sum(axis=2)
    inside, outside = grey[labels == 1], grey[labels == 0]
    assert abs(np.median(inside) - np.median(outside)) > 3 * max(inside.std(), outside.std()) / 2
    assert np.count_nonzero(labels) == 22 * 38


def test_some_views_are_bright_on_dark() -> None:
    bright = 0
    for seed in range(300):
        pixels, labels = augment(*tile(), np.random.default_rng(seed), colours=NO_COLOURS)
        bright += pixels[labels == 1].mean() > pixels[labels == 0].mean()
    assert 9 <= bright <= 40, "seven tenths of one in ten"


@pytest.mark.parametrize("seed", range(12))
def test_another_modality_keeps_contrast_and_range(seed: int) -> None:
    pixels, labels = tile()
    seen = other_modality(pixels, np.random.default_rng(seed))
    assert seen.shape == pixels.shape
    assert seen.dtype == np.uint8
    channel = int(np.argmax([np.ptp(seen[..., i]) for i in range(3)]))
    inside, outside = (seen[..., channel][labels == value].astype(float) for value in (1, 0))
    assert abs(inside.mean() - outside.mean()) > 60
