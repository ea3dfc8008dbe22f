"""Clicks in windows that are embedded already: encodes are counted, with a whole engine round the fake model."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.engine.build import build_engine
from qupath_sam.engine.call import Call
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.engine.worker import Priority
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.requests import ObjectRequest, WindowRequest

#: Ten places in one view, on both sides of the line where one window's middle half ends.
PLACES = [(968.5 + 16 * n, 1080.5 + 5 * (n % 4)) for n in range(10)]


@pytest.fixture
def engine():
    engine = build_engine(EngineSettings(model="fake", device="cpu"))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def slide() -> PushedReader:
    return PushedReader.of_image(np.random.default_rng(3).integers(0, 255, (2000, 2000, 3), np.uint8), 0.5)


def answers(engine, slide, *, prefer: bool, priority: Priority = Priority.INTERACTIVE):
    """The results of ten clicks one after the other, and the encodes that they cost together.

    The fake model's score is a checksum of the window's pixels.
    """
    before = engine.models.get().segmenter.embed_calls
    window, call = WindowRequest(view_downsample=0.5, prefer_embedded=prefer), Call(priority=priority)
    clicks = [ObjectRequest(ObjectPrompts((Click.at(*place),))) for place in PLACES]
    results = [engine.predict(slide, [click], window=window, call=call).results[0] for click in clicks]
    made = [(each.window, each.outlines[0].score, each.outlines[0].geometry.wkb) for each in results]
    return made, engine.models.get().segmenter.embed_calls - before


def test_ten_clicks_in_one_view_cost_one_or_two_encodes_where_embedded_windows_are_preferred(engine, slide):
    _, without = answers(engine, slide, prefer=False)
    engine.embeddings.memory.clear()
    _, preferred = answers(engine, slide, prefer=True)
    assert without > 2
    assert preferred <= 2


def test_a_view_that_is_embedded_answers_all_its_clicks(engine, slide):
    scales = engine.scales(slide.info)
    middle = PLACES[len(PLACES) // 2]
    engine.embed(slide, [scales.window_at(*middle, scales.first(object_extent=None, view_downsample=0.5))])
    assert answers(engine, slide, prefer=True)[1] == 0


def test_a_batch_and_who_does_not_ask_for_it_have_the_same_answers_whatever_is_embedded(engine, slide):
    expected, _ = answers(engine, slide, prefer=False)
    engine.embeddings.memory.clear()
    assert answers(engine, slide, prefer=True)[0] != expected
    assert answers(engine, slide, prefer=False)[0] == expected
    assert answers(engine, slide, prefer=True, priority=Priority.BATCH)[0] == expected
