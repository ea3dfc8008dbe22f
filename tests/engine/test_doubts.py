"""Answers that should not be taken unseen."""

from __future__ import annotations

import pytest
from shapely.geometry import Polygon, box

from qupath_sam.engine.doubts import LOW_SCORE, doubts_of
from qupath_sam.engine.windows import Scales
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import WindowRequest
from qupath_sam.types.results import Doubt, Outline

CLICK = ObjectPrompts(clicks=(Click.at(500, 500, Label.POSITIVE),))
SLIDE = Scales.of(extent=Region(0, 0, 40_000, 30_000), mpp=0.25, input_size=1024, default_mpp=0.5)
TILE = Scales.of(extent=Region(0, 0, 800, 600), mpp=0.25, input_size=1024, default_mpp=0.5)


def outline(shape: Polygon, score: float = 0.9) -> Outline:
    return Outline(shape, score, shape.area, None)


def doubts(shape: Polygon, *, score: float = 0.9, prompts=CLICK, scales=SLIDE, **request: object):
    return doubts_of([outline(shape, score)], prompts, request=WindowRequest(**request), scales=scales)


def test_a_sure_answer_of_a_usual_size_is_not_doubted() -> None:
    assert doubts(box(480, 480, 520, 520), view_downsample=1.0) == ()
    assert doubts_of([], CLICK, request=WindowRequest(), scales=SLIDE) == ()


def test_a_low_score_is_a_doubt_whatever_the_prompt() -> None:
    square = box(480, 480, 520, 520)
    boxed = ObjectPrompts(box=Box(480, 480, 520, 520))
    assert doubts(square, score=LOW_SCORE - 0.01) == (Doubt.LOW_SCORE,)
    assert doubts(square, score=LOW_SCORE - 0.01, prompts=boxed) == (Doubt.LOW_SCORE,)
    assert doubts(square, score=LOW_SCORE) == ()


def test_what_is_far_larger_than_the_view_is_doubted() -> None:
    field = box(0, 0, 5000, 3000)
    assert doubts(field, view_downsample=0.5) == (Doubt.LARGE,)
    assert doubts(field, view_downsample=8.0) == ()
    assert doubts(field) == ()


def test_a_quarter_of_a_slide_is_doubted_and_all_of_a_tile_is_not() -> None:
    assert doubts(box(0, 0, 30_000, 20_000)) == (Doubt.LARGE,)
    assert doubts(box(0, 0, 800, 600), scales=TILE) == ()


@pytest.mark.parametrize(
    "asked",
    [
        {"prompts": ObjectPrompts(box=Box(0, 0, 30_000, 20_000))},
        {"prompts": ObjectPrompts(outline=box(0, 0, 30_000, 20_000))},
        {"downsample": 32.0},
        {"region": Region(0, 0, 40_000, 30_000)},
    ],
    ids=["a box", "an outline", "a scale", "a region"],
)
def test_a_size_that_was_asked_for_is_no_doubt(asked: dict) -> None:
    assert doubts(box(0, 0, 30_000, 20_000), **asked) == ()
