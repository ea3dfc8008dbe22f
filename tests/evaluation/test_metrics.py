"""Metrics against values worked out by hand, and laws that hold for all masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qupath_sam.evaluation.metrics import harm, is_square, locality
from qupath_sam.types.masks import intersection_over_union

pairs = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape))
)


def mask(*rows: str) -> np.ndarray:
    return np.array([[c == "x" for c in row] for row in rows])


def test_iou_of_a_half_overlap() -> None:
    one, other = mask("xxxx...."), mask("..xxxx..")
    assert intersection_over_union(one, other) == pytest.approx(2 / 6)


def test_iou_of_empty_masks() -> None:
    empty, full = mask("....", "...."), mask(".xx.", "....")
    assert intersection_over_union(empty, empty) == 1
    assert intersection_over_union(empty, full) == intersection_over_union(full, empty) == 0


@given(pairs)
def test_laws_of_overlap(pair) -> None:
    one, other = pair
    iou = intersection_over_union(one, other)
    assert 0 <= iou <= 1
    assert iou == intersection_over_union(other, one)
    assert intersection_over_union(one, one) == 1


def test_harm_counts_what_was_right_and_is_wrong() -> None:
    truth = mask("xxxx....")
    before = mask("xx.x..x.")
    after = mask("x.xx.xx.")
    # pixel 1 was right and is missing, pixel 5 was right and is too much; pixel 6 was wrong before
    assert harm(before, after, truth) == pytest.approx(2 / 4)


def test_harm_of_the_first_click_is_its_false_positives() -> None:
    truth = mask("xx....")
    assert harm(np.zeros_like(truth), mask("xxxxx."), truth) == pytest.approx(3 / 2)


def test_harm_needs_an_object() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        harm(mask(".x"), mask("x."), mask(".."))


@given(pairs)
def test_a_click_that_only_mends_does_no_harm(pair) -> None:
    before, truth = pair
    if truth.any():
        assert harm(before, truth, truth) == 0
        assert harm(before, before, truth) == 0


def test_locality_is_the_share_that_changed_elsewhere() -> None:
    before = mask("......", "......", "......")
    after = mask("xx...x", "xx...x", "......")
    assert locality(before, after, (0, 0)) == pytest.approx(2 / 6)
    assert locality(before, after, (5, 1)) == pytest.approx(4 / 6)


def test_locality_where_the_clicked_place_did_not_change_and_where_nothing_did() -> None:
    before, after = mask("...."), mask("x...")
    assert locality(before, after, (3, 0)) == 1
    assert locality(before, before, (3, 0)) == 0


def test_locality_joins_pixels_that_touch_by_a_corner() -> None:
    before, after = mask("..", ".."), mask("x.", ".x")
    assert locality(before, after, (0, 0)) == 0


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        intersection_over_union(mask("x"), mask("xx"))


def disc(radius: int, side: int = 256) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - side / 2, columns - side / 2) < radius


@pytest.mark.parametrize("radius", [5, 12, 26, 30, 60, 100])
def test_round_objects_are_no_squares(radius: int) -> None:
    assert not is_square(disc(radius))


def test_what_a_window_cut_off_is_a_square() -> None:
    square = np.zeros((256, 256), bool)
    square[60:180, 50:190] = True
    assert is_square(square)
    half = disc(80)
    half[:, 128:] = False
    assert is_square(half)
    hollow = disc(100)
    hollow[90:160, 90:160] = False
    assert is_square(hollow)


def test_the_image_cuts_objects_off_and_small_ones_are_straight_in_part() -> None:
    cut_off = np.roll(disc(80), 128, axis=1)
    cut_off[:, 128:] = False
    assert cut_off[:, 0].any()
    assert not is_square(cut_off)
    small = np.zeros((256, 256), bool)
    small[100:120, 100:118] = True
    assert not is_square(small)
    assert not is_square(np.zeros((9, 9), bool))
    assert not is_square(np.ones((256, 256), bool))
