"""Strokes on the demo slide with the default model: what each says holds after all others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import shapely

from qupath_sam import Click, EngineSettings, Image, Label, LocalClient, ObjectPrompts, WindowRequest, scribble
from qupath_sam.assets import demo_slide_path


@pytest.fixture(scope="module")
def slide() -> Iterator[Image]:
    with LocalClient(EngineSettings(device="cpu")) as client:
        yield client.open(demo_slide_path())


def across(x: float, y: float, dx: float, dy: float, label: Label = Label.POSITIVE) -> Click:
    """Return a stroke of eight points from a place on, level-0 px."""
    return scribble([(x + i * dx, y + i * dy) for i in range(8)], label)


@pytest.mark.parametrize(("view", "count"), [(0.5, 3), (4.0, 4)])
def test_positive_strokes_stay_in_and_negative_ones_out(slide: Image, view: float, count: int) -> None:
    """With ``view`` 4 outlines are traced on a grid finer than the logits."""
    step = 25 * view
    strokes = (
        across(900.3, 1400.7, step, 3),
        across(930.6, 1400.2 + 3 * step, step, 2, Label.NEGATIVE),
        across(900.4, 1400.9 + 1.5 * step, step, -4),
        across(1000.4, 1380.1, 0, step, Label.NEGATIVE),
    )
    found = slide.segment(ObjectPrompts(strokes[:count]), window=WindowRequest(view_downsample=view)).geometry
    for number, stroke in enumerate(strokes[:count]):
        inside = [found.covers(shapely.Point(point)) for point in stroke.points]
        assert all(each == (stroke.label is Label.POSITIVE) for each in inside), (number, inside)
