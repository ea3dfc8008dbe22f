"""Augmentation changes what a crop looks like, not what is in it."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.training.augment import augment, other_modality, tilted

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
    # Tilted, a part of it may lie outside, and the border's mirror image show it twice.
    assert abs(np.count_nonzero(labels) - 22 * 38) < 0.3 * 22 * 38


def test_some_crops_are_bright_on_dark() -> None:
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


@pytest.mark.parametrize("degrees", [-45.0, 7.5, 30.0])
def test_a_tilted_crop_has_its_labels_where_its_object_is(degrees: float) -> None:
    rows, columns = np.mgrid[:256, :256]
    labels = ((abs(rows - 90) < 20) & (abs(columns - 130) < 50)).astype(np.int32) * 7
    pixels = np.where(labels, 60, 220)[..., None].repeat(3, -1).astype(np.uint8)
    turned, marks = tilted(pixels, labels, degrees)
    assert marks.dtype == labels.dtype
    assert set(np.unique(marks)) == {0, 7}
    dark, light = turned[..., 0] < 80, turned[..., 0] > 200
    assert (marks[dark] == 7).all()
    assert (marks[light] == 0).all()
    assert (marks != labels).any()
