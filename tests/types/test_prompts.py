"""What a prompt may be."""

from __future__ import annotations

import math

import pytest
import shapely

from qupath_sam.errors import InvalidPrompt
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts, scribble
from qupath_sam.types.regions import Region

EXTENT = Region(0, 0, 100, 80)


def test_an_object_without_prompts_is_refused():
    with pytest.raises(InvalidPrompt, match="at least one click, a box or an outline"):
        ObjectPrompts()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_coordinates_must_be_finite(value):
    with pytest.raises(InvalidPrompt, match="finite"):
        Click.at(value, 0)
    with pytest.raises(InvalidPrompt, match="finite"):
        Box(0, 0, value, 1)


def test_the_first_click_must_be_positive():
    with pytest.raises(InvalidPrompt, match="first click"):
        ObjectPrompts((Click.at(1, 1, Label.NEGATIVE),))
    ObjectPrompts((Click.at(1, 1, Label.NEGATIVE),), box=Box(0, 0, 5, 5))


def test_a_click_without_points_is_refused():
    with pytest.raises(InvalidPrompt, match="at least one point"):
        Click(())


@pytest.mark.parametrize("bounds", [(5, 5, 5, 6), (5, 5, 4, 6), (5, 6, 6, 6)])
def test_a_box_needs_an_area(bounds):
    with pytest.raises(InvalidPrompt, match="positive width and height"):
        Box(*bounds)


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        (shapely.Polygon(), "empty"),
        (shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]), "not a valid polygon"),
        (shapely.LineString([(0, 0), (1, 1)]), "LineString"),
        (None, "at least one click"),
    ],
)
def test_an_outline_must_be_a_valid_polygon(outline, message):
    with pytest.raises(InvalidPrompt, match=message):
        ObjectPrompts(outline=outline)


def test_prompts_must_touch_the_image():
    ObjectPrompts((Click.at(100, 80),)).check_inside(EXTENT)
    ObjectPrompts(box=Box(-10, -10, 5, 5)).check_inside(EXTENT)
    for outside in (
        ObjectPrompts((Click.at(100.5, 10),)),
        ObjectPrompts(box=Box(200, 0, 210, 10)),
        ObjectPrompts(outline=shapely.box(0, 90, 10, 100)),
        ObjectPrompts(box=Box(100, 10, 120, 30)),  # along the border, and nothing of the image in it
        ObjectPrompts(outline=shapely.box(-10, -10, 0, 0)),
    ):
        with pytest.raises(InvalidPrompt, match="outside the image"):
            outside.check_inside(EXTENT)


def test_bounds_leave_negative_clicks_out():
    prompts = ObjectPrompts((Click.at(10, 20), Click.at(90, 70, Label.NEGATIVE), scribble([(12, 22), (14, 30)])))
    assert prompts.bounds == (10, 20, 14, 30)
