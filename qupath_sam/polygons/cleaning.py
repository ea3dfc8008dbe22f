"""What is done to an outline after tracing: filling, dropping, clipping, choosing a part.

All of it works in the frame of the geometry it is given, usually level-0 px: areas are in px² of that frame, so a limit
in um² is divided by the pixel size squared first. Geometries are valid, and stay so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry


def fill_holes(geometry: Polygon | MultiPolygon, max_area: float) -> Polygon | MultiPolygon:
    """Fill holes of up to ``max_area`` px². An island in a hole counts as part of it, and goes with it."""
    return _with_holes(geometry, lambda holes: shapely.area(holes) > max_area)


def drop_small_parts(geometry: Polygon | MultiPolygon, min_area: float) -> Polygon | MultiPolygon:
    """Leave out polygons of less than ``min_area`` px² (holes not counted); an empty Polygon where none is left."""
    return _gather([polygon for polygon in shapely.get_parts(geometry) if polygon.area >= min_area])


def clean_against(
    geometry: Polygon | MultiPolygon,
    old: Polygon | MultiPolygon,
    share: float,
    *,
    keep_parts: Sequence[tuple[float, float]] = (),
    keep_holes: Sequence[tuple[float, float]] = (),
) -> Polygon | MultiPolygon:
    """Fill holes and drop parts that are too small to be meant, in an outline that is to take the place of an old one.

    Too small is what is below ``share`` of the largest part of the old outline and of each of its parts (holes) that
    it overlaps: noise goes wherever it lies, the answer to a small part stays. The largest part always
    stays. Doing it again changes nothing.

    Args:
        geometry: the new outline.
        old: the one before, of the same frame.
        share: 0 to 1; 0 leaves everything as it is.
        keep_parts: points (x, y) whose parts stay, however small.
        keep_holes: points whose holes stay.
    """
    if share <= 0 or geometry.is_empty:
        return geometry
    old_parts, old_holes = shapely.get_parts(old), _holes(old)
    limit = share * float(shapely.area(old_parts).max())
    filled = _with_holes(geometry, lambda holes: ~_is_small(holes, old_holes, limit, share, keep_holes))
    parts = shapely.get_parts(filled)
    stays = ~_is_small(parts, old_parts, limit, share, keep_parts)
    stays[np.argmax(shapely.area(parts))] = True
    return _gather(list(parts[stays]))


def clip(geometry: Polygon | MultiPolygon, outline: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """Return the part inside ``outline``, of the same frame. Where the two only touch, an empty Polygon."""
    if outline.covers(geometry):
        return geometry  # keeps every vertex as it is
    return _polygonal(shapely.intersection(geometry, outline))


def _is_small(
    shapes: NDArray[np.object_],
    old: NDArray[np.object_],
    limit: float,
    share: float,
    keep: Sequence[tuple[float, float]],
) -> NDArray[np.bool_]:
    """Return which are below ``limit`` and ``share`` of every old one that they overlap, and hold no point to keep."""
    areas = shapely.area(shapes)
    limits = np.full(len(shapes), limit)
    new_index, old_index = shapely.STRtree(old).query(shapes, predicate="intersects")
    overlap = shapely.area(shapely.intersection(shapes[new_index], old[old_index])) > 0
    np.minimum.at(limits, new_index[overlap], share * shapely.area(old)[old_index[overlap]])
    small: NDArray[np.bool_] = areas < limits
    for point in keep:
        small &= ~shapely.intersects_xy(shapes, *point)
    return small


def _with_holes(
    geometry: Polygon | MultiPolygon, kept: Callable[[NDArray[np.object_]], NDArray[np.bool_]]
) -> Polygon | MultiPolygon:
    """Keep those holes that ``kept`` names, of an array of them as polygons."""
    polygons = list(shapely.get_parts(geometry))
    stays = iter(kept(_holes(geometry)))
    filled = []
    for polygon in polygons:
        holes = [ring for ring in polygon.interiors if next(stays)]
        filled.append(polygon if len(holes) == len(polygon.interiors) else Polygon(polygon.exterior, holes))
    if len(filled) > 1 and filled != polygons:
        # Islands now lie inside what has been filled; the union takes them in.
        return _polygonal(shapely.union_all(filled))
    return _gather(filled)


def _holes(geometry: Polygon | MultiPolygon) -> NDArray[np.object_]:
    """Return holes as polygons, part by part."""
    return np.array([Polygon(ring) for part in shapely.get_parts(geometry) for ring in part.interiors], object)


def _polygonal(geometry: BaseGeometry) -> Polygon | MultiPolygon:
    """Return only the polygons of what an overlay returns, which may hold lines and points where shapes touch."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    found = _gather([part for part in parts if isinstance(part, Polygon) and not part.is_empty])
    if found.is_valid:
        return found
    return _polygonal(shapely.make_valid(found, method="structure", keep_collapsed=False))


def _gather(polygons: list[Polygon]) -> Polygon | MultiPolygon:
    if not polygons:
        return Polygon()
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
