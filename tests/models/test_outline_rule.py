"""An unsure answer far from the outline that it refines goes back towards it; others stand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qupath_sam.models.click_rules import ClickRules, apply_rules
from qupath_sam.models.outline_rule import NEAR, held_to_outline
from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasClick, CanvasPrompts
from qupath_sam.types.masks import intersection_over_union

ROWS, COLUMNS = np.indices((CANVAS_SIZE,) * 2)


def disc(x: float, y: float, radius: float, *, logit: float = 6) -> np.ndarray:
    return np.where(np.hypot(COLUMNS - x, ROWS - y) < radius, logit, -logit).astype(np.float32)


OUTLINE = disc(120, 120, 40)


def iou_with_outline(logits: np.ndarray) -> float:
    return intersection_over_union(logits > 0, OUTLINE > 0)


@pytest.mark.parametrize(
    "answer", [disc(150, 120, 40, logit=1), disc(120, 120, 70, logit=1), disc(120, 120, 20, logit=1)]
)
def test_an_unsure_answer_far_away_goes_back(answer: np.ndarray) -> None:
    held = held_to_outline(answer, OUTLINE, 0.6)
    assert iou_with_outline(answer) < NEAR
    assert iou_with_outline(answer) + 0.1 < iou_with_outline(held) < 1


@pytest.mark.parametrize(
    ("answer", "score"),
    [(disc(150, 120, 40), 0.85), (disc(122, 120, 40), 0.6), (disc(120, 120, 42), 0.3)],
    ids=["sure", "near", "near and unsure"],
)
def test_a_sure_answer_and_one_that_is_near_stand(answer: np.ndarray, score: float) -> None:
    np.testing.assert_array_equal(held_to_outline(answer, OUTLINE, score), answer)


def test_an_outline_below_a_pixel_says_nothing() -> None:
    answer = disc(150, 120, 40)
    np.testing.assert_array_equal(held_to_outline(answer, np.full_like(answer, -6), 0.1), answer)


def test_an_outline_without_an_edge_says_nothing() -> None:
    """The window lies inside of it: there is no distance from it, and scipy's is one from the corner then."""
    answer = disc(150, 120, 40)
    np.testing.assert_array_equal(held_to_outline(answer, np.full_like(answer, 6), 0.1), answer)


def test_the_rule_is_for_outlines_without_a_click() -> None:
    answer, previous = disc(150, 120, 40, logit=1), torch.from_numpy(OUTLINE)
    scores = [np.array([0.6], np.float32)]

    def ruled(prompts: CanvasPrompts, of: list[np.ndarray] | None, *, outlines: bool = True) -> np.ndarray:
        rules = ClickRules(outlines=outlines)
        return apply_rules(answer[None, None], [prompts], rules, ruled=1, scores=of)[0][0]

    box = (80.0, 80.0, 160.0, 160.0)
    for outline in (CanvasPrompts(previous=previous), CanvasPrompts(previous=previous, box=box)):
        np.testing.assert_array_equal(ruled(outline, scores), held_to_outline(answer, OUTLINE, 0.6))
        np.testing.assert_array_equal(ruled(outline, None), answer)
        np.testing.assert_array_equal(ruled(outline, scores, outlines=False), answer)
    clicked = CanvasPrompts((CanvasClick(150, 120, True),), 1, previous=previous)
    np.testing.assert_array_equal(ruled(clicked, scores) > 0, answer > 0)
    np.testing.assert_array_equal(ruled(CanvasPrompts(box=box), scores) > 0, ruled(CanvasPrompts(box=box), None) > 0)
