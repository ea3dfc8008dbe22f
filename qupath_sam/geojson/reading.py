"""GeoJSON of QuPath, of this package, or of anybody else, as far as it means areas, points and lines.

Read generously: FeatureCollection, Feature, an array of features or a bare geometry; nulls where something is absent;
measurements as an object or as ``[{"name", "value"}]``; a classification as text, with or without its colour; colours
as ``[r, g, b]`` or packed into one number; children (``childObjects``) as objects of their own; a z in coordinates.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import LineString, MultiLineString, MultiPoint, MultiPolygon, Point, Polygon

from qupath_sam.errors import InvalidRequest
from qupath_sam.geojson.features import AnnotationFeature, Color, ObjectType, PathClass, Shape, default_color

_OBJECT_TYPES = {kind.value: kind for kind in ObjectType} | {
    "PathAnnotationObject": ObjectType.ANNOTATION,
    "PathDetectionObject": ObjectType.DETECTION,
    "PathCellObject": ObjectType.CELL,
    "PathTileObject": ObjectType.TILE,
}  # the second half: as QuPath up to 0.3 wrote them
_GEOMETRY_TYPES = (
    *("Point", "MultiPoint", "LineString", "MultiLineString"),
    *("Polygon", "MultiPolygon", "GeometryCollection"),
)


def read_geojson(path: Path) -> list[AnnotationFeature]:
    """`read_features` of a file.

    Raises:
        InvalidRequest: the file cannot be opened, or as `read_features`.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise InvalidRequest(f"there is no file {path}; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read as GeoJSON ({error}); export it from QuPath again") from error
    try:
        return read_features(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error}") from error


def read_features(text: str) -> list[AnnotationFeature]:
    """All objects of a GeoJSON text, children behind their parents.

    A feature without an id, or with one that is no UUID, is given a new one. The nucleus of a cell is left out.

    Raises:
        InvalidRequest: no JSON, no GeoJSON, or a feature whose shape is not valid; the message says which and why.
    """
    try:
        document = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_merge_repeated)
        return [feature for where, item in _items(document) for feature in _features(item, where)]
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"this is not JSON ({error}); give a GeoJSON file as QuPath exports it") from None
    except RecursionError:
        raise InvalidRequest("this JSON is nested too deeply to be GeoJSON; give a file as QuPath exports it") from None


