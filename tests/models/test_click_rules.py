"""What a click may change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qupath_sam.models.click_rules import ClickRules, apply_box_rule, apply_click_rules
from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasClick, CanvasPrompts, reach_of

positions = st.integers(0, CANVAS_SIZE - 1)
clicks = st.lists(st.builds(CanvasClick, positions, positions, st.booleans()), min_size=1, max_size=8)


def blobs(seed: int) -> np.ndarray:
    """Logits with a few connected parts on each side."""
    coarse = np.random.default_rng(seed).normal(0, 3, (16, 16))
    return np.kron(coarse, np.ones((16, 16))).astype(np.float32)


def asked(of: list[CanvasClick], previous: np.ndarray | None, *, newest: int = 1) -> CanvasPrompts:
    return CanvasPrompts(tuple(of), newest, None, None if previous is None else torch.from_numpy(previous))


@settings(max_examples=30)
@given(of=clicks, seed=st.integers(0, 99), first=st.booleans())
def test_the_newest_click_ends_on_its_side_and_so_do_the_earlier_ones(of, seed: int, first: bool) -> None:
    prompts = asked(of, None if first else blobs(seed + 1))
    result = apply_click_rules(blobs(seed), prompts, ClickRules())
    for place, click in enumerate(of):
        later = {other.pixel for other in of[place + 1 :]}
        near = any(max(abs(a - b) for a, b in zip(click.pixel, pixel, strict=True)) <= 1 for pixel in later)
        if not near:
            assert (result[click.pixel] > 0) == click.positive


@settings(max_examples=30)
@given(of=clicks.filter(lambda c: len(c) >= 5), seed=st.integers(0, 99))
def test_from_the_fifth_click_on_changes_hang_together_with_the_click(of, seed: int) -> None:
    from scipy import ndimage

    before, after = blobs(seed + 1), blobs(seed)
    result = apply_click_rules(after, asked(of, before), ClickRules(merge_from=5))
    changed = (result > 0) != (before > 0)
    parts, count = ndimage.label(changed)
    earlier = {click.pixel for click in of[:-1]}
    for part in range(1, count + 1):
        rows, columns = np.nonzero(parts == part)
        touches = (np.hypot(rows - of[-1].y, columns - of[-1].x) <= 3).any()
        assert touches or all(pixel in earlier for pixel in zip(rows.tolist(), columns.tolist(), strict=True))


def test_before_that_everything_may_change() -> None:
    before, after = blobs(1), blobs(2)
    of = [CanvasClick(10, 10, True)] * 4
    result = apply_click_rules(after, asked(of, before), ClickRules(merge_from=5))
    assert np.count_nonzero((result > 0) != (after > 0)) <= 9


def test_without_a_newest_click_nothing_is_judged() -> None:
    after = blobs(2)
    assert apply_click_rules(after, asked([CanvasClick(10, 10, True)], blobs(1), newest=0), ClickRules()) is after


@pytest.mark.parametrize(
    ("click", "reach"),
    [
        (CanvasClick(115, 105, True), 6),
        (CanvasClick(105, 105, True), 1.5),  # on its side already
        (CanvasClick(255, 105, True), 64),  # farther than counts
        (CanvasClick(105, 105, False), 5),
    ],
)
def test_reach_is_the_distance_to_the_clicks_own_side(click: CanvasClick, reach: float) -> None:
    mask = np.zeros((256, 256), bool)
    mask[100:110, 100:110] = True
    assert reach_of(click, mask) == reach


def test_reach_where_nothing_is_on_the_clicks_side() -> None:
    assert reach_of(CanvasClick(9, 9, True), np.zeros((256, 256), bool)) == 16


def test_input_is_left_as_it_is() -> None:
    after = blobs(2)
    kept = after.copy()
    apply_click_rules(after, asked([CanvasClick(10, 10, True)] * 6, blobs(1)), ClickRules())
    np.testing.assert_array_equal(after, kept)


corners = st.integers(0, CANVAS_SIZE - 20)
sides = st.integers(4, 120)


@settings(max_examples=30)
@given(x=corners, y=corners, width=sides, height=sides, seed=st.integers(0, 99))
def test_a_box_alone_holds_its_object(x: int, y: int, width: int, height: int, seed: int) -> None:
    box = (float(x), float(y), float(min(x + width, CANVAS_SIZE)), float(min(y + height, CANVAS_SIZE)))
    before = blobs(seed)
    result = apply_box_rule(before, CanvasPrompts((), 0, box=box), ClickRules(box_share=0.05, box_margin=2))
    rows, columns = np.nonzero(result > 0)
    around = max(2, 0.05 * max(width, height))
    assert (columns + 1 > box[0] - around).all()
    assert (columns < box[2] + around).all()
    assert (rows + 1 > box[1] - around).all()
    assert (rows < box[3] + around).all()
    within = np.s_[y : int(box[3]), x : int(box[2])]
    np.testing.assert_array_equal(result[within], before[within])


def test_a_box_beside_other_prompts_bounds_nothing() -> None:
    before, box = blobs(1), (100.0, 100.0, 120.0, 120.0)
    for prompts in (
        CanvasPrompts((CanvasClick(110, 110, True),), 1, box=box),
        CanvasPrompts((), 0, box=box, previous=torch.from_numpy(blobs(2))),
        CanvasPrompts((), 0, previous=torch.from_numpy(blobs(2))),
    ):
        np.testing.assert_array_equal(apply_box_rule(before, prompts, ClickRules()), before)


def test_a_later_click_leaves_the_ground_round_an_earlier_one() -> None:
    """The decoder answers a negative click by giving up all: what is nearer to the earlier stroke stays."""
    before = np.full((CANVAS_SIZE,) * 2, -5, np.float32)
    before[40:200, 40:200] = 5
    stroke = [CanvasClick(x, 60, True) for x in (50, 100, 190)]
    nothing = np.full_like(before, -5)
    result = apply_click_rules(nothing, asked([*stroke, CanvasClick(100, 180, False)], before), ClickRules())
    assert (result[41:110, 60:140] > 0).all(), "nearer to the stroke"
    assert (result[130:, 80:120] < 0).all(), "nearer to the click"
    assert ((result > 0) <= (before > 0)).all()


def test_what_a_later_click_gives_up_far_from_earlier_ones_stays_given_up() -> None:
    """No earlier click is on the wrong side then, and the decoder's answer stands."""
    before = np.full((CANVAS_SIZE,) * 2, -5, np.float32)
    before[40:200, 40:200] = 5
    after = before.copy()
    after[100:200, 40:200] = -5
    of = [CanvasClick(100, 60, True), CanvasClick(100, 180, False)]
    np.testing.assert_array_equal(apply_click_rules(after, asked(of, before), ClickRules())[:170], after[:170])
