"""The overlay shows each thing where it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from PIL import Image
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.qupath.overlay import PALETTE, OverlayItem, draw_overlay, draw_prediction
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts, scribble
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.results import ObjectResult, Prediction, Timings

GREY = 200
#: 4 level-0 px per window px; window px (i, j) is level-0 (1000 + 4 i, 500 + 4 j).
WINDOW = Window(Region(1000, 500, 800, 640), 200, 160)


def level0(*window_box: float) -> Polygon:
    x0, y0, x1, y1 = window_box
    return shapely.box(1000 + 4 * x0, 500 + 4 * y0, 1000 + 4 * x1, 500 + 4 * y1)


def drawn(*items: OverlayItem) -> np.ndarray:
    pixels = np.full((160, 200, 3), GREY, np.uint8)
    image = draw_overlay(pixels, WINDOW, items)
    assert image.size == (200, 160)
    assert (pixels == GREY).all(), "the pixels given are left alone"
    return np.asarray(image).astype(int)


def changed(image: np.ndarray) -> np.ndarray:
    return (image != GREY).any(axis=2)


def test_an_area_is_tinted_its_hole_is_not_and_its_island_is() -> None:
    ring = level0(20, 20, 120, 120).difference(level0(40, 40, 100, 100))
    image = drawn(OverlayItem(MultiPolygon([level0(60, 60, 80, 80), ring]), color=(255, 0, 0)))
    assert tuple(image[30, 30]) == tuple(image[70, 70]) != (GREY,) * 3
    assert image[30, 30, 0] > GREY > image[30, 30, 1]
    assert not changed(image)[45:55, 45:95].any(), "the hole"
    assert not changed(image)[:, 125:].any(), "outside"


@pytest.mark.parametrize("edge", [20, 60, 100])
def test_lines_are_two_px_wide_and_centred_on_the_outline(edge: int) -> None:
    image = drawn(OverlayItem(level0(edge, 20, 150, 140), color=(255, 0, 0)))
    red = image[80, :, 0] - image[80, :, 1]
    assert list(np.flatnonzero(red[: edge + 10] > 180)) == [edge - 1, edge]


def test_slanted_lines_have_smooth_edges() -> None:
    triangle = Polygon([(1040, 540), (1700, 640), (1200, 1100)])
    image = drawn(OverlayItem(triangle, color=(255, 0, 0)))
    assert len(np.unique(image[..., 1])) > 10


def test_prompts_lie_where_they_were_given() -> None:
    prompts = ObjectPrompts(
        clicks=(Click.at(1000 + 4 * 50.5, 500 + 4 * 30.5), Click.at(1000 + 4 * 150.5, 500 + 4 * 120.5, Label.NEGATIVE)),
        box=Box(1000 + 4 * 20, 500 + 4 * 60, 1000 + 4 * 100, 500 + 4 * 110),
    )
    image = drawn(OverlayItem(Polygon(), prompts=prompts, color=(0, 0, 255)))
    for (x, y), strong, weak in [((50, 30), 1, 0), ((150, 120), 0, 1)]:
        assert (image[y, x] > 250).all(), "the arms of the sign cross in the click"
        assert (image[y + 4, x + 4, strong] - image[y + 4, x + 4, weak]) > 100
    ys, xs = np.nonzero(changed(image)[20:42, 40:62])
    assert (ys.mean() + 20, xs.mean() + 40) == pytest.approx((30, 50), abs=0.6)
    top = image[60, 25:95, 2] - image[60, 25:95, 0]
    assert (top > 200).any(), "a dash"
    assert (top < 50).any(), "a gap"
    assert not changed(image)[70:100, 30:90].any(), "nothing in the box"


def test_a_negative_click_far_from_the_outline_is_in_the_picture() -> None:
    extent = Region(0, 0, 5000, 5000)
    slide = SimpleNamespace(
        info=SimpleNamespace(extent=extent),
        read=lambda window: np.full((window.height, window.width, 3), GREY, np.uint8),
    )
    prompts = ObjectPrompts((Click.at(1000, 1000), Click.at(1000, 3000, Label.NEGATIVE)))
    found = Prediction((ObjectResult("", (), Window(extent, 256, 256), False, b"", 0, None),), None, Timings())
    image = np.asarray(draw_prediction(slide, found, [prompts], max_side=400)).astype(int)
    red = (image[..., 0] > image[..., 1] + 100) & (image[..., 0] > image[..., 2] + 100)
    assert red.sum() > 50


def test_scribbles_and_outlines_are_drawn() -> None:
    stroke = scribble([(1000 + 4 * x, 500 + 4 * 40) for x in (20, 60, 100)])
    image = drawn(OverlayItem(Polygon(), prompts=ObjectPrompts(clicks=(stroke,), outline=level0(30, 80, 90, 140))))
    assert changed(image)[40, 20:100].all()
    assert changed(image)[79:81, 30:90].any()


def test_labels_stay_in_the_picture() -> None:
    for box in [(0, 0, 10, 10), (190, 0, 199, 10), (0, 150, 10, 159), (-50, -50, 250, 250)]:
        plain, labelled = (drawn(OverlayItem(level0(*box), text, color=(0, 0, 120))) for text in ("", "12  0.93"))
        tag = (plain != labelled).any(axis=2)
        assert tag.sum() > 300
        assert (labelled[tag] > 250).all(axis=1).any(), "white letters"


def test_what_lies_outside_is_left_out_and_colours_take_turns() -> None:
    assert not changed(drawn(OverlayItem(level0(500, 500, 600, 600), prompts=ObjectPrompts((Click.at(0, 0),))))).any()
    assert not changed(drawn(OverlayItem(Polygon(), "empty"))).any()
    assert not changed(drawn()).any()
    items = [OverlayItem(level0(10 * i, 10, 10 * i + 6, 16)) for i in range(len(PALETTE) + 1)]
    image = drawn(*items)
    assert tuple(image[10, 3]) == tuple(image[10, 10 * len(PALETTE) + 3]) == PALETTE[0]
    assert tuple(image[10, 13]) == PALETTE[1]


def test_pixels_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        draw_overlay(np.zeros((200, 160, 3), np.uint8), WINDOW, [])


def test_it_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "Übersicht 1.png"
    draw_overlay(np.zeros((160, 200, 3), np.uint8), WINDOW, [OverlayItem(level0(20, 20, 50, 50))]).save(path)
    with Image.open(path) as written:
        assert written.size == (200, 160)


def test_every_part_of_a_multipart_outline_prompt_is_dashed():
    window = Window(Region(0, 0, 200, 100), 200, 100)
    parts = shapely.union_all([shapely.box(20, 20, 80, 80), shapely.box(120, 20, 180, 80)])
    white = np.full((100, 200, 3), 255, np.uint8)
    drawn = np.asarray(draw_overlay(white, window, [OverlayItem(Polygon(), prompts=ObjectPrompts(outline=parts))]))
    changed = (drawn != 255).any(axis=2)
    assert changed[:, :100].any()
    assert changed[:, 100:].any()
