"""Outlines larger than a window: the border follows the model, no window's edge shows, the interior stays."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, MultiPolygon, Point, Polygon

from qupath_sam.engine.boundary import (
    BoundaryOptions,
    RefinedBoundary,
    RefineWindow,
    boundary_windows,
    is_too_large,
    refine_boundary,
)
from qupath_sam.polygons.distance import LIMIT, rasterize, signed_distance
from qupath_sam.types.regions import Region

EXTENT = Region(0, 0, 12_000, 12_000)


def blob(radius: float, wobble: float, *, waves: int = 9, points: int = 2000) -> Polygon:
    """A star-shaped region with a wavy border, round (6000, 6000)."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    r = radius + wobble * np.sin(waves * angle)
    return Polygon(np.stack([6000 + r * np.cos(angle), 6000 + r * np.sin(angle)], axis=1))


def noisy(truth: Polygon | MultiPolygon, noise: float, seed: int = 0) -> RefineWindow:
    """A model that sees the truth, each time a few px off, and scribbles along its window's edge."""
    chance = np.random.default_rng(seed)

    def refine(window: Region, part: Polygon | MultiPolygon) -> tuple[Polygon | MultiPolygon, float]:
        shift = chance.normal(0, noise, 2)
        seen = shapely.affinity.translate(truth.buffer(chance.normal(0, noise)), *shift)
        frame = shapely.box(*window.bounds)
        rim = frame.exterior.buffer(window.width / 40)
        seen = seen.union(rim) if chance.random() < 0.5 else seen.difference(rim)
        answer = seen.intersection(frame)
        return shapely.make_valid(answer), 0.9

    return refine


def straight_runs(geometry: Polygon | MultiPolygon) -> list[LineString]:
    """Axis-aligned edges."""
    return [
        LineString([first, second])
        for ring in shapely.get_rings(shapely.get_parts(geometry))
        for first, second in itertools.pairwise(shapely.get_coordinates(ring))
        if (first == second).any()
    ]


def on_edges(geometry: Polygon | MultiPolygon, windows: list[Region], within: float) -> list[float]:
    """Lengths of the axis-aligned edges that run along a window's edge, at most ``within`` px beside it."""
    frames = shapely.union_all([shapely.box(*window.bounds).exterior for window in windows]).buffer(within)
    shapely.prepare(frames)
    # The longest part of each edge that is beside a frame; what merely crosses one is as short as the strip is wide.
    return [run.intersection(frames).length for run in straight_runs(geometry) if frames.intersects(run)]


def run(truth: Polygon, old: Polygon, noise: float, downsample: float = 4.0) -> RefinedBoundary:
    return refine_boundary(old, EXTENT, BoundaryOptions(downsample, 256), noisy(truth, noise))


@pytest.mark.parametrize("noise", [0.0, 12.0])
def test_border_follows_the_model(noise: float) -> None:
    truth, old = blob(4000, 150), blob(4000, 0)
    result = run(truth, old, noise)
    assert result.windows > 30
    assert result.left_out == 0
    assert result.geometry.geom_type == "Polygon"
    assert result.geometry.is_valid
    off = result.geometry.symmetric_difference(truth)
    assert off.difference(truth.exterior.buffer(4 + 4 * noise)).area == 0
    assert old.symmetric_difference(truth).area > 5 * off.area


def test_no_window_edge_shows() -> None:
    truth, old = blob(4000, 150), blob(4000, 0)
    options = BoundaryOptions(4.0, 256)
    result = refine_boundary(old, EXTENT, options, noisy(truth, 12))
    windows = boundary_windows(old, options.side, EXTENT)
    frames = shapely.union_all([shapely.box(*window.bounds).exterior for window in windows])
    crossings = shapely.get_parts(result.geometry.exterior.intersection(frames))
    assert len(crossings) > 50, "the border crosses windows' edges"
    lengths = on_edges(result.geometry, windows, within=4)
    assert max(lengths, default=0) <= 12 * 4, "a straight edge of more than twelve cells lies along a window's edge"
    # Nor does any step across the border: as smooth as the truth, give or take the noise.
    assert result.geometry.length < 1.45 * truth.length  # a staircase is up to 4/pi as long as its curve


def test_taking_the_last_word_would_show() -> None:
    """The test above sees seams: pasted windows have long straight edges on their borders."""
    truth, old = blob(4000, 150), blob(4000, 0)
    options = BoundaryOptions(4.0, 256)
    model, pasted = noisy(truth, 12), old
    windows = boundary_windows(old, options.side, EXTENT)
    for window in windows:
        frame = shapely.box(*window.bounds)
        pasted = pasted.difference(frame).union(model(window, old.intersection(frame))[0])  # type: ignore[index]
    assert max(on_edges(pasted, windows, within=4)) > 500


def test_interior_is_untouched_and_holes_are_refined() -> None:
    old = blob(4000, 0).difference(Point(6500, 6200).buffer(900))
    truth = blob(4000, 100).difference(Point(6500, 6200).buffer(800))
    result = run(truth, old, 5)
    assert isinstance(result.geometry, Polygon)
    assert len(result.geometry.interiors) == 1
    assert abs(Polygon(result.geometry.interiors[0]).area / (np.pi * 800**2) - 1) < 0.05
    assert result.geometry.covers(Point(4000, 6000).buffer(900))


