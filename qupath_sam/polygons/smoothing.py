"""Outlines that were traced on a coarse grid, made as smooth as what they were drawn from."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.polygons.simplification import simplify

#: Rings of fewer cells' edges are not averaged.
SHORT_RING = 24


def without_stairs(geometry: Polygon | MultiPolygon, cell: float) -> Polygon | MultiPolygon:
    """Lay slants in place of the stairs that tracing on a grid leaves.

    The outline goes through the middles of the cells' edges, as marching squares does; each is moved to the mean of the
    five about it, and the whole straightened by half a cell (Douglas & Peucker). Parts and holes stay in number.

    Args:
        geometry: valid, of edges along both axes, with corners on a grid.
        cell: side of the grid's cells, in units of the geometry's frame.
    """
    parts = [
        Polygon(_through_middles(part.exterior, cell), [_through_middles(ring, cell) for ring in part.interiors])
        for part in shapely.get_parts(geometry)
    ]
    slanted = parts[0] if len(parts) == 1 else MultiPolygon(parts)
    if not slanted.is_valid or slanted.is_empty:
        return geometry
    return simplify(slanted, 0.5 * cell)


def without_spikes(new: Polygon | MultiPolygon, old: Polygon | MultiPolygon, width: float) -> Polygon | MultiPolygon:
    """Drop spikes and fill slits that are narrower than ``width``, three times as long, and not there in ``old``.

    A mask runs out along the edge of its window where a model is unsure; no person draws such an edge.

    Args:
        new, old: valid, of one frame.
        width: in units of that frame.
    """
    radius = width / 2
    opened = new.buffer(-radius, quad_segs=2).buffer(radius, quad_segs=2)
    spikes = [part for part in _long_parts(new.difference(opened), width) if _mostly_outside(part, old)]
    closed = new.buffer(radius, quad_segs=2).buffer(-radius, quad_segs=2)
    slits = [part for part in _long_parts(closed.difference(new), width) if not _mostly_outside(part, old)]
    if not spikes and not slits:
        return new
    # A little more than the spike, for rounding leaves threads of no width.
    gone = shapely.union_all(spikes).buffer(0.01 * width, quad_segs=2)
    filled = shapely.union_all(slits).buffer(0.01 * width, quad_segs=2)
    mended = new.union(filled).difference(gone)
    polygons = [part for part in shapely.get_parts(mended) if isinstance(part, Polygon) and part.area > 0]
    if not polygons:
        return new
    whole = polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
    return whole if whole.is_valid else new


def _through_middles(ring: shapely.LinearRing, cell: float) -> NDArray[np.float64]:
    points = shapely.get_coordinates(shapely.segmentize(ring, 1.001 * cell))
    middles: NDArray[np.float64] = (points[:-1] + points[1:]) / 2
    if len(middles) < SHORT_RING:  # a mean over much of a ring would shrink it
        return middles
    around = [np.roll(middles, shift, axis=0) for shift in (-2, -1, 0, 1, 2)]
    mean: NDArray[np.float64] = np.mean(around, axis=0)
    return mean


def _long_parts(area: shapely.Geometry, width: float) -> list[Polygon]:
    found = []
    for part in shapely.get_parts(area):
        min_x, min_y, max_x, max_y = part.bounds
        if isinstance(part, Polygon) and max(max_x - min_x, max_y - min_y) > 3 * width:
            found.append(part)
    return found


def _mostly_outside(part: Polygon, old: Polygon | MultiPolygon) -> bool:
    return bool(part.difference(old).area > 0.5 * part.area)
