"""The next window is read while the model encodes this one."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from qupath_sam.engine.build import build_engine
from qupath_sam.engine.read_ahead import ReadAhead
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.errors import SlideUnreadable
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import ObjectRequest, WindowRequest

PATIENCE = 60
WINDOWS = [Window(Region(x, 0, 32, 32), 32, 32) for x in (0, 100, 200)]


class Watched:
    """A reader that says when each read begins."""

    def __init__(self, *, fails: Window | None = None) -> None:
        self._reader = PushedReader.of_image(np.zeros((600, 2000, 3), np.uint8), 0.5)
        self.info = self._reader.info
        self.begun: list[Window] = []
        self.changed = threading.Condition()
        self._fails = fails

    def read(self, window: Window) -> np.ndarray:
        with self.changed:
            self.begun.append(window)
            self.changed.notify_all()
        if window == self._fails:
            raise SlideUnreadable("no such part; check the file")
        return self._reader.read(window)

    def close(self) -> None:
        self._reader.close()

    def has_begun(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.begun) >= count, PATIENCE)


def test_windows_of_a_call_are_read_while_others_are_encoded() -> None:
    engine, slide = build_engine(EngineSettings(model="fake", device="cpu")), Watched()
    fake = engine.models.get().segmenter
    waits = [2, 3, 3]  # how many reads have begun when the first, second, third window is encoded
    seen: list[bool] = []
    fake.before_embed = lambda: seen.append(slide.has_begun(waits[len(seen)]))  # type: ignore[attr-defined]
    objects = [ObjectRequest(ObjectPrompts((Click.at(x, 300),))) for x in (200, 900, 1700)]
    try:
        results = engine.predict(slide, objects, window=WindowRequest(downsample=1.0)).results
    finally:
        engine.close()
    assert len({result.window for result in results}) == 3
    assert seen == [True, True, True]
    assert len(slide.begun) == len(set(slide.begun)) == 3, "each is read once"


def test_one_window_starts_no_thread() -> None:
    before = threading.active_count()
    with ReadAhead(Watched(), WINDOWS[:1]) as reads:
        assert reads.read(WINDOWS[0]).shape == (32, 32, 3)
        assert threading.active_count() == before


def test_an_error_belongs_to_its_window_and_nothing_reads_on_afterwards() -> None:
    slide = Watched(fails=WINDOWS[1])
    with ReadAhead(slide, WINDOWS) as reads:
        reads.read(WINDOWS[0])
        with pytest.raises(SlideUnreadable):
            reads.read(WINDOWS[1])
    assert len(slide.begun) == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("qupath-sam-read")]
