"""Answers that should not be taken unseen."""

from __future__ import annotations

import numpy as np
import pytest
from shapely.geometry import Polygon, box

from qupath_sam.cli import segment as segment_command
from qupath_sam.engine.build import build_engine
from qupath_sam.engine.doubts import LOW_SCORE, doubts_of
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.engine.tissue import TissueEstimates
from qupath_sam.engine.windows import Scales
from qupath_sam.errors import OutOfMemory, SlideUnreadable
from qupath_sam.protocol.convert import prediction_message, prediction_of
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.slides.tissue import TissueEstimate
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import ObjectRequest, WindowRequest
from qupath_sam.types.results import Doubt, ObjectResult, Outline, Prediction, Provenance, Timings

CLICK = ObjectPrompts(clicks=(Click.at(500, 500, Label.POSITIVE),))
SLIDE = Scales.of(extent=Region(0, 0, 40_000, 30_000), mpp=0.25, input_size=1024, default_mpp=0.5)
TILE = Scales.of(extent=Region(0, 0, 800, 600), mpp=0.25, input_size=1024, default_mpp=0.5)
#: Tissue is the right half of the slide.
HALF = TissueEstimate(
    np.repeat([[True] * 40 + [False] * 40], 60, axis=0), Window(Region(0, 0, 40_000, 30_000), width=80, height=60)
)
ON_GLASS = ObjectPrompts(clicks=(Click.at(500, 500, Label.POSITIVE),))
ON_TISSUE = ObjectPrompts(clicks=(Click.at(30_500, 500, Label.POSITIVE),))


def outline(shape: Polygon, score: float = 0.9) -> Outline:
    return Outline(shape, score, shape.area, None)


def doubts(shape: Polygon, *, score: float = 0.9, prompts=CLICK, scales=SLIDE, tissue=None, **request: object):
    window = WindowRequest(**request)
    return doubts_of([outline(shape, score)], prompts, request=window, scales=scales, tissue=lambda: tissue)


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


def test_the_share_of_a_slide_is_one_of_its_tissue() -> None:
    fifth = box(20_000, 0, 32_000, 20_000)
    assert doubts(fifth, prompts=ON_TISSUE) == ()
    assert doubts(fifth, prompts=ON_TISSUE, tissue=HALF) == (Doubt.LARGE,)


@pytest.mark.parametrize(("input_size", "default_mpp"), [(256, 1.0), (1024, 0.5)])
@pytest.mark.parametrize(("side", "mpp", "is_slide"), [(2200, 0.5, True), (1900, 0.5, False), (2200, None, True)])
def test_a_slide_is_known_by_its_size_and_not_by_the_model(
    side: int, mpp: float | None, is_slide: bool, input_size: int, default_mpp: float
) -> None:
    """A small slide was none for a model of 1024 px, which took a third of it without a doubt."""
    extent = Region(0, 0, side, side // 2)
    scales = Scales.of(extent=extent, mpp=mpp, input_size=input_size, default_mpp=default_mpp)
    assert doubts(box(0, 0, side, side // 2), scales=scales) == ((Doubt.LARGE,) if is_slide else ())


def test_a_click_on_glass_whose_answer_is_glass_is_doubted() -> None:
    glass, border = box(0, 0, 6000, 6000), box(15_000, 0, 29_000, 5000)
    assert doubts(glass, prompts=ON_GLASS, tissue=HALF) == (Doubt.BACKGROUND,)
    assert doubts(glass, prompts=ON_GLASS) == ()
    assert doubts(border, prompts=ON_GLASS, tissue=HALF) == ()
    assert doubts(glass, prompts=ON_TISSUE, tissue=HALF) == ()
    assert doubts(glass, prompts=ObjectPrompts(box=Box(0, 0, 6000, 6000)), tissue=HALF) == ()


def section() -> np.ndarray:
    """Return a slide of 1.5 x 1 mm at .5 um/px: a strip of tissue on glass."""
    pixels = np.full((2000, 3000, 3), 244, np.uint8)
    pixels[:, :500] = (200, 120, 180)
    return pixels


def test_the_engine_doubts_an_answer_on_glass_and_estimates_tissue_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slide = PushedReader.of_image(section(), 0.5)
    reads: list[Window] = []
    read = slide.read
    monkeypatch.setattr(slide, "read", lambda window: reads.append(window) or read(window))
    engine = build_engine(EngineSettings(model="fake", device="cpu"))
    try:
        for x, doubt in ((2500, True), (250, False), (2400, True)):
            (result,) = engine.predict(slide, [ObjectRequest(ObjectPrompts((Click.at(x, 900),)))]).results
            assert result.outlines
            assert (Doubt.BACKGROUND in result.doubts) is doubt
    finally:
        engine.close()
    assert [window.region for window in reads].count(slide.info.extent) == 1


def test_a_slide_that_cannot_be_read_has_no_tissue_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slide, asked, estimates = PushedReader.of_image(section(), 0.5), [], TissueEstimates()

    def fail(window: Window) -> np.ndarray:
        asked.append(window)
        raise SlideUnreadable("broken; copy the file again")

    monkeypatch.setattr(slide, "read", fail)
    assert [estimates.of(slide), estimates.of(slide)] == [None, None]
    assert len(asked) == 1


def test_where_memory_lacks_for_a_moment_the_next_click_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slide, estimates = PushedReader.of_image(section(), 0.5), TissueEstimates()

    def fail(_: Window) -> np.ndarray:
        raise OutOfMemory("no memory left; ask again")

    with monkeypatch.context() as busy:
        busy.setattr(slide, "read", fail)
        assert estimates.of(slide) is None
    assert estimates.of(slide) is not None


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


@pytest.mark.parametrize("doubt", Doubt, ids=lambda doubt: doubt.value)
def test_each_doubt_travels_and_has_a_sentence(doubt: Doubt) -> None:
    region = Region(0, 0, 100, 100)
    result = ObjectResult(
        "", (outline(box(0, 0, 9, 9)),), Window(region, 100, 100), False, b"", 0, None, doubts=(doubt,)
    )
    made = Provenance("m", "", "", "", "", "", "cpu", 0.5, ())
    (back,) = prediction_of(prediction_message(Prediction((result,), made, Timings()))).results
    assert back.doubts == (doubt,)
    assert segment_command._DOUBTS[doubt.value]
