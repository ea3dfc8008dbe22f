"""Where outlines lie: the fake model draws discs of known radius, so every answer can be checked against level 0."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from qupath_sam.types.prompts import Box, Click, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import MaskChoice, OutputOptions, WindowRequest
from qupath_sam.types.service import PixelFormat

IMAGE = shapely.box(0, 0, 2220, 2967)
#: Of the fake's discs, as a share of the window's shorter side.
RADIUS = 0.125


def outlines(client, slide, prompts, **options):
    (result,) = client.predict(slide, [prompts], **options).results
    return result, [outline.geometry for outline in result.outlines]


@pytest.mark.parametrize(
    ("region", "downsample"),
    [
        (Region(37, 51, 611, 433), None),
        (Region(37, 51, 611, 433), 2.37),
        (Region(37, 51, 611, 433), 0.77),
        (Region(100, 0, 331, 977), 1.9),
        (Region(3, 5, 1999, 1501), None),
        (Region(3, 5, 1999, 1501), 3.3),
        (Region(-301, -207, 1213, 1213), None),
        (Region(1900, 2500, 777, 701), 1.7),
        (Region(250, 240, 101, 99), None),
    ],
    ids=str,
)
def test_a_disc_lies_where_it_was_clicked_whatever_the_window(client, slide, region, downsample):
    x, y = region.x + 0.55 * region.width, region.y + 0.52 * region.height
    x, y = min(max(x, 5), 2210), min(max(y, 5), 2960)
    window = WindowRequest(region=region, downsample=downsample)
    result, (outline,) = outlines(client, slide, ObjectPrompts((Click.at(x, y),)), window=window)
    scale = max(result.window.scale)
    true = shapely.Point(x, y).buffer(RADIUS * min(region.width, region.height), quad_segs=64).intersection(IMAGE)
    assert outline.is_valid
    assert outline.hausdorff_distance(true) < 1.1 * max(scale, 1)
    assert outline.area == pytest.approx(true.area, rel=0.04)
    assert outline.centroid.distance(true.centroid) < 0.4 * max(scale, 1)


@pytest.mark.parametrize(
    ("prompts", "window"),
    [
        (ObjectPrompts(box=Box(-5000, -5000, 9000, 9000)), None),
        (ObjectPrompts(outline=shapely.box(-1e9, -1e9, 1e9, 1e9)), None),
        (ObjectPrompts((Click.at(2, 2),)), WindowRequest(region=Region(-300, -300, 700, 700))),
        (ObjectPrompts((Click.at(2220, 2967),)), WindowRequest(region=Region(2100, 2800, 700, 700), downsample=0.7)),
        (ObjectPrompts((Click.at(5, 5),)), WindowRequest(region=Region(-(2**30), -(2**30), 2**31 - 1, 2**31 - 1))),
        (ObjectPrompts((Click.at(1100, 1400),)), WindowRequest(downsample=100.0)),
    ],
    ids=["box", "outline", "corner", "far corner", "vast", "coarse"],
)
@pytest.mark.parametrize("choice", [MaskChoice.BEST, MaskChoice.ALL])
def test_nothing_is_drawn_outside_the_image(client, slide, prompts, window, choice):
    result, found = outlines(client, slide, prompts, window=window, output=OutputOptions(choice=choice))
    assert found
    for outline in found:
        assert outline.is_valid
        assert IMAGE.covers(outline)
    for told, outline in zip(result.outlines, found, strict=True):
        assert told.area_px2 == outline.area
        assert told.area_um2 == pytest.approx(outline.area * 0.499**2)


def test_whole_pixels_stay_whole_at_the_images_edge(client, slide):
    _, (outline,) = outlines(client, slide, ObjectPrompts((Click.at(3, 3),)), window=WindowRequest(downsample=2))
    corners = shapely.get_coordinates(outline)
    np.testing.assert_array_equal(corners, np.round(corners))


def test_small_parts_are_dropped_before_the_clip_and_nothing_is_left_of_what_is_elsewhere(client, slide):
    prompts = ObjectPrompts((Click.at(700, 600),))
    corner = shapely.box(0, 0, 660, 560)
    _, (cut,) = outlines(client, slide, prompts, output=OutputOptions(min_area=1000, clip=corner))
    assert 0 < cut.area * 0.499**2 < 1000
    assert corner.covers(cut)
    for elsewhere in (shapely.box(0, 0, 5, 5), shapely.box(5000, 5000, 6000, 6000)):
        result, found = outlines(client, slide, prompts, output=OutputOptions(clip=elsewhere, choice=MaskChoice.ALL))
        assert found == []
        assert result.token


def test_pushed_pixels_bound_the_outlines_as_a_slides_edge_does(client):
    region = Region(1000, 2000, 150, 120)
    pushed = client.push_pixels(
        bytes(3 * 100 * 80), pixel_format=PixelFormat.RGB, region=region, image_size=(5000, 5000), pixel_size=(100, 80)
    )
    result, (outline,) = outlines(client, pushed, ObjectPrompts((Click.at(1001, 2001),)))
    assert shapely.box(*region.bounds).covers(outline)
    assert outline.contains(shapely.Point(1001, 2001))
    assert result.outlines[0].area_um2 is None


def test_the_answer_is_the_same_whatever_goes_with_it(server, client, slide):
    objects = [ObjectPrompts((Click.at(40 + 130 * i, 60 + 170 * i), Click.at(50 + 130 * i, 66 + 170 * i)))
               for i in range(16)]  # fmt: skip
    objects += [ObjectPrompts(box=Box(100 * i, 90 * i, 100 * i + 40 + 20 * i, 90 * i + 60)) for i in range(8)]

    def answers(order):
        found = client.predict(slide, [objects[i] for i in order]).results
        made = dict(zip(order, found, strict=True))
        return [
            (made[i].window, made[i].token, [(o.geometry.wkb, o.score) for o in made[i].outlines])
            for i in range(len(objects))
        ]

    order = list(range(len(objects)))
    first = answers(order)
    assert answers(order) == first
    server.engine.embeddings.memory.clear()
    server.engine.states.clear()
    assert answers(order[::-1]) == first
    server.engine.states.clear()
    assert answers(order[::2] + order[1::2]) == first