def _merge_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose repeated keys are merged: QuPath 0.5 and later write "metadata" twice."""
    merged: dict[str, Any] = {}
    for key, value in pairs:
        before = merged.get(key)
        merged[key] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _items(document: Any) -> Iterator[tuple[str, Any]]:
    """Features with what to call them in a message."""
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        document = document.get("features")
        if not isinstance(document, list):
            raise InvalidRequest("this FeatureCollection has no list of features; give a file as QuPath exports it")
    if isinstance(document, list):
        for index, item in enumerate(document):
            yield f"feature {index}", item
    else:
        yield "feature 0", document


def _features(item: Any, where: str) -> Iterator[AnnotationFeature]:
    if isinstance(item, dict) and item.get("type") in _GEOMETRY_TYPES:
        item = {"type": "Feature", "geometry": item}
    if not isinstance(item, dict) or item.get("type") != "Feature":
        raise InvalidRequest(f"{where} is no GeoJSON feature; give a file as QuPath exports it")
    properties = item.get("properties") or {}
    try:
        if not isinstance(properties, dict):
            raise ValueError("its properties are no object")
        yield _feature(item, properties)
    except (ValueError, TypeError, OverflowError, shapely.errors.ShapelyError) as error:
        raise InvalidRequest(f"{where} cannot be used: {error} (correct it, or leave it out of the file)") from error
    children = properties.get("childObjects") or properties.get("children")
    for index, child in enumerate(children if isinstance(children, list) else []):
        yield from _features(child, f"{where}, child {index}")


def _feature(item: dict[str, Any], properties: dict[str, Any]) -> AnnotationFeature:
    geometry = item.get("geometry")
    if not isinstance(geometry, dict):
        raise ValueError("it has no geometry")
    plane = geometry.get("plane")
    name = properties.get("name")
    return AnnotationFeature(
        geometry=_shape(geometry),
        id=_id(item.get("id")),
        object_type=_object_type(item, properties),
        name=str(name) if name else None,
        classification=_classification(properties.get("classification")),
        color=_color(properties.get("color")),
        measurements=_measurements(properties.get("measurements")),
        metadata=_metadata(properties.get("metadata")),
        is_locked=properties.get("isLocked") is True,
        z=_whole(plane, "z"),
        t=_whole(plane, "t"),
        c=_whole(plane, "c", -1),
    )


def _shape(geometry: dict[str, Any]) -> Shape:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
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


def _polygon(rings: Any) -> Polygon:
    if not isinstance(rings, list) or not rings:
        raise ValueError("its geometry has a polygon without rings")
    # shapely closes a ring that is open.
    shell, *holes = [_positions(ring, at_least=3) for ring in rings]
    return Polygon(shell, holes)


def _positions(positions: Any, *, at_least: int) -> Any:
    """Vertices ``(n, 2)``."""
    if not isinstance(positions, list) or not all(isinstance(position, list) for position in positions):
        raise ValueError(f"its geometry has coordinates that are no list of [x, y], of which it needs {at_least}")
    vertices = np.array([position[:2] for position in positions], dtype=np.float64)
    if vertices.ndim != 2 or vertices.shape[0] < at_least or vertices.shape[1] != 2:
        raise ValueError(f"its geometry has coordinates that are no list of at least {at_least} [x, y]")
    if not np.isfinite(vertices).all():
        raise ValueError("its geometry has coordinates that are not finite numbers")
    return vertices


def _id(value: Any) -> uuid.UUID:
    try:
        return uuid.UUID(value)
    except (ValueError, TypeError, AttributeError):
        return uuid.uuid4()


def _object_type(item: dict[str, Any], properties: dict[str, Any]) -> ObjectType:
    """As QuPath decides: an annotation unless something it knows is said."""
    for value in (properties.get("objectType"), properties.get("object_type"), properties.get("type"), item.get("id")):
        if isinstance(value, str) and value in _OBJECT_TYPES:
            return _OBJECT_TYPES[value]
    return ObjectType.ANNOTATION


def _classification(value: Any) -> PathClass | None:
    color = None
    if isinstance(value, dict):
        color = _color(value.get("color", value.get("colorRGB")))
        names = value.get("names") or [value.get("name")]
    else:
        names = [value]
    if not isinstance(names, list):
        raise ValueError(f"its class names are no list but {names!r}")
    shown = ":".join(str(name) for name in names if name)
    parts = tuple(part.strip() for part in shown.split(":") if part.strip())
    return PathClass(parts, color or default_color(": ".join(parts))) if parts else None


def _color(value: Any) -> Color | None:
    """``[r, g, b]``, with or without alpha, or as Java packs it: alpha, red, green, blue, a byte each, signed."""
    if value is None:
        return None
    if isinstance(value, int):
        return Color(value >> 16 & 255, value >> 8 & 255, value & 255)
    if isinstance(value, list) and len(value) in (3, 4):
        return Color(*(int(channel) for channel in value[:3]))
    raise ValueError(f"its colour {value!r} is not [red, green, blue]")


def _measurements(value: Any) -> dict[str, float]:
    if isinstance(value, list):
        value = {entry["name"]: entry.get("value") for entry in value if isinstance(entry, dict) and "name" in entry}
    if not isinstance(value, dict):
        return {}
    return {str(name): float(number) for name, number in value.items() if number is not None}


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text if isinstance(text, str) else json.dumps(text) for key, text in value.items() if text is not None}


def _whole(plane: Any, key: str, default: int = 0) -> int:
    value = plane.get(key, default) if isinstance(plane, dict) else default
    if not isinstance(value, int):
        raise ValueError(f"its plane has {key} = {value!r}, which is no whole number")
    return value
