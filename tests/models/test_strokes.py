"""What a mask decoder is told of a stroke, and how much of it an answer holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shapely.geometry import box

from qupath_sam.engine.step import steps_of
from qupath_sam.engine.step_prompts import window_prompts
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.base import Embedding
from qupath_sam.models.jobs import alone
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.models.strokes import coverage, told_points
from qupath_sam.networks.canvas import CanvasClick, CanvasPrompts
from qupath_sam.types.prompts import Click, ObjectPrompts, scribble
from qupath_sam.types.regions import Region, Window
from tests.contracts.segmenters import clicks, picture

LINE = tuple((40.0 + 16 * i, 120.0) for i in range(9))
STROKE = replace(clicks(*LINE), strokes=(9,), last_click=9)


@pytest.fixture(scope="module")
def both() -> TwoDecoderSegmenter:
    segmenter = load_segmenter(DEFAULT_MODEL, device="cpu").segmenter
    assert isinstance(segmenter, TwoDecoderSegmenter)
    return segmenter


@pytest.fixture(scope="module")
def embedding(both: TwoDecoderSegmenter) -> Embedding:
    return both.embed(picture(256, 256, seed=1))


def test_of_a_line_its_ends_and_its_middle_are_told() -> None:
    assert told_points(STROKE).tolist() == [0, 4, 8]


@pytest.mark.parametrize("seed", range(3))
def test_in_whatever_order_the_points_come(seed: int) -> None:
    """``Strokes.alongArea`` of the Java client sends them by their distance from one another."""
    order = np.random.default_rng(seed).permutation(len(LINE))
    shuffled = replace(STROKE, points=STROKE.points[order])
    told = shuffled.points[told_points(shuffled)]
    assert sorted(told[:, 0].tolist()) == [40, 104, 168]


def test_clicks_and_short_strokes_are_told_whole() -> None:
    assert told_points(replace(STROKE, strokes=())).tolist() == list(range(9))
    assert told_points(replace(STROKE, strokes=(1, 3, 5))).tolist() == [0, 1, 2, 3, 4, 6, 8]
    assert told_points(clicks()).tolist() == []


def test_a_stroke_on_one_pixel_is_no_fault() -> None:
    same = replace(clicks(*[(5.0, 5.0)] * 6), strokes=(6,))
    assert 1 <= len(told_points(same)) <= 3


def test_the_engine_says_which_points_are_a_stroke() -> None:
    window = Window(Region(0, 0, 256, 256), 256, 256)
    prompts = ObjectPrompts((scribble(LINE), Click.at(10, 10), scribble(((250, 250), (252, 252), (300, 252)))))
    found = window_prompts(steps_of(prompts), window, None)
    assert found.strokes == (9, 1, 2), "the last point lies outside the window"
    outlined = replace(prompts, outline=box(0, 0, 200, 200))
    assert window_prompts(steps_of(outlined), window, None).strokes == (), "places far apart, as refining asks for"


def test_the_decoder_hears_three_points_and_all_of_them_hold(both: TwoDecoderSegmenter, embedding: Embedding) -> None:
    (long,) = alone(both.first.drafting(embedding, [STROKE], several_masks=True))
    (short,) = alone(both.first.drafting(embedding, [clicks(LINE[0], LINE[4], LINE[8])], several_masks=True))
    np.testing.assert_array_equal(long.logits, short.logits)
    (answer,) = both.decode(embedding, [STROKE], several_masks=True)
    assert all(answer.masks[0][int(y), int(x)] for x, y in LINE)


def test_a_score_counts_as_far_as_the_answer_holds_the_stroke(both: TwoDecoderSegmenter, embedding: Embedding) -> None:
    shares = []
    for y in (20.5, 90.5, 220.5):
        points = [(8 + 30.0 * i, y) for i in range(9)]
        stroke = replace(STROKE, points=np.array(points, np.float32))
        (answer,) = both.decode(embedding, [stroke], several_masks=True)
        for number, decoder in enumerate((both.first, both.second)):
            (draft,) = alone(decoder.drafting(embedding, [stroke], several_masks=True))
            held = np.mean([draft.logits[0][int(y), int(x)] > 0 for x, y in points])
            place = answer.decoders.index(number)
            assert answer.scores[place] == pytest.approx(np.clip(draft.scores[0] * held, 0, 1), abs=1e-6)
            shares.append(held)
    assert min(shares) < 1, "else this shows nothing"


def test_a_single_click_is_no_stroke() -> None:
    nothing = np.full((256, 256), -1, np.float32)
    assert coverage(nothing, CanvasPrompts((CanvasClick(5, 5, True),), 1)) == 1
    two = CanvasPrompts((CanvasClick(5, 5, True), CanvasClick(9, 5, True)), 2)
    nothing[5, 9] = 1
    assert coverage(nothing, two) == 0.5
