"""Cracks and lumens of stained tissue are no nuclei; bright nuclei of fluorescence are."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.engine.automatic.objects import dense_objects
from qupath_sam.engine.automatic.stained import darker_than_around
from qupath_sam.training.dense.targets import dense_targets
from tests.engine.test_watershed import discs

TISSUE, NUCLEUS, CRACK = (225, 160, 200), (90, 50, 130), (240, 225, 241)


@pytest.mark.parametrize(
    ("background", "first", "second", "left"),
    [
        (TISSUE, NUCLEUS, CRACK, 1),
        (TISSUE, NUCLEUS, NUCLEUS, 2),
        ((120, 30, 60), (90, 50, 100), (180, 120, 160), 1),
        ((20, 20, 20), (230, 230, 230), (250, 250, 250), 2),
        ((0, 0, 30), (0, 0, 255), (40, 40, 255), 2),
    ],
    ids=["a crack in tissue", "nuclei", "a crack in dark keratin", "grey fluorescence", "blue fluorescence"],
)
@pytest.mark.parametrize("places", [((30, 30, 12), (70, 60, 10)), ((6, 8, 12), (90, 91, 10))], ids=["inside", "edge"])
def test_what_is_brighter_than_stained_tissue_is_left_out(
    places: tuple[tuple[float, float, float], ...],
    background: tuple[int, ...],
    first: tuple[int, ...],
    second: tuple[int, ...],
    left: int,
) -> None:
    labels = discs(*places, size=96)
    objects = dense_objects(dense_targets(labels))
    pixels = np.full((96, 96, 3), background, np.uint8)
    for number, colour in zip(np.unique(labels[labels > 0]), (first, second), strict=True):
        pixels[labels == number] = colour
    kept = darker_than_around(objects, pixels)
    assert len(objects) == 2
    assert len(kept) == left
    assert kept[0] is objects[0]


def test_an_object_among_others_on_all_sides_stays() -> None:
    labels = np.ones((40, 40), np.int32)
    labels[10:30, 10:30] = 2
    objects = dense_objects(dense_targets(labels))
    pixels = np.full((40, 40, 3), TISSUE, np.uint8)
    assert darker_than_around(objects, pixels) == objects