def test_windows_that_disagree_too_much_are_left_out() -> None:
    old = blob(4000, 0)
    inside_out = refine_boundary(
        old,
        EXTENT,
        BoundaryOptions(4.0, 256),
        lambda window, part: (shapely.box(*window.bounds).difference(part), 0.9),
    )
    assert inside_out.left_out == inside_out.windows
    assert inside_out.geometry.symmetric_difference(old).area < 0.01 * old.area
    nothing = refine_boundary(old, EXTENT, BoundaryOptions(4.0, 256), lambda window, part: None)
    assert nothing.left_out == nothing.windows
    assert nothing.geometry.equals(inside_out.geometry)


def test_specks_elsewhere_are_not_taken() -> None:
    old = blob(4000, 0)
    speck = Point(6000 + 4000 + 300, 6000).buffer(60)
    options = BoundaryOptions(4.0, 256)

    def model(window: Region, part: Polygon) -> tuple[Polygon | MultiPolygon, float]:
        return part.union(speck.intersection(shapely.box(*window.bounds))), 1.0

    assert refine_boundary(old, EXTENT, options, model).geometry.geom_type == "Polygon"


def test_outline_at_the_edge_of_the_image() -> None:
    extent = Region(0, 0, 6000, 6000)
    old = shapely.box(-10, -10, 5000, 5000)
    truth = shapely.box(0, 0, 5100, 5050)

    def model(window: Region, part: Polygon) -> tuple[Polygon | MultiPolygon, float]:
        return truth.intersection(shapely.box(*window.bounds)), 1.0

    result = refine_boundary(old, extent, BoundaryOptions(4.0, 256), model)
    assert result.left_out == 0
    assert result.geometry.symmetric_difference(truth).area < 0.002 * truth.area
    assert shapely.box(*extent.bounds).covers(result.geometry)


@pytest.mark.parametrize("downsample", [1.0, 2.004, 3.7])
def test_any_scale(downsample: float) -> None:
    truth, old = blob(1500, 30), blob(1500, 0)
    result = run(truth, old, 0, downsample)
    assert result.geometry.is_valid
    assert result.geometry.symmetric_difference(truth).area < 0.3 * old.symmetric_difference(truth).area


def test_every_border_point_is_in_the_middle_of_a_window() -> None:
    old = blob(3000, 400)
    side = 1000
    cores = shapely.union_all(
        [shapely.box(*w.bounds).buffer(-0.24 * side, join_style="mitre") for w in boundary_windows(old, side, EXTENT)]
    )
    assert cores.covers(old.exterior)


def test_small_outlines_need_no_windows() -> None:
    assert not is_too_large(Point(0, 0).buffer(300), BoundaryOptions(4.0, 256))
    assert is_too_large(Point(0, 0).buffer(500), BoundaryOptions(4.0, 256))


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(-5, 5), st.integers(-5, 5))
def test_cells_are_inside_where_their_centre_is(seed: int, x: int, y: int) -> None:
    chance = np.random.default_rng(seed)
    hull = shapely.MultiPoint(chance.uniform(-8, 30, (7, 2))).convex_hull
    shape = hull.difference(Point(*chance.uniform(0, 20, 2)).buffer(4)).union(
        Point(*chance.uniform(0, 20, 2)).buffer(2)
    )
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        return
    columns, rows = np.meshgrid(np.arange(x, x + 25) + 0.5, np.arange(y, y + 20) + 0.5)
    assert (rasterize(shape, x, y, 25, 20) == shapely.contains_xy(shape, columns, rows)).all()


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.01, 0.99))
def test_distances_are_exact(seed: int, density: float) -> None:
    mask = np.random.default_rng(seed).random((13, 17)) < density
    distance = signed_distance(mask)
    assert ((distance > 0) == mask).all()
    inside, outside = np.argwhere(mask), np.argwhere(~mask)
    for row, column in np.argwhere(mask | ~mask):
        others = outside if mask[row, column] else inside
        nearest = min(np.hypot(*(others - (row, column)).T).min(), LIMIT) if len(others) else LIMIT
        assert abs(distance[row, column]) == pytest.approx(nearest - 0.5, abs=1e-4)


def test_a_region_of_20000_px_stays_cheap() -> None:
    extent = Region(0, 0, 24_000, 24_000)
    angle = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    old = Polygon(np.stack([12_000 + 10_000 * np.cos(angle), 12_000 + 10_000 * np.sin(angle)], axis=1))
    started = time.process_time()
    result = refine_boundary(old, extent, BoundaryOptions(4.0, 256), lambda window, part: (part, 1.0))
    assert result.geometry.symmetric_difference(old).area < 0.001 * old.area
    # On 0.1.0 the whole outline was stairs of 4 px.
    assert sum(edge.length for edge in straight_runs(result.geometry)) < 0.1 * result.geometry.length
    assert result.geometry.hausdorff_distance(old) < 6
    assert result.geometry.length < 1.01 * old.length
    assert time.process_time() - started < 60


def test_doubt_at_the_edge_of_a_window_leaves_no_spike() -> None:
    """Of a window at the image's edge nothing is blended away there: what ran along its edge stayed as a spike."""
    extent = Region(0, 0, 12_000, 12_000)
    old = shapely.box(-50, 3000, 5000, 8000)

    def model(window: Region, part: Polygon) -> tuple[Polygon | MultiPolygon, float]:
        frame = shapely.box(*window.bounds)
        rim = shapely.box(0, 0, 8, 12_000)
        return part.union(rim.intersection(frame)), 1.0

    result = refine_boundary(old, extent, BoundaryOptions(4.0, 256), model)
    visible = old.intersection(shapely.box(*extent.bounds))
    assert result.geometry.symmetric_difference(visible).area < 0.001 * visible.area
    assert result.geometry.bounds[1] > 2990
    assert result.geometry.bounds[3] < 8010
