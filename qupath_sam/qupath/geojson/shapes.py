"""Shapes of GeoJSON geometries: what QuPath takes, in level-0 px."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from shapely.geometry import LineString, MultiLineString, MultiPoint, MultiPolygon, Point, Polygon

from qupath_sam.qupath.geojson.features import Shape

#: What can stand where a feature is expected.
GEOMETRY_TYPES = (
    *("Point", "MultiPoint", "LineString", "MultiLineString"),
    *("Polygon", "MultiPolygon", "GeometryCollection"),
)


def shape_of(geometry: dict[str, Any]) -> Shape:
    """Return the shape of a geometry, as it is written: it may be invalid.

    A GeometryCollection becomes what QuPath makes of it: its areas as one, else its lines, else its points.

    Raises:
        ValueError: the geometry has no coordinates, or of a wrong form; the message begins with "its geometry".
    """
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        return _together(list(_members(geometry)))
    coordinates = geometry.get("coordinates")
    if not isinstance(coordinates, list):
        raise ValueError(f"its geometry is a {kind} without coordinates; QuPath takes areas, points and lines")
    match kind:
        case "Point":
            return Point(_positions([coordinates], at_least=1)[0])
        case "MultiPoint":
            return MultiPoint(_positions(coordinates, at_least=1))
        case "LineString":
            return LineString(_positions(coordinates, at_least=2))
        case "MultiLineString":
            return MultiLineString([_positions(line, at_least=2) for line in coordinates])
        case "Polygon":
            return _polygon(coordinates)
        case "MultiPolygon":
            return MultiPolygon([_polygon(rings) for rings in coordinates])
    raise ValueError(f"its geometry is a {kind}; QuPath takes areas, points and lines")


def is_mixed(geometry: Any) -> bool:
    """Return whether `shape_of` leaves a part of the geometry out: a collection of more than areas, or lines."""
    if not isinstance(geometry, dict) or geometry.get("type") != "GeometryCollection":
        return False
    return len({shapely.get_dimensions(member) for member in _members(geometry)}) > 1


def _members(geometry: dict[str, Any]) -> Iterator[Shape]:
    """Yield the shapes of a collection, those of collections inside it as well."""
    members = geometry.get("geometries")
    if not isinstance(members, list):
        raise ValueError("its geometry is a GeometryCollection without a list of geometries")
    for member in members:
        if not isinstance(member, dict):
            raise ValueError("its geometry is a GeometryCollection with something that is no geometry")
        if member.get("type") == "GeometryCollection":
            yield from _members(member)
        else:
            yield shape_of(member)


def _together(members: list[Shape]) -> Shape:
    if not members:
        raise ValueError("its geometry is an empty GeometryCollection")
    largest = max(shapely.get_dimensions(member) for member in members)
    parts = [
        part
        for member in members
        if shapely.get_dimensions(member) == largest
        for part in shapely.get_parts(member).tolist()
    ]
    if largest < 2:
        vertices = [shapely.get_coordinates(part) for part in parts]
        return MultiPoint(np.concatenate(vertices)) if largest < 1 else MultiLineString(vertices)
    broken = next((part for part in parts if not part.is_valid), None)
    if broken is not None:
        raise ValueError(f"the geometry is not valid ({shapely.is_valid_reason(broken)}); repair it first")
    united = shapely.union_all(parts)
    assert isinstance(united, Polygon | MultiPolygon)
    return united


def _polygon(rings: Any) -> Polygon:
    if not isinstance(rings, list) or not rings:
        raise ValueError("its geometry has a polygon without rings")
    # shapely closes a ring that is open.
    shell, *holes = [_positions(ring, at_least=3) for ring in rings]
    return Polygon(shell, holes)


def _positions(positions: Any, *, at_least: int) -> Any:
    """Return vertices ``(n, 2)``."""
    if not isinstance(positions, list) or not all(isinstance(position, list) for position in positions):
        raise ValueError(f"its geometry has coordinates that are no list of [x, y], of which it needs {at_least}")
    vertices = np.array([position[:2] for position in positions], dtype=np.float64)
    if vertices.ndim != 2 or vertices.shape[0] < at_least or vertices.shape[1] != 2:
        raise ValueError(f"its geometry has coordinates that are no list of at least {at_least} [x, y]")
    if not np.isfinite(vertices).all():
        raise ValueError("its geometry has coordinates that are not finite numbers")
    return vertices
