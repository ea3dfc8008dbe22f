"""A tile that reaches beyond the image shows the image mirrored there."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.engine.region.mirroring import mirrored
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.types.regions import Region, Window


def image(height: int, width: int) -> PushedReader:
    pixels = np.random.default_rng(0).integers(0, 200, (height, width, 3), dtype=np.uint8)
    return PushedReader.of_image(pixels, None)


def test_a_window_inside_stays_as_it_is() -> None:
    window = Window(Region(2, 3, 8, 8), 8, 8)
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert mirrored(pixels, window, Region(0, 0, 20, 20)) is pixels


@pytest.mark.parametrize("at", [(-4, 0), (0, -3), (14, 12), (-5, 13)])
def test_beyond_an_edge_the_image_comes_back(at: tuple[int, int]) -> None:
    slide = image(20, 20)
    whole = np.pad(slide.read(Window(Region(0, 0, 20, 20), 20, 20)), ((20, 20), (20, 20), (0, 0)), mode="symmetric")
    window = Window(Region(*at, 10, 10), 10, 10)
    found = mirrored(slide.read(window), window, slide.info.extent)
    x, y = at[0] + 20, at[1] + 20
    assert (found == whole[y : y + 10, x : x + 10]).all()


@pytest.mark.parametrize("side", [3, 7])
def test_an_image_smaller_than_the_window_fills_it(side: int) -> None:
    slide = image(side, side)
    window = Window(Region(-2, -4, 20, 20), 20, 20)
    found = mirrored(slide.read(window), window, slide.info.extent)
    assert found.max() < 200


def test_pixels_that_the_edge_cuts_are_no_pixels_of_the_image() -> None:
    slide = image(10, 10)
    window = Window(Region(-3, -3, 16, 16), 6, 6)
    assert mirrored(slide.read(window), window, slide.info.extent).max() < 215


def test_a_window_outside_stays_white() -> None:
    window = Window(Region(100, 100, 8, 8), 8, 8)
    assert (mirrored(np.full((8, 8, 3), 255, np.uint8), window, Region(0, 0, 20, 20)) == 255).all()
