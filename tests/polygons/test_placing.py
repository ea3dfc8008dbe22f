"""Window px to level 0."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qupath_sam.polygons import place, trace_mask
from qupath_sam.types.regions import Region, Window


def test_a_pixel_lands_on_its_level0_square() -> None:
    mask = np.zeros((256, 256), np.bool_)
    mask[3, 5] = True
    window = Window.of(Region(1000, -2000, 1024, 1024), 4)
    assert shapely.equals_exact(
        shapely.normalize(place(trace_mask(mask), window)), shapely.box(1020, -1988, 1024, -1984).normalize(), 0
    )


@given(
    arrays(np.bool_, (9, 7)),
    st.integers(-(2**31), 2**31),
    st.integers(-(2**31), 2**31),
    st.integers(1, 512),
)
def test_whole_downsamples_give_whole_coordinates_and_scale_the_area(
    mask: np.ndarray, x: int, y: int, downsample: int
) -> None:
    window = Window(Region(x, y, 7 * downsample, 9 * downsample), 7, 9)
    placed = place(trace_mask(mask), window)
    coordinates = shapely.get_coordinates(placed)
    assert np.array_equal(coordinates, np.round(coordinates))
    back = shapely.transform(placed, lambda c: (c - [x, y]) / downsample)
    assert shapely.equals_exact(back, trace_mask(mask), 0)


@pytest.mark.parametrize("size", [(100, 300), (512, 512), (1001, 17)])
def test_corners_of_the_window_are_corners_of_the_region(size: tuple[int, int]) -> None:
    window = Window(Region(11, 22, 333, 4444), *size)
    placed = place(shapely.box(0, 0, *size), window)
    assert placed.bounds == pytest.approx(window.region.bounds, abs=1e-9)
