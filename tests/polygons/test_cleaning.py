"""Filling, dropping, clipping, choosing."""

from __future__ import annotations

import math

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.polygons import clean_against, clip, drop_small_parts, fill_holes, trace_mask

masks = arrays(np.bool_, (13, 11))
areas = st.sampled_from([0, 1, 2, 5, 20, math.inf])

#: A ring round an island, and an island apart.
TARGET = shapely.union_all(
    [shapely.box(0, 0, 10, 10).difference(shapely.box(2, 2, 8, 8)), shapely.box(4, 4, 6, 6), shapely.box(20, 0, 21, 1)]
)


def pixels(geometry: Polygon | MultiPolygon, shape: tuple[int, int]) -> np.ndarray:
    """Which pixel centres a geometry covers."""
    y, x = np.indices(shape) + 0.5
    return shapely.contains_xy(geometry, x, y)


@given(masks, areas)
def test_filled_holes_are_those_that_are_small_enough(mask: np.ndarray, max_area: float) -> None:
    original = trace_mask(mask)
    filled = fill_holes(original, max_area)
    assert filled.is_valid
    holes = [Polygon(ring) for part in shapely.get_parts(original) for ring in part.interiors]
    small = shapely.union_all([hole for hole in holes if hole.area <= max_area])
    assert np.array_equal(pixels(filled, mask.shape), mask | pixels(small, mask.shape))
    assert filled.area == np.count_nonzero(pixels(filled, mask.shape))


def test_an_island_in_a_filled_hole_is_taken_in() -> None:
    assert fill_holes(TARGET, 36).equals(shapely.union_all([shapely.box(0, 0, 10, 10), shapely.box(20, 0, 21, 1)]))
    assert fill_holes(TARGET, 35.9).equals(TARGET)


@given(masks, areas)
def test_parts_that_are_left_are_large_enough(mask: np.ndarray, min_area: float) -> None:
    original = trace_mask(mask)
    kept = drop_small_parts(original, min_area)
    assert kept.is_empty or min(shapely.area(shapely.get_parts(kept))) >= min_area
    dropped = original.area - kept.area
    assert dropped == sum(part.area for part in shapely.get_parts(original) if part.area < min_area)


@given(masks, masks.filter(np.any), st.sampled_from([0.02, 0.1, 0.3]), st.tuples(st.floats(0, 11), st.floats(0, 13)))
def test_specks_and_pinholes_go_and_answers_to_small_parts_stay(
    mask: np.ndarray, old_mask: np.ndarray, share: float, point: tuple[float, float]
) -> None:
    new, old = trace_mask(mask), trace_mask(old_mask)
    cleaned = clean_against(new, old, share, keep_parts=[point], keep_holes=[point])
    assert cleaned.is_valid
    assert clean_against(cleaned, old, share, keep_parts=[point], keep_holes=[point]).equals(cleaned), "done twice"
    old_parts, parts = shapely.get_parts(old), shapely.get_parts(cleaned)
    main = share * max(part.area for part in old_parts)

    def is_meant(part: Polygon) -> bool:
        overlapped = [other.area for other in old_parts if part.intersection(other).area > 0]
        return part.area >= min([main, *(share * area for area in overlapped)]) or part.intersects(shapely.Point(point))

    largest = max(shapely.area(parts), default=0)
    assert all(is_meant(part) or part.area == largest for part in parts)
    for part in shapely.get_parts(new):
        if is_meant(part):
            assert cleaned.covers(part), "what is meant stays whole"
    if not new.intersects(shapely.Point(point)):
        assert not cleaned.intersects(shapely.Point(point)), "a hole that was asked for"


def test_a_noisy_answer_leaves_no_specks_and_no_part_is_lost() -> None:
    disc, small = shapely.Point(100, 100).buffer(50), shapely.box(200, 0, 206, 6)
    specks = [shapely.box(x, y, x + 1, y + 1) for x in range(2, 60, 9) for y in range(2, 40, 9)]
    pinholes = [shapely.box(x, y, x + 1, y + 1) for x in range(80, 120, 9) for y in range(80, 120, 9)]
    answer = shapely.union_all([disc, shapely.box(200, 0, 202, 6), shapely.box(204, 0, 206, 6), *specks])
    answer = answer.difference(shapely.union_all(pinholes))
    old = shapely.union_all([shapely.Point(90, 90).buffer(60), small])
    assert len(shapely.get_parts(answer)) > 30
    wanted = shapely.union_all([disc, shapely.box(200, 0, 202, 6), shapely.box(204, 0, 206, 6)])
    assert clean_against(answer, old, 0.02).equals(wanted)
    assert clean_against(answer, old, 0) is answer
    holed = shapely.union_all([disc.difference(shapely.box(100, 100, 103, 103)), small])
    assert clean_against(answer, holed, 0.02).equals(wanted), "a pinhole is none for lying in an old hole much larger"
    assert not clean_against(disc.difference(shapely.box(100, 100, 102, 102)), holed, 0.02).equals(disc)


@given(masks, masks)
def test_clipping_is_what_pixels_have_in_common(mask: np.ndarray, outline: np.ndarray) -> None:
    clipped = clip(trace_mask(mask), trace_mask(outline))
    assert isinstance(clipped, Polygon | MultiPolygon)
    assert clipped.is_valid
    assert shapely.equals(clipped, trace_mask(mask & outline))


def test_clipping_leaves_no_lines_where_shapes_touch() -> None:
    assert clip(shapely.box(0, 0, 2, 2), shapely.box(2, 0, 4, 2)) == Polygon()
    u_shape = shapely.box(0, 0, 6, 2).difference(shapely.box(2, 1, 4, 2))
    clipped = clip(u_shape, shapely.box(0, 1, 4, 3))  # an area at the left, and an edge in common on the right
    assert isinstance(clipped, Polygon)
    assert clipped.equals(shapely.box(0, 1, 2, 2))


def test_nothing_stays_nothing() -> None:
    for cleaned in (fill_holes(Polygon(), 9), drop_small_parts(Polygon(), 9)):
        assert cleaned == Polygon()
    assert clip(Polygon(), TARGET).is_empty
