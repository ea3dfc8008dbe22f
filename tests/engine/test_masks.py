"""The grid on which outlines are traced."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from PIL import Image

from qupath_sam.engine.logits import mask_on_grid, outline_logits, traced_grid
from qupath_sam.polygons import place, trace_mask
from qupath_sam.types.prompts import check_outline
from qupath_sam.types.regions import Region, Window


@pytest.mark.parametrize(
    ("side", "pixels", "traced"),
    [(64, 256, 256), (256, 256, 256), (512, 256, 512), (1024, 256, 1024), (4096, 256, 1024), (2048, 1024, 1024)],
)
def test_outlines_are_traced_at_level_0_where_that_is_affordable(side, pixels, traced):
    grid = traced_grid(Window(Region(8, 16, side, side), pixels, pixels))
    assert (grid.width, grid.height) == (traced, traced)
    assert grid.region == Region(8, 16, side, side)


@pytest.mark.parametrize(
    ("region", "pixels", "traced"),
    [
        ((611, 433), (256, 181), (611, 433)),
        ((2220, 1), (256, 1), (1024, 1)),
        ((1, 2967), (1, 256), (1, 1024)),
        ((3000, 2051), (256, 175), (1024, 700)),
        ((300, 300), (1, 1), (300, 300)),
    ],
)
def test_windows_of_any_shape_have_a_grid(region, pixels, traced):
    grid = traced_grid(Window(Region(-7, 9, *region), *pixels))
    assert (grid.width, grid.height) == traced


@pytest.mark.parametrize("size", [(512, 512), (1024, 1024), (4096, 4096), (611, 433), (3000, 2051), (2220, 90)])
def test_a_cropped_grid_equals_the_whole_one(size):
    rng = np.random.default_rng(size[0])
    coarse = rng.normal(size=(12, 12)).astype(np.float32)
    logits = np.full((256, 256), -3, np.float32)
    logits[60:200, 90:180] = np.asarray(Image.fromarray(coarse).resize((90, 140), Image.Resampling.BICUBIC))
    shown = 256 / max(size)
    window = Window(Region(1000, 2000, *size), round(size[0] * shown), round(size[1] * shown))
    grid = traced_grid(window)
    mask, at = mask_on_grid(logits > 0, logits, window, grid)
    whole = np.asarray(Image.fromarray(logits).resize((grid.width, grid.height), Image.Resampling.BILINEAR)) > 0
    outline = place(trace_mask(mask), grid, at=at)
    check_outline(outline)
    assert outline.equals(place(trace_mask(whole), grid))


def test_an_enlarged_disc_is_rounder_than_its_pixels():
    truth = shapely.Point(1500, 2500).buffer(200, quad_segs=64)
    window = Window(Region(1000, 2000, 1024, 1024), 256, 256)
    distance = 200 - np.hypot(*(np.mgrid[2000:3024:4, 1000:2024:4] + 2.0 - np.array([2500, 1500])[:, None, None]))
    logits = (distance / 8).astype(np.float32)

    def iou(geometry):
        return geometry.intersection(truth).area / geometry.union(truth).area

    grid = traced_grid(window)
    mask, at = mask_on_grid(logits > 0, logits, window, grid)
    fine = place(trace_mask(mask), grid, at=at)
    coarse = place(trace_mask(logits > 0), window)
    assert iou(fine) > 0.996 > iou(coarse)


def test_an_empty_mask_stays_empty():
    window = Window(Region(0, 0, 512, 512), 256, 256)
    logits = np.full((256, 256), -1, np.float32)
    mask, _ = mask_on_grid(logits > 0, logits, window, traced_grid(window))
    assert trace_mask(mask).is_empty


def test_a_window_at_level_0_is_traced_as_it_is():
    window = Window(Region(0, 0, 256, 256), 256, 256)
    logits = outline_logits(shapely.box(10, 20, 30, 50), window)
    mask, at = mask_on_grid(logits > 0, logits, window, traced_grid(window))
    assert at == (0, 0)
    assert mask.sum() == 600
