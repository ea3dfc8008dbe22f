"""The protocol's rules, each on a segmenter whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupath_sam.datasets.options import FirstPrompt
from qupath_sam.datasets.simulated_strokes import STROKE_POINTS, stroke_through
from qupath_sam.evaluation.protocol import Protocol, is_failure, number_of_clicks, run_clicks, score_object
from qupath_sam.evaluation.sessions import WholeImage
from qupath_sam.models.base import Capabilities
from qupath_sam.types.masks import box_of
from tests.evaluation.pictures import disc, painted
from tests.evaluation.segmenters import AnsweringSegmenter, nothing, red, squares

TRUTH = disc(64, 30, 34, 12)
DIGEST = "ab" * 32


def image_for(segmenter: AnsweringSegmenter, truth: np.ndarray = TRUTH) -> WholeImage:
    return WholeImage(segmenter, painted(truth.astype(np.uint8)))


def test_a_perfect_segmenter_needs_one_click() -> None:
    run = run_clicks(image_for(AnsweringSegmenter(red)).start(), TRUTH, max_clicks=20)
    assert run.iou == (1.0,) * 20
    assert [number_of_clicks(run.iou, t) for t in (0.8, 0.85, 0.9)] == [1, 1, 1]
    assert len(run.clicks) == len(run.click_seconds) == 1, "nothing was left to correct after the first"
    assert run.harm == run.locality == (0.0,) * 20


def test_a_useless_segmenter_needs_all_and_fails() -> None:
    run = run_clicks(image_for(AnsweringSegmenter(nothing)).start(), TRUTH, max_clicks=20)
    assert run.iou == (0.0,) * 20
    assert number_of_clicks(run.iou, 0.8) == 20
    assert is_failure(run.iou, 0.8)
    assert len(set(run.clicks)) == 20, "no pixel is clicked twice"


def test_the_curve_has_as_many_values_as_clicks_are_allowed_and_no_early_stop() -> None:
    run = run_clicks(image_for(AnsweringSegmenter(squares)).start(), TRUTH, max_clicks=20)
    assert len(run.iou) == len(run.harm) == len(run.locality) == 20
    reached = number_of_clicks(run.iou, 0.6)
    assert 1 < reached < 20
    assert len(run.clicks) > reached, "clicks go on after the threshold"


def test_all_clicks_and_the_last_logits_go_in_and_several_masks_only_at_first() -> None:
    segmenter = AnsweringSegmenter(squares)
    run = run_clicks(image_for(segmenter).start(), TRUTH, max_clicks=4)
    prompts = [prompt for prompt, _ in segmenter.asked]
    assert [several for _, several in segmenter.asked] == [True, False, False, False]
    assert [len(p.points) for p in prompts] == [1, 2, 3, 4]
    assert [p.last_click for p in prompts] == [1, 1, 1, 1]
    assert prompts[0].logits is None
    assert all(p.logits is not None and p.logits.shape == (256, 256) for p in prompts[1:])
    assert prompts[3].points.tolist() == [list(c.point) for c in run.clicks]
    assert prompts[3].labels.tolist() == [c.label.value for c in run.clicks]
    assert segmenter.embedded == 1


def test_masks_are_kept_for_the_clicks_asked_for() -> None:
    run = run_clicks(image_for(AnsweringSegmenter(squares)).start(), TRUTH, max_clicks=6, keep=(1, 5))
    assert sorted(run.masks) == [1, 5]
    assert run.masks[1].sum() == 81


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_noc_never_falls_with_the_threshold(ious) -> None:
    counts = [number_of_clicks(ious, t / 100) for t in range(0, 101, 5)]
    assert counts == sorted(counts)
    assert all(1 <= c <= len(ious) for c in counts)


def test_reaching_the_threshold_at_the_last_click_is_a_success() -> None:
    ious = [0.1] * 19 + [0.9]
    assert number_of_clicks(ious, 0.9) == 20
    assert not is_failure(ious, 0.9)
    assert is_failure(ious, 0.91)


def test_a_threshold_once_reached_counts_even_if_later_clicks_spoil_it() -> None:
    assert number_of_clicks([0.5, 0.9, 0.2], 0.85) == 2
    assert not is_failure([0.5, 0.9, 0.2], 0.85)


def test_box_outline_and_jitter() -> None:
    segmenter = AnsweringSegmenter(red)
    scores = score_object(image_for(segmenter), TRUTH, Protocol(), capabilities=segmenter.capabilities, digest=DIGEST)
    assert scores.box_iou == 1
    assert scores.refine_gain == pytest.approx(0.2, abs=0.02)
    assert scores.jitter == 0
    box_prompt = segmenter.asked[1][0]
    assert box_prompt.box == box_of(TRUTH).bounds
    outline_prompt = segmenter.asked[2][0]
    assert outline_prompt.logits is not None
    assert outline_prompt.box is not None


def test_jitter_of_a_segmenter_that_follows_the_click() -> None:
    segmenter = AnsweringSegmenter(squares)
    image = image_for(segmenter)
    scores = [
        score_object(image, TRUTH, Protocol(), capabilities=segmenter.capabilities, digest=DIGEST) for _ in range(2)
    ]
    assert scores[0].jitter is not None
    assert scores[0].jitter > 0
    assert scores[0].jitter == scores[1].jitter, "seeded"


def test_prompts_that_a_model_does_not_take_are_left_out() -> None:
    clicks_only = Capabilities(input_size=256, mask_count=1, boxes=False, mask_prompt=False)
    segmenter = AnsweringSegmenter(red, capabilities=clicks_only)
    scores = score_object(image_for(segmenter), TRUTH, Protocol(jitter_runs=0), capabilities=clicks_only, digest=DIGEST)
    assert (scores.box_iou, scores.refine_gain, scores.jitter) == (None, None, None)


def test_a_straight_border_is_a_fault_only_where_the_object_has_none() -> None:
    """Regions are cut where a pathologist's field ends."""
    cut_off = np.zeros((256, 256), bool)
    cut_off[60:180, 50:190] = True

    def always(pixels: np.ndarray, _: object) -> np.ndarray:
        return cut_off[: pixels.shape[0], : pixels.shape[1]]

    for truth, faults in ((cut_off, 0), (disc(256, 120, 120, 70), 3)):
        image = image_for(AnsweringSegmenter(always), truth)
        assert run_clicks(image.start(), truth, max_clicks=3).squares == faults


