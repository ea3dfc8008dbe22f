"""The simulated user, against RITM's rule worked out by brute force."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qupath_sam.datasets.simulated_clicks import Jitter, error_distance, next_click
from qupath_sam.types.prompts import Label
from tests.evaluation.pictures import disc

masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: st.tuples(*(arrays(np.bool_, shape) for _ in range(3)))
)


def brute_force_distance(error: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest one that is no error, looking at all of them."""
    padded = np.pad(error, 1)
    outside = np.argwhere(~padded)
    distance = np.zeros(padded.shape)
    for row, column in np.argwhere(padded):
        distance[row, column] = math.sqrt(((outside - (row, column)) ** 2).sum(axis=1).min())
    return distance[1:-1, 1:-1]


@given(masks)
def test_distance_is_exact_and_the_border_counts_as_outside(three) -> None:
    np.testing.assert_allclose(error_distance(three[0]), brute_force_distance(three[0]))


@given(masks)
def test_next_click_is_ritms(three) -> None:
    prediction, truth, clicked = three
    missed = brute_force_distance(truth & ~prediction) * ~clicked
    excess = brute_force_distance(prediction & ~truth) * ~clicked
    click = next_click(prediction, truth, clicked)
    if max(missed.max(), excess.max()) == 0:
        assert click is None
        return
    positive = missed.max() > excess.max()
    chosen = missed if positive else excess
    row, column = np.argwhere(chosen == chosen.max())[0]
    assert click is not None
    assert (click.x, click.y) == (column, row)
    assert click.label is (Label.POSITIVE if positive else Label.NEGATIVE)
    assert click.point == (column + 0.5, row + 0.5)


def test_the_first_click_goes_to_the_middle_and_is_positive() -> None:
    truth = disc(33, 16.5, 16.5, 10)
    click = next_click(np.zeros_like(truth), truth, np.zeros_like(truth))
    assert click is not None
    assert (click.x, click.y, click.label) == (16, 16, Label.POSITIVE)


def test_equal_errors_get_a_negative_click() -> None:
    truth, prediction = np.zeros((3, 9), bool), np.zeros((3, 9), bool)
    truth[:, :3] = True
    prediction[:, 6:] = True
    click = next_click(prediction, truth, np.zeros_like(truth))
    assert click is not None
    assert (click.x, click.y, click.label) == (7, 1, Label.NEGATIVE)


def test_a_perfect_mask_gets_no_click() -> None:
    truth = disc(16, 8, 8, 4)
    assert next_click(truth, truth, np.zeros_like(truth)) is None


@given(masks, st.integers(0, 9), st.floats(0, 1))
def test_a_jittered_click_stays_in_the_error_it_is_for(three, seed, spread) -> None:
    prediction, truth, clicked = three
    middle = next_click(prediction, truth, clicked)
    click = next_click(prediction, truth, clicked, jitter=Jitter(np.random.default_rng(seed), spread))
    again = next_click(prediction, truth, clicked, jitter=Jitter(np.random.default_rng(seed), spread))
    assert click == again
    if middle is None:
        assert click is None
        return
    assert click is not None
    assert click.label is middle.label
    assert truth[click.y, click.x] != prediction[click.y, click.x]
    assert not clicked[click.y, click.x]


def test_jitter_without_spread_keeps_the_middle_and_with_it_does_not() -> None:
    truth = disc(33, 16.5, 16.5, 10)
    empty = np.zeros_like(truth)

    def places(spread: float) -> set[tuple[int, int]]:
        found = set()
        for seed in range(20):
            click = next_click(empty, truth, empty, jitter=Jitter(np.random.default_rng(seed), spread))
            assert click is not None
            found.add((click.x, click.y))
        return found

    assert places(0) == {(16, 16)}
    near, far = places(0.5), places(1)
    assert len(near) > 5
    assert max(math.dist(p, (16, 16)) for p in near) < max(math.dist(p, (16, 16)) for p in far)
