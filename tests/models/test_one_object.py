"""What is answered to clicks hangs together: other parts and pinholes go, unless a prompt asks for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from qupath_sam.models.click_rules import ClickRules, apply_rules, keep_clicked_parts
from qupath_sam.models.one_object import in_one_piece
from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasClick, CanvasPrompts


def logits_of(*discs: tuple[int, int, int], holes: tuple[tuple[int, int, int], ...] = ()) -> NDArray[np.float32]:
    """Discs (x, y, radius) at +4 and holes in them on -4."""
    rows, columns = np.mgrid[:CANVAS_SIZE, :CANVAS_SIZE]
    logits = np.full((CANVAS_SIZE, CANVAS_SIZE), -4.0, np.float32)
    for (x, y, radius), value in [*((d, 4.0) for d in discs), *((h, -4.0) for h in holes)]:
        logits[np.hypot(rows - y, columns - x) < radius] = value
    return logits


def clicked(*clicks: tuple[int, int, bool], **rest: object) -> CanvasPrompts:
    return CanvasPrompts(tuple(CanvasClick(x, y, positive) for x, y, positive in clicks), 1, **rest)  # type: ignore[arg-type]


def test_parts_that_no_click_points_at_are_dropped() -> None:
    logits = logits_of((60, 60, 30), (180, 180, 40), (240, 20, 3))
    kept = keep_clicked_parts(logits, clicked((60, 60, True)))
    np.testing.assert_array_equal(kept > 0, logits_of((60, 60, 30)) > 0)
    assert (kept[logits <= 0] == logits[logits <= 0]).all()
    assert logits[180, 180] == 4  # the input stays as it is


def test_clicks_on_several_parts_keep_them() -> None:
    logits = logits_of((60, 60, 30), (180, 180, 40), (240, 20, 3))
    kept = keep_clicked_parts(logits, clicked((60, 60, True), (180, 190, True)))
    np.testing.assert_array_equal(kept > 0, logits_of((60, 60, 30), (180, 180, 40)) > 0)


def test_a_click_beside_all_parts_means_the_nearest() -> None:
    logits = logits_of((60, 60, 30), (180, 180, 40))
    kept = keep_clicked_parts(logits, clicked((100, 60, True)))
    np.testing.assert_array_equal(kept > 0, logits_of((60, 60, 30)) > 0)


def test_a_ring_round_the_click_stays() -> None:
    ring = logits_of((128, 128, 60), holes=((128, 128, 30),))
    np.testing.assert_array_equal(keep_clicked_parts(ring, clicked((128, 128, True))) > 0, ring > 0)


def test_pinholes_are_filled_and_holes_are_not() -> None:
    logits = logits_of((128, 128, 60), holes=((110, 128, 2), (150, 128, 12)))
    kept = keep_clicked_parts(logits, clicked((128, 100, True)))
    np.testing.assert_array_equal(kept > 0, logits_of((128, 128, 60), holes=((150, 128, 12),)) > 0)


def test_a_pinhole_under_a_negative_click_stays() -> None:
    logits = logits_of((128, 128, 60), holes=((110, 128, 2),))
    kept = keep_clicked_parts(logits, clicked((128, 100, True), (110, 128, False)))
    np.testing.assert_array_equal(kept, logits)


@pytest.mark.parametrize(
    "prompts",
    [
        clicked((60, 60, True), box=(20.0, 20.0, 230.0, 230.0)),
        clicked((60, 60, True), keep_parts=True),
        clicked((60, 160, False)),
        CanvasPrompts(previous=torch.zeros(CANVAS_SIZE, CANVAS_SIZE)),
    ],
    ids=["a box", "asked for", "negative clicks alone", "no click"],
)
def test_several_parts_stay_where_they_may_be_meant(prompts: CanvasPrompts) -> None:
    logits = logits_of((60, 60, 30), (180, 180, 40))
    np.testing.assert_array_equal(keep_clicked_parts(logits, prompts), logits)


def test_all_masks_of_an_ambiguous_click_hang_together() -> None:
    small, large = logits_of((60, 60, 20), (180, 180, 20)), logits_of((60, 60, 50), (200, 180, 30))
    (ruled,) = apply_rules(np.stack([small, large])[None], [clicked((60, 60, True))], ClickRules(), ruled=0)
    np.testing.assert_array_equal(ruled[0] > 0, logits_of((60, 60, 20)) > 0)
    np.testing.assert_array_equal(ruled[1] > 0, logits_of((60, 60, 50)) > 0)


def test_the_rule_can_be_off() -> None:
    logits = logits_of((60, 60, 30), (180, 180, 40))
    rules = ClickRules(one_object=False)
    (ruled,) = apply_rules(logits[None, None], [clicked((60, 60, True))], rules, ruled=0)
    np.testing.assert_array_equal(ruled[0], logits)


def test_a_mask_of_any_shape_hangs_together_with_its_clicks() -> None:
    mask = np.zeros((40, 700), bool)
    mask[5:30, 100:160] = True
    mask[10:12, 120:122] = False  # a pinhole
    mask[20:26, 140:150] = False  # a hole
    mask[35:39, 690:] = True
    wanted = mask.copy()
    wanted[10:12, 120:122] = True
    wanted[35:39, 690:] = False
    np.testing.assert_array_equal(in_one_piece(mask, [(6, 101)], [], pinhole_area=5), wanted)
    np.testing.assert_array_equal(in_one_piece(mask, [(0, 0)], [], pinhole_area=5), wanted)
    wanted[10:12, 120:122] = False
    np.testing.assert_array_equal(in_one_piece(mask, [(6, 101)], [(10, 121)], pinhole_area=5), wanted)
    assert mask[36, 695], "the input stays as it is"


def test_a_hole_at_the_border_of_the_image_is_open() -> None:
    mask = np.ones((30, 30), bool)
    mask[0, 10:12] = False
    np.testing.assert_array_equal(in_one_piece(mask, [(5, 5)], [], pinhole_area=5), mask)


def test_an_empty_mask_stays_empty() -> None:
    assert not in_one_piece(np.zeros((9, 9), bool), [(1, 1)], [(2, 2)], pinhole_area=5).any()