def test_a_stroke_comes_first_as_one_step_and_clicks_follow() -> None:
    segmenter = AnsweringSegmenter(squares)
    protocol = Protocol(max_clicks=3, jitter_runs=0, first=FirstPrompt.STROKE)
    scores = score_object(image_for(segmenter), TRUTH, protocol, capabilities=segmenter.capabilities, digest=DIGEST)
    prompts = [prompt for prompt, _ in segmenter.asked[:3]]
    assert [several for _, several in segmenter.asked[:3]] == [True, False, False]
    count = len(prompts[0].points)
    assert 1 < count <= STROKE_POINTS
    assert [len(p.points) for p in prompts] == [count, count + 1, count + 2]
    assert [p.last_click for p in prompts] == [count, 1, 1]
    assert all(TRUTH[int(y), int(x)] for x, y in prompts[0].points)
    assert len(scores.run.iou) == len(scores.run.clicks) == 3
    assert scores.run.clicks[0].point == tuple(prompts[0].points[0])


def test_where_a_stroke_runs_depends_on_the_object_and_the_seed_alone() -> None:
    def first_points(seed: int, digest: str = DIGEST) -> list[list[float]]:
        segmenter = AnsweringSegmenter(squares)
        protocol = Protocol(max_clicks=1, jitter_runs=0, seed=seed, first=FirstPrompt.STROKE)
        score_object(image_for(segmenter), TRUTH, protocol, capabilities=segmenter.capabilities, digest=digest)
        return segmenter.asked[0][0].points.tolist()

    assert first_points(0) == first_points(0)
    assert first_points(0) != first_points(1)
    assert first_points(0) != first_points(0, "cd" * 32)


@given(st.integers(0, 10_000))
def test_a_stroke_runs_through_the_middle_and_stays_in_the_object(seed: int) -> None:
    """Of a ring, whose middle no straight line keeps to, what leaves the object is left out."""
    y, x = np.indices((64, 64))
    ring = (np.hypot(x - 30, y - 34) < 28) & (np.hypot(x - 30, y - 34) > 14)
    for truth in (TRUTH, ring, (x == 5) & (y == 9)):
        stroke = stroke_through(truth, np.random.default_rng(seed))
        assert 1 <= len(stroke) <= STROKE_POINTS
        assert len({(each.x, each.y) for each in stroke}) == len(stroke)
        assert all(truth[each.y, each.x] for each in stroke)
    near = stroke_through(TRUTH, np.random.default_rng(seed))
    assert min(np.hypot(each.x - 30, each.y - 34) for each in near) < 3
