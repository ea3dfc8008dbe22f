"""What is done to an outline after tracing: filling, dropping, clipping, choosing a part.

All of it works in the frame of the geometry it is given, usually level-0 px: areas are in px² of that frame, so a limit
in um² is divided by the pixel size squared first. Geometries are valid, and stay so.
"""

from __future__ import annotations

import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry


def fill_holes(geometry: Polygon | MultiPolygon, max_area: float) -> Polygon | MultiPolygon:
    """Fill holes of up to ``max_area`` px². An island in a hole counts as part of it, and goes with it."""
    polygons = list(shapely.get_parts(geometry))
    filled = [_without_small_holes(polygon, max_area) for polygon in polygons]
    if len(filled) > 1 and filled != polygons:
        # Islands now lie inside what has been filled; the union takes them in.
        return _polygonal(shapely.union_all(filled))
    return _gather(filled)


def drop_small_parts(geometry: Polygon | MultiPolygon, min_area: float) -> Polygon | MultiPolygon:
    """Leave out polygons of less than ``min_area`` px² (holes not counted); an empty Polygon where none is left."""
    return _gather([polygon for polygon in shapely.get_parts(geometry) if polygon.area >= min_area])


def clip(geometry: Polygon | MultiPolygon, outline: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """The part inside ``outline``, of the same frame. Where the two only touch, an empty Polygon."""
    if outline.covers(geometry):
        return geometry  # keeps every vertex as it is
    return _polygonal(shapely.intersection(geometry, outline))


def keep_part_at(geometry: Polygon | MultiPolygon, point: tuple[float, float]) -> Polygon:
    """The polygon that a click at ``point`` (x, y) means: the one it lies in, else the nearest, of equals the largest.

    A point in a hole lies in the island that it hits, if any; otherwise the nearest edge decides.
    """
    if geometry.is_empty:
        return Polygon()
    at = shapely.Point(point)
    nearest: Polygon = min(shapely.get_parts(geometry), key=lambda polygon: (polygon.distance(at), -polygon.area))
    return nearest


def _without_small_holes(polygon: Polygon, max_area: float) -> Polygon:
    kept = [hole for hole in polygon.interiors if Polygon(hole).area > max_area]
    return polygon if len(kept) == len(polygon.interiors) else Polygon(polygon.exterior, kept)


def _polygonal(geometry: BaseGeometry) -> Polygon | MultiPolygon:
    """Only the polygons of what an overlay returns, which may hold lines and points where shapes touch."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    found = _gather([part for part in parts if isinstance(part, Polygon) and not part.is_empty])
    if found.is_valid:
        return found
    return _polygonal(shapely.make_valid(found, method="structure", keep_collapsed=False))


def _gather(polygons: list[Polygon]) -> Polygon | MultiPolygon:
    if not polygons:
        return Polygon()
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
