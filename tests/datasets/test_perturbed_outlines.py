"""Spoilt outlines: as bad as asked, the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.datasets.perturbed_outlines import perturbed_outline
from qupath_sam.types.masks import intersection_over_union
from tests.evaluation.pictures import disc


@pytest.mark.parametrize("radius", [5, 12, 40])
@pytest.mark.parametrize("iou", [0.6, 0.8, 0.9])
def test_the_iou_is_near_what_was_asked_for(radius, iou) -> None:
    truth = disc(128, 60.5, 70, radius)
    reached = [intersection_over_union(perturbed_outline(truth, seed=s, iou=iou), truth) for s in range(4)]
    assert reached == pytest.approx([iou] * 4, abs=0.05)


def test_an_object_that_fills_the_image_is_spoilt_too() -> None:
    """A field that is positive all over would let it swell, and there is no room."""
    filled, nearly = np.ones((64, 64), bool), np.ones((64, 64), bool)
    nearly[:2] = False
    for truth in (filled, nearly):
        reached = [intersection_over_union(perturbed_outline(truth, seed=s, iou=0.8), truth) for s in range(12)]
        assert reached == pytest.approx([0.8] * 12, abs=0.05)


def test_a_seed_decides_and_seeds_differ() -> None:
    truth = disc(64, 32, 32, 12)
    one, same, other = (perturbed_outline(truth, seed=s, iou=0.8) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_objects_at_the_border_filling_the_image_or_of_one_pixel_survive() -> None:
    for truth in (disc(40, 0, 0, 15), np.ones((24, 24), bool), disc(9, 4.5, 4.5, 0.6)):
        spoilt = perturbed_outline(truth, seed=0, iou=0.8)
        assert spoilt.shape == truth.shape
        assert spoilt.any()


def test_an_empty_object_is_refused() -> None:
    with pytest.raises(ValueError, match="no outline"):
        perturbed_outline(np.zeros((4, 4), bool), seed=0, iou=0.8)
