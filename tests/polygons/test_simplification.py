"""Simplified outlines stay valid, near, and, as a coverage, without gaps or overlaps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.polygons import place, simplify, simplify_coverage, trace_labels, trace_mask
from qupath_sam.types.regions import Region, Window

masks = arrays(np.bool_, (14, 12)).filter(np.any)
label_images = arrays(np.uint8, (14, 12), elements=st.integers(0, 5))
tolerances = st.sampled_from([0.0, 0.5, 0.8, 1.5, 4.0, 30.0])


def disc(size: int, radius: float) -> np.ndarray:
    rows, columns = np.indices((size, size)) + 0.5 - size / 2
    return np.hypot(rows, columns) < radius


@settings(max_examples=300)
@given(masks, tolerances)
def test_simplify_keeps_validity_parts_and_holes_and_moves_the_outline_no_further_than_told(
    mask: np.ndarray, tolerance: float
) -> None:
    original = trace_mask(mask)
    simple = simplify(original, tolerance)
    assert simple.is_valid
    assert type(simple) is type(original)
    assert len(shapely.get_rings(simple)) == len(shapely.get_rings(original))
    assert shapely.hausdorff_distance(original.boundary, simple.boundary, densify=0.1) <= tolerance + 1e-9


def test_simplify_drops_most_vertices_of_a_disc() -> None:
    original = trace_mask(disc(200, 80))
    simple = simplify(original, 1.0)
    assert shapely.get_num_coordinates(simple) < 0.2 * shapely.get_num_coordinates(original)
    assert simple.area == pytest.approx(original.area, rel=0.02)


def test_what_the_simplifier_breaks_comes_back_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    bow_tie = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    monkeypatch.setattr(shapely, "simplify", lambda *_, **__: bow_tie)
    square = shapely.box(0, 0, 2, 2)
    assert simplify(square, 1) is square


@settings(max_examples=300)
@given(label_images, tolerances)
def test_a_coverage_stays_one(labels: np.ndarray, tolerance: float) -> None:
    originals = list(trace_labels(labels).values())
    simple = simplify_coverage(originals, tolerance)
    assert len(simple) == len(originals)
    assert all(geometry.is_valid and isinstance(geometry, Polygon | MultiPolygon) for geometry in simple)
    # No overlap and no gap: the union has the area of all together, and as many holes as before.
    union = shapely.union_all(simple) if simple else Polygon()
    assert union.area == pytest.approx(sum(geometry.area for geometry in simple))
    for i, first in enumerate(originals):
        for j in range(i):
            touched = shapely.relate_pattern(first, originals[j], "****1****")  # along a line, not in a point only
            assert shapely.relate_pattern(simple[i], simple[j], "****1****") == touched


def test_touching_nuclei_do_not_overlap_when_simplified() -> None:
    rows, columns = np.indices((120, 120))
    seeds = np.random.default_rng(3).uniform(0, 120, (40, 2))
    nearest = np.argmin([np.hypot(rows - y, columns - x) for y, x in seeds], axis=0)
    window = Window(Region(1000, 2000, 400, 400), 120, 120)  # no whole downsample: coordinates are rounded
    originals = [place(geometry, window) for geometry in trace_labels(nearest + 1).values()]
    simple = simplify_coverage(originals, 5.0)
    assert sum(g.area for g in simple) == pytest.approx(400 * 400, rel=1e-3)
    assert shapely.union_all(simple).area == pytest.approx(sum(g.area for g in simple), rel=1e-12)
    assert sum(map(shapely.get_num_coordinates, simple)) < 0.4 * sum(map(shapely.get_num_coordinates, originals))
    assert shapely.coverage_is_valid(simple)


def test_an_empty_list_and_empty_geometries() -> None:
    assert simplify_coverage([], 1.0) == []
    assert [g.is_empty for g in simplify_coverage([Polygon(), shapely.box(0, 0, 2, 2)], 1.0)] == [True, False]
    assert simplify(Polygon(), 1.0).is_empty


@pytest.mark.parametrize("tolerance", [-1.0, math.nan])
def test_impossible_tolerances_are_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        simplify(shapely.box(0, 0, 1, 1), tolerance)
    with pytest.raises(ValueError, match="tolerance"):
        simplify_coverage([shapely.box(0, 0, 1, 1)], tolerance)
