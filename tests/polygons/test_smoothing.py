"""Outlines traced on a coarse grid: no stairs, no spikes, and hardly anywhere else than before."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_opening
from shapely.geometry import Point

from qupath_sam.polygons.smoothing import without_spikes, without_stairs
from qupath_sam.polygons.tracing import trace_mask


def stairs(geometry: shapely.Geometry) -> float:
    """Share of the outline's length that runs along an axis."""
    along = whole = 0.0
    for ring in shapely.get_rings(shapely.get_parts(geometry)):
        for first, second in itertools.pairwise(shapely.get_coordinates(ring)):
            length = float(np.hypot(*(second - first)))
            whole += length
            along += length if (first == second).any() else 0.0
    return along / whole


@pytest.mark.parametrize("slope", [0.1, 0.37, 1.0, 2.3])
def test_a_slanted_edge_has_no_stairs(slope: float) -> None:
    rows, columns = np.mgrid[0:200, 0:200]
    traced = trace_mask((rows + 0.5) > slope * (columns + 0.5) + 10)
    assert stairs(traced) == 1
    smooth = without_stairs(traced, 1)
    assert stairs(smooth) < 0.75, "its two edges along the axes are left"
    assert len(shapely.get_coordinates(smooth)) < 0.3 * len(shapely.get_coordinates(traced))
    assert smooth.hausdorff_distance(traced) < 2
    assert smooth.area == pytest.approx(traced.area, rel=0.01)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.8))
def test_parts_and_holes_stay(seed: int, density: float) -> None:
    noise = np.random.default_rng(seed).random((24, 30)) < density
    mask = binary_opening(noise, np.ones((2, 2), bool))
    if not mask.any():
        return
    traced = trace_mask(mask)
    smooth = without_stairs(shapely.transform(traced, lambda c: 4 * c), 4)
    assert smooth.is_valid
    before = [len(part.interiors) for part in shapely.get_parts(traced)]
    after = [len(part.interiors) for part in shapely.get_parts(smooth)]
    assert after == before
    assert smooth.hausdorff_distance(shapely.transform(traced, lambda c: 4 * c)) <= 8


def test_spikes_that_nobody_drew_go() -> None:
    old = Point(500, 500).buffer(300)
    spike = shapely.box(150, 495, 250, 501)
    slit = shapely.box(600, 495, 810, 501)
    drawn = shapely.box(495, 100, 501, 250)
    new = old.union(spike).difference(slit)
    mended = without_spikes(new, old, 12)
    assert mended.symmetric_difference(old).area < 0.15 * spike.area
    # What a person has drawn so stays.
    assert without_spikes(old.union(drawn), old.union(drawn), 12).equals(old.union(drawn))
    with_slit = old.difference(slit)
    assert without_spikes(with_slit, with_slit, 12).equals(with_slit)
    # So does what is short or broad.
    bump = old.union(shapely.box(190, 450, 260, 550))
    assert without_spikes(bump, old, 12).equals(bump)
