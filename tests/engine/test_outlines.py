"""From masks to what is returned: what is left out beside an outline that is refined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from qupath_sam.engine.outlines import outlines_of
from qupath_sam.engine.step import State
from qupath_sam.models.base import LOW_RES_SIZE, MaskSet
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import OutputOptions

WINDOW = Window(Region(1000, 2000, 256, 256), 256, 256)
OLD = shapely.box(1040, 2040, 1200, 2200)
REFINED = ObjectPrompts(outline=OLD)


def noisy_disc() -> tuple[State, np.ndarray]:
    """A disc with a pixel turned over here and there, and which pixels these are."""
    y, x = np.indices((256, 256))
    flipped = np.random.default_rng(5).random((256, 256)) < 0.01
    mask = (np.hypot(x - 120, y - 120) < 70) ^ flipped
    logits = np.zeros((1, LOW_RES_SIZE, LOW_RES_SIZE), np.float32)
    return State.of(WINDOW, MaskSet(mask[None], np.array([0.9], np.float32), logits)), flipped


def shape_of(prompts: ObjectPrompts, output: OutputOptions | None = None) -> shapely.Geometry:
    state, _ = noisy_disc()
    (outline,) = outlines_of(state, prompts, output or OutputOptions(), extent=Region(0, 0, 5000, 5000), mpp=0.5)
    assert outline.area_px2 == outline.geometry.area
    return outline.geometry


def test_an_outline_is_refined_without_specks_and_pinholes() -> None:
    refined = shape_of(REFINED)
    assert refined.geom_type == "Polygon"
    assert not refined.interiors


@pytest.mark.parametrize("click", [(), (Click.at(1120, 2120),)], ids=["alone", "and a click"])
def test_a_box_has_several_parts_and_no_specks(click: tuple[Click, ...]) -> None:
    boxed = ObjectPrompts(click, box=Box(*OLD.bounds))
    assert shape_of(boxed).equals(shape_of(REFINED))
    everything = shape_of(ObjectPrompts((Click.at(1120, 2120),)))
    assert shape_of(boxed, OutputOptions(keep_parts=True)).equals(everything)
    assert shape_of(boxed, OutputOptions(clean_share=0)).equals(everything)


def test_the_parts_that_a_box_holds_stay() -> None:
    y, x = np.indices((256, 256))
    mask = np.zeros((256, 256), bool)
    for left, radius in ((40, 10), (120, 8), (200, 3), (240, 1)):
        mask |= np.hypot(x - left, y - 120) < radius
    logits = np.zeros((1, LOW_RES_SIZE, LOW_RES_SIZE), np.float32)
    state = State.of(WINDOW, MaskSet(mask[None], np.array([0.9], np.float32), logits))
    wide = ObjectPrompts(box=Box(1020, 2100, 1250, 2140))
    (outline,) = outlines_of(state, wide, OutputOptions(), extent=Region(0, 0, 5000, 5000), mpp=0.5)
    assert len(shapely.get_parts(outline.geometry)) == 3, "beside the largest part the last one alone is a speck"


def test_without_a_box_or_an_outline_every_pixel_stays() -> None:
    everything = shape_of(ObjectPrompts((Click.at(1120, 2120),)))
    assert everything.area == np.count_nonzero(noisy_disc()[0].mask)
    assert len(shapely.get_parts(everything)) > 100
    assert shape_of(REFINED, OutputOptions(clean_share=0)).equals(everything)


def test_what_was_clicked_stays() -> None:
    state, flipped = noisy_disc()
    specks = np.argwhere(flipped & state.mask)
    y, x = specks[np.hypot(*(specks - 120).T) > 80][0]
    holes = np.argwhere(flipped & ~state.mask)
    hole_y, hole_x = holes[np.hypot(*(holes - 120).T) < 60][0]
    speck, hole = shapely.Point(1000.5 + x, 2000.5 + y), shapely.Point(1000.5 + hole_x, 2000.5 + hole_y)
    refined = shape_of(REFINED)
    assert not refined.covers(speck)
    assert refined.covers(hole)
    clicks = Click.at(speck.x, speck.y), Click.at(hole.x, hole.y, Label.NEGATIVE)
    clicked = shape_of(replace(REFINED, clicks=clicks))
    assert clicked.covers(speck)
    assert not clicked.covers(hole)
    assert len(shapely.get_parts(clicked)) == 2


def test_a_finer_grid_shows_one_object_too() -> None:
    """The rule holds on the grid on which an outline is traced, not only in the window."""
    window = Window(Region(0, 0, 1024, 1024), 256, 256)
    logits = np.full((LOW_RES_SIZE, LOW_RES_SIZE), -1.0, np.float32)
    logits[40:80, 40:80] = 1.0
    logits[100:110, 100:110] = 1.0
    state = State.of(window, MaskSet((logits > 0)[None], np.array([0.9], np.float32), logits[None]))
    clicked = ObjectPrompts((Click.at(240, 240),))

    def parts(prompts: ObjectPrompts, **options: bool) -> int:
        (outline,) = outlines_of(state, prompts, OutputOptions(**options), extent=Region(0, 0, 5000, 5000), mpp=None)
        return len(shapely.get_parts(outline.geometry))

    assert parts(clicked) == 1
    assert parts(clicked, keep_parts=True) == 2
    assert parts(ObjectPrompts(box=Box(100, 100, 500, 500))) == 2


def test_what_hangs_together_beyond_the_edge_of_the_image_alone_is_not_one_object() -> None:
    """A window of a small image shows white beyond it; a mask that goes round through it has lost its other end."""
    mask = np.zeros((256, 256), np.bool_)
    mask[20:40, 40:140] = mask[160:180, 40:140] = True
    mask[20:180, 120:140] = True
    logits = np.zeros((1, LOW_RES_SIZE, LOW_RES_SIZE), np.float32)
    state = State.of(WINDOW, MaskSet(mask[None], np.array([0.9], np.float32), logits))
    clicked = ObjectPrompts((Click.at(1050, 2030),))
    edge = Region(0, 0, 1100, 5000)
    (outline,) = outlines_of(state, clicked, OutputOptions(), extent=edge, mpp=None)
    assert outline.geometry.equals(shapely.box(1040, 2020, 1100, 2040))
    (both,) = outlines_of(state, clicked, OutputOptions(keep_parts=True), extent=edge, mpp=None)
    assert len(shapely.get_parts(both.geometry)) == 2
    (whole,) = outlines_of(state, clicked, OutputOptions(), extent=Region(0, 0, 5000, 5000), mpp=None)
    assert len(shapely.get_parts(whole.geometry)) == 1
