"""Outlines in, better outlines or refusals with their reasons out, through a real server with its fake model."""

from __future__ import annotations

import math

import pytest
import shapely
from shapely.geometry import MultiPolygon, Point, Polygon

from qupath_sam.client import SamClient, Slide
from qupath_sam.engine.refine_guards import Guards
from qupath_sam.engine.refine_options import PromptOptions, RefineOptions
from qupath_sam.engine.refine_prompts import prompts_from_outline
from qupath_sam.errors import InvalidPrompt, InvalidRequest
from qupath_sam.protocol import convert
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.refinements import Refinement, Refusal
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import OutputOptions, WindowRequest
from qupath_sam.v1 import prompt_pb2

#: The demo slide.
EXTENT = Region(0, 0, 2220, 2967)
ROUND = Point(700, 900).buffer(60)
WINDOW = WindowRequest(downsample=1)
LENIENT = Guards(min_iou=0, max_area_change=1000, min_part_iou=0, allow_cut_off=True)


def refined(
    client: SamClient, slide: Slide, *outlines: Polygon | MultiPolygon, options: RefineOptions
) -> list[tuple[Polygon | MultiPolygon | None, Refinement]]:
    objects = [ObjectPrompts(outline=outline) for outline in outlines]
    answer = client.predict(slide, objects, window=WINDOW, refine=options)
    found = []
    for result in answer.results:
        assert result.refinement is not None
        found.append((result.outlines[0].geometry if result.outlines else None, result.refinement))
    return found


def test_the_outline_is_the_answer_to_the_same_prompts(client: SamClient, slide: Slide) -> None:
    ((new, verdict),) = refined(client, slide, ROUND, options=RefineOptions(guards=LENIENT))
    prompts = prompts_from_outline(ROUND, EXTENT)
    asked = client.predict(slide, [prompts], window=WINDOW).results[0].outlines[0]
    assert new is not None
    assert new.equals(asked.geometry)
    assert verdict.refusal is None
    assert verdict.iou == pytest.approx(new.intersection(ROUND).area / new.union(ROUND).area)
    assert verdict.score == pytest.approx(asked.score)


def test_what_is_refused_has_a_reason_and_no_outline(client: SamClient, slide: Slide) -> None:
    ring = ROUND.difference(Point(700, 900).buffer(25))
    two = shapely.union_all([ROUND, Point(900, 900).buffer(50)])
    options = RefineOptions(guards=Guards(min_iou=0, max_area_change=1000, allow_cut_off=True))
    answers = refined(client, slide, ring, two, options=options)
    assert [verdict.refusal for _, verdict in answers] == [Refusal.HOLE_LOST, Refusal.PART_LOST]
    for new, verdict in answers:
        assert new is None
        assert shapely.from_wkb(verdict.refused_wkb).area > 0
        assert 0 < verdict.iou < 1
    without = refined(client, slide, ring, two, options=RefineOptions(guards=LENIENT))
    assert [verdict.refusal for _, verdict in without] == [None, None]
    strict = RefineOptions(guards=Guards(min_iou=1))
    ((new, verdict),) = refined(client, slide, ROUND, options=strict)
    assert (new, verdict.refusal) == (None, Refusal.LOW_IOU)


def test_regions_and_what_lies_elsewhere_are_not_asked_about(client: SamClient, slide: Slide) -> None:
    region = shapely.box(100, 100, 2000, 2800)
    elsewhere = shapely.box(5000, 5000, 5100, 5100)
    lenient = RefineOptions(guards=LENIENT)
    answers = refined(client, slide, region, ROUND, elsewhere, options=lenient)
    assert [v.refusal for _, v in answers] == [Refusal.LARGER_THAN_WINDOW, None, Refusal.OLD_OUTSIDE]
    assert math.isnan(answers[0][1].iou)
    asked = client.predict(slide, [ObjectPrompts(outline=region)], refine=RefineOptions(guards=LENIENT, coarsest_mpp=0))
    assert asked.results[0].refinement == Refinement(
        None, asked.results[0].refinement.iou, score=asked.results[0].outlines[0].score
    )  # type: ignore[union-attr]
    nothing = client.predict(slide, [ObjectPrompts(outline=elsewhere)], refine=lenient)
    assert nothing.provenance.model == "fake"
    assert nothing.results[0].outlines == ()


def test_a_large_outline_is_refined_along_its_border(client: SamClient, slide: Slide) -> None:
    region = shapely.box(100, 100, 2000, 2800)
    options = RefineOptions(along_border=True)
    answers = refined(client, slide, region, ROUND, options=options)
    assert answers[0][1].refusal is None
    assert answers[1] == refined(client, slide, ROUND, options=options)[0], "a small one is asked as ever"
    (result,) = client.predict(slide, [ObjectPrompts(outline=region)], refine=options).results
    assert result.window.downsample == pytest.approx(2.0 / 0.499, rel=0.01), "not as coarse as the region is large"
    assert result.refinement is not None
    assert result.refinement.iou > 0.9
    assert not result.touches_window_edge
    # The fake model's ellipses fill the hole; the guards look at the whole outline.
    ring = region.difference(shapely.Point(1000, 1400).buffer(300))
    ((new, verdict),) = refined(client, slide, ring, options=options)
    assert (new, verdict.refusal) == (None, Refusal.HOLE_LOST)


def test_refining_takes_an_outline_and_nothing_else(client: SamClient, slide: Slide) -> None:
    click = Click(((700, 900),), Label.POSITIVE)
    for prompts in (
        ObjectPrompts((click,)),
        ObjectPrompts((click,), outline=ROUND),
        ObjectPrompts(box=Box(*ROUND.bounds), outline=ROUND),
    ):
        with pytest.raises(InvalidPrompt, match="needs an outline"):
            client.predict(slide, [prompts], refine=RefineOptions())
    plain = client.predict(slide, [ObjectPrompts(outline=ROUND)], output=OutputOptions())
    assert plain.results[0].refinement is None


def test_what_a_message_leaves_out_is_the_default() -> None:
    assert convert.refine_of(prompt_pb2.RefineOptions()) == RefineOptions()
    prompts = PromptOptions(False, True, 0.3, interior=0, exterior=3)
    unusual = RefineOptions(prompts, Guards(0, 4, 0.2, True, 0), 0, True)
    assert convert.refine_of(convert.refine_message(unusual)) == unusual
    with pytest.raises(InvalidRequest, match="min_iou must be a share"):
        convert.refine_of(prompt_pb2.RefineOptions(min_iou=float("nan")))
    with pytest.raises(InvalidRequest, match="coarsest_mpp"):
        convert.refine_of(prompt_pb2.RefineOptions(coarsest_mpp=-1))


def test_every_refusal_of_the_engine_can_be_sent() -> None:
    of_refine = {Refusal.LOCKED, Refusal.HAS_CHILDREN, Refusal.SAME_ID, Refusal.FAILED}
    of_segment = {Refusal.LARGE, Refusal.BACKGROUND, Refusal.PROMPT_OUTSIDE}
    ours = of_refine | of_segment
    for refusal in set(Refusal) - ours:
        message = convert.refinement_message(Refinement(refusal, 0.25))
        assert convert.refinement_of(message, math.nan).refusal is refusal
        assert message.refusal_text == refusal.value
