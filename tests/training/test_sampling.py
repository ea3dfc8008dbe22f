"""The laws of simulated prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qupath_sam.datasets.simulated_clicks import next_click
from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasClick
from qupath_sam.training.sampling import (
    PromptMix,
    Start,
    choose_target,
    half_of,
    over_canvas,
    sample_box,
    sample_first_click,
    sample_next_click,
    sample_stroke,
    start_session,
    without_lumen,
)
from qupath_sam.types.masks import intersection_over_union

CLICKS = PromptMix(boxes=0, outlines=0, strokes=0, single=0, unions=0, lumens=0, halves=0)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:CANVAS_SIZE, :CANVAS_SIZE]
    return np.hypot(columns - x, rows - y) < radius


discs = st.builds(disc, st.floats(10, 245), st.floats(10, 245), st.floats(4, 90))


@settings(max_examples=15)
@given(truth=discs, seed=st.integers(0, 2**31), exact=st.sampled_from([0.0, 0.5, 1.0]))
def test_a_first_click_is_positive_and_inside(truth: np.ndarray, seed: int, exact: float) -> None:
    click = sample_first_click(truth, np.random.default_rng(seed), exact=exact)
    assert click.label.value == 1
    assert truth[click.y, click.x]


@settings(max_examples=15)
@given(truth=discs, prediction=discs, seed=st.integers(0, 2**31), exact=st.sampled_from([0.0, 1.0]))
def test_a_next_click_hits_an_error_of_its_side(truth, prediction, seed: int, exact: float) -> None:
    nothing = np.zeros_like(truth)
    click = sample_next_click(prediction, truth, nothing, np.random.default_rng(seed), exact=exact)
    if click is None:
        assert (prediction == truth).all()
        return
    assert truth[click.y, click.x] == (click.label.value == 1)
    assert prediction[click.y, click.x] != truth[click.y, click.x]
    if exact == 1.0:
        assert click == next_click(prediction, truth, nothing)


def test_first_clicks_are_spread_over_the_object() -> None:
    truth, random = disc(100, 100, 40), np.random.default_rng(0)
    clicks = {(c.x, c.y) for c in (sample_first_click(truth, random, exact=0.0) for _ in range(50))}
    assert len(clicks) > 30, "fifty draws from thousands of pixels hardly ever coincide"


@settings(max_examples=20)
@given(truth=discs, seed=st.integers(0, 2**31))
def test_a_box_stays_in_the_crop_and_near_the_object(truth: np.ndarray, seed: int) -> None:
    x0, y0, x1, y1 = sample_box(truth, np.random.default_rng(seed))
    assert 0 <= x0 < x1 <= CANVAS_SIZE
    assert 0 <= y0 < y1 <= CANVAS_SIZE
    drawn = np.zeros_like(truth)
    drawn[round(y0) : round(y1), round(x0) : round(x1)] = True
    assert (drawn & truth).sum() > 0.5 * truth.sum()


def test_sessions_start_in_the_shares_that_were_asked_for() -> None:
    labels, random = disc(100, 100, 20).astype(np.int32), np.random.default_rng(0)
    starts = [start_session(0, labels, (1,), random, PromptMix()).start for _ in range(200)]
    shares = [starts.count(start) / len(starts) for start in (Start.CLICK, Start.BOX, Start.OUTLINE, Start.STROKE)]
    # Four standard deviations of 200 draws are .14.
    np.testing.assert_allclose(shares, [0.64, 0.14, 0.12, 0.1], atol=0.14)


def test_an_outline_start_brings_a_mask_that_is_not_the_truth() -> None:
    labels = disc(100, 100, 40).astype(np.int32)
    session = start_session(0, labels, (1,), np.random.default_rng(1), PromptMix(boxes=0, outlines=1))
    assert session.previous is not None
    assert 0.4 < intersection_over_union((session.previous > 0).numpy(), session.truth) < 0.95
    assert session.prompts().newest == 0


def test_a_session_clicks_its_own_errors_until_its_limit() -> None:
    random = np.random.default_rng(3)
    session = start_session(0, disc(120, 120, 50).astype(np.int32), (1,), random, CLICKS)
    session.limit = 6
    answer = torch.full((CANVAS_SIZE, CANVAS_SIZE), -5.0)
    while session.go_on(answer, random, CLICKS):
        assert session.truth[session.clicks[-1].pixel], "the answer holds nothing: every click is positive"
        assert torch.equal(session.prompts().previous, answer)
        assert session.prompts().newest == 1
    assert session.answers == 6
    assert len({click.pixel for click in session.clicks}) == 6, "no pixel is clicked twice"


def test_a_perfect_answer_ends_a_session() -> None:
    random = np.random.default_rng(3)
    session = start_session(0, disc(120, 120, 50).astype(np.int32), (1,), random, CLICKS)
    session.limit = 20
    assert not session.go_on(torch.where(torch.from_numpy(session.truth), 5.0, -5.0), random, CLICKS)


def test_the_clicked_error_is_what_hangs_together_with_the_newest_click() -> None:
    random = np.random.default_rng(3)
    truth = disc(60, 60, 30) | disc(180, 180, 20)
    session = start_session(0, truth.astype(np.int32), (1,), random, replace(CLICKS, exact=1.0))
    session.limit = 20
    assert not session.clicked_error().any(), "before the first answer nothing is known to be wrong"
    found = torch.full((CANVAS_SIZE, CANVAS_SIZE), -5.0)
    assert session.go_on(found, random, replace(CLICKS, exact=1.0))
    np.testing.assert_array_equal(session.clicked_error(), disc(60, 60, 30), "the larger of the two that are missed")
    excess = disc(110, 60, 22) & ~disc(60, 60, 30)
    found[torch.from_numpy(disc(60, 60, 30) | excess | disc(180, 180, 18))] = 5.0
    session.clicks = (*session.clicks, CanvasClick(180, 180, True))  # else the second part is dropped
    assert session.go_on(found, random, replace(CLICKS, exact=1.0))
    assert not session.clicks[-1].positive
    np.testing.assert_array_equal(session.clicked_error(), excess)


@settings(max_examples=15)
@given(truth=discs, seed=st.integers(0, 2**31))
def test_half_of_a_disc_is_about_half_of_it(truth: np.ndarray, seed: int) -> None:
    half = half_of(truth, np.random.default_rng(seed))
    assert not (half & ~truth).any()
    np.testing.assert_allclose(half.sum() / truth.sum(), 0.5, atol=0.12)  # a small disc has many px on the line


def test_a_half_of_what_is_too_small_leaves_the_whole_object() -> None:
    labels = np.zeros((CANVAS_SIZE, CANVAS_SIZE), np.int32)
    labels[7, 9] = 1
    session = start_session(0, labels, (1,), np.random.default_rng(0), replace(CLICKS, halves=1.0))
    assert session.truth.sum() == 1


def test_halves_are_asked_for_in_their_share() -> None:
    labels, random = disc(100, 100, 40).astype(np.int32), np.random.default_rng(0)
    whole = (labels != 0).sum()
    halves = sum(
        start_session(0, labels, (1,), random, replace(CLICKS, halves=0.25)).truth.sum() < 0.7 * whole
        for _ in range(200)
    )
    # Four standard deviations of 200 draws are .12.
    np.testing.assert_allclose(halves / 200, 0.25, atol=0.12)


def test_unions_hold_neighbours_only() -> None:
    labels = (1 * disc(60, 60, 20) + 2 * disc(102, 60, 18) + 3 * disc(200, 200, 20)).astype(np.int32)
    mix = PromptMix(unions=1.0)
    found = {
        frozenset(np.unique(labels[choose_target(labels, (1, 2, 3), np.random.default_rng(seed), mix)]).tolist())
        for seed in range(20)
    }
    assert found == {frozenset({1, 2}), frozenset({3})}
    with pytest.raises(ValueError, match="without targets"):
        choose_target(labels, (), np.random.default_rng(0), mix)


@settings(max_examples=20)
@given(truth=discs, seed=st.integers(0, 2**31))
def test_a_stroke_is_positive_and_inside(truth: np.ndarray, seed: int) -> None:
    stroke = sample_stroke(truth, np.random.default_rng(seed))
    assert 1 <= len(stroke) <= 8
    assert all(truth[click.y, click.x] and click.label.value == 1 for click in stroke)


def test_a_stroke_is_one_prompt_of_several_points() -> None:
    random = np.random.default_rng(5)
    mix = replace(CLICKS, strokes=1.0)
    session = start_session(0, disc(120, 120, 50).astype(np.int32), (1,), random, mix)
    points = len(session.clicks)
    assert session.start is Start.STROKE
    assert session.is_ambiguous
    assert session.prompts().newest == points > 1
    session.limit = 5
    assert session.go_on(torch.full((CANVAS_SIZE, CANVAS_SIZE), -5.0), random, mix)
    assert (len(session.clicks), session.prompts().newest) == (points + 1, 1)
    assert not session.is_ambiguous


def test_the_truth_of_a_larger_image_is_held_twice() -> None:
    fine = disc(100, 120, 30).repeat(4, 0).repeat(4, 1)
    fine[0, 0] = True  # less than half of a canvas px
    np.testing.assert_array_equal(over_canvas(fine), disc(100, 120, 30))
    session = start_session(0, fine.astype(np.int16), (1,), np.random.default_rng(0), CLICKS)
    np.testing.assert_array_equal(session.fine_truth, fine)
    np.testing.assert_array_equal(session.truth, disc(100, 120, 30))


@pytest.mark.parametrize("size", [1, 4])
def test_a_gland_may_be_asked_for_without_its_lumen(size: int) -> None:
    gland, lumen = disc(120, 120, 60), disc(130, 120, 25)
    image = np.where(lumen, 240, 120)[..., None].repeat(3, -1).astype(np.uint8)
    image[:20] = 250  # the slide's glass is white too
    larger = [each.repeat(size, 0).repeat(size, 1) for each in (gland, lumen, image)]
    rest = without_lumen(larger[0], larger[2])
    off = rest != (larger[0] & ~larger[1])
    assert np.count_nonzero(off) < 0.1 * np.count_nonzero(larger[1])
    np.testing.assert_array_equal(without_lumen(larger[0], np.full_like(larger[2], 120)), larger[0])


def test_what_is_clicked_next_is_the_error_of_one_object() -> None:
    """Parts that hold no click are dropped, as the product drops them."""
    random = np.random.default_rng(3)
    session = start_session(0, disc(120, 120, 50).astype(np.int32), (1,), random, replace(CLICKS, exact=1.0))
    session.limit = 20
    found = torch.from_numpy(np.where(disc(120, 120, 45) | disc(220, 220, 30), 5.0, -5.0).astype(np.float32))
    assert session.go_on(found, random, replace(CLICKS, exact=1.0))
    assert session.clicks[-1].positive, "the far disc is no error any more"
    np.testing.assert_array_equal((session.previous > 0).numpy(), disc(120, 120, 45))
