"""Every later prompt leaves the points of earlier clicks and strokes where they belong, in what is returned."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from scipy import ndimage

from qupath_sam.engine.outlines import outlines_of
from qupath_sam.engine.step import State
from qupath_sam.models.base import LOW_RES_SIZE, MaskSet
from qupath_sam.types.prompts import Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import OutputOptions

EXTENT = Region(0, 0, 8000, 8000)


def state_of(logits: np.ndarray, *, side: int, window_px: int = 256) -> State:
    """A window of ``side`` level-0 px with these logits."""
    window = Window(Region(1000, 2000, side, side), window_px, window_px)
    mask = np.kron(logits > 0, np.ones((window_px // 256,) * 2)).astype(bool)
    return State.of(window, MaskSet(mask[None], np.array([0.9], np.float32), logits[None]))


def outline_of(state: State, clicks: tuple[Click, ...], *, keep_parts: bool = False) -> shapely.Geometry:
    found = outlines_of(state, ObjectPrompts(clicks), OutputOptions(keep_parts=keep_parts), extent=EXTENT, mpp=None)
    return found[0].geometry if found else shapely.Polygon()


@pytest.mark.parametrize("keep_parts", [False, True])
@pytest.mark.parametrize(
    ("side", "window_px"), [(128, 256), (256, 256), (700, 256), (1024, 256), (2048, 256), (900, 1024)]
)
@pytest.mark.parametrize("seed", range(3))
def test_points_are_on_their_side_whatever_the_model_says(
    seed: int, side: int, window_px: int, *, keep_parts: bool
) -> None:
    """Also where bilinear logits between pixels are on the other side of the pixel that a rule has turned."""
    random = np.random.default_rng(seed)
    logits = (9 * ndimage.gaussian_filter(random.normal(size=(LOW_RES_SIZE,) * 2), 6) * 6).astype(np.float32)
    points = np.floor(random.uniform(0, side, (24, 2))) + random.uniform(0.05, 0.95, (24, 2)) + (1000, 2000)
    strokes = tuple(
        Click(tuple(map(tuple, some.tolist())), Label.NEGATIVE if number % 2 else Label.POSITIVE)
        for number, some in enumerate(np.split(points, 6))
    )
    outline = outline_of(state_of(logits, side=side, window_px=window_px), strokes, keep_parts=keep_parts)
    last = {}
    for stroke in strokes:
        for x, y in stroke.points:  # of two points on one pixel the later one counts
            last[int(x), int(y)] = (x, y), stroke.label
    for point, label in last.values():
        assert outline.covers(shapely.Point(point)) == (label is Label.POSITIVE), (point, label)


def test_a_forced_pixel_of_the_logits_is_as_large_in_the_outline() -> None:
    """Between it and its neighbours at -8, bilinear logits are above 0 only near its very middle."""
    logits = np.full((LOW_RES_SIZE,) * 2, -8, np.float32)
    logits[:, :100] = 8
    logits[128, 160] = 1
    at = (1000 + 4 * 160 + 0.5, 2000 + 4 * 128 + 0.5)
    clicks = (Click.at(1100, 2500), Click.at(*at))
    outline = outline_of(state_of(logits, side=1024), clicks)
    parts = shapely.get_parts(outline)
    assert len(parts) == 2
    assert min(part.area for part in parts) == 16, "one px of the logits, 4 x 4 level-0 px"
    assert outline.covers(shapely.Point(at))


def test_what_a_negative_point_cuts_off_goes() -> None:
    logits = np.full((LOW_RES_SIZE,) * 2, -8, np.float32)
    logits[100:150, 50:100] = logits[100:150, 150:200] = logits[128, 100:150] = 8  # two squares and a thread
    state = state_of(logits, side=256)
    (both,) = shapely.get_parts(outline_of(state, (Click.at(1060, 2110),)))
    (one,) = shapely.get_parts(outline_of(state, (Click.at(1060, 2110), Click.at(1120.5, 2128.5, Label.NEGATIVE))))
    assert both.area == 5050
    assert one.area == 2520


def test_nothing_found_stays_nothing() -> None:
    logits = np.full((LOW_RES_SIZE,) * 2, -8, np.float32)
    assert outline_of(state_of(logits, side=1024), (Click.at(1500, 2500),)).is_empty
