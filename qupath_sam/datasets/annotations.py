"""Annotation files of slides to shapely polygons in level-0 px: ASAP XML, Aperio ImageScope XML.

Outlines drawn by hand cross themselves now and then; they are repaired with `shapely.make_valid`, and what is left
without area is dropped. Both count coordinates from the top left on pixel edges, as QuPath does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import shapely
from shapely.geometry import GeometryCollection, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from qupath_sam.errors import InvalidRequest

Area = Polygon | MultiPolygon


@dataclass(frozen=True, slots=True)
class Outline:
    """One annotated outline.

    Attributes:
        area: valid, not empty.
        group: what the file files it under: ASAP's ``PartOfGroup``, ImageScope's ``Annotation Id``.
        negative: whether it is cut out of the others (ImageScope's ``NegativeROA``).
    """

    area: Area
    group: str
    negative: bool = False


def read_asap(path: Path) -> list[Outline]:
    """Read the outlines of an ASAP file (``ASAP_Annotations/Annotations/Annotation/Coordinates/Coordinate``).

    Raises:
        InvalidRequest: not such a file.
    """
    root = _xml(path, "ASAP_Annotations")
    outlines = []
    for annotation in root.iterfind("./Annotations/Annotation"):
        coordinates = sorted(
            annotation.iterfind("./Coordinates/Coordinate"),
            key=lambda c: _number(c, "Order", path) if "Order" in c.attrib else 0.0,
        )
        points = [(_number(c, "X", path), _number(c, "Y", path)) for c in coordinates]
        outlines += _outlines(points, annotation.get("PartOfGroup", ""), negative=False)
    return outlines


def read_imagescope(path: Path) -> list[Outline]:
    """Read the outlines of an Aperio ImageScope file (``Annotations/Annotation/Regions/Region/Vertices/Vertex``).

    Raises:
        InvalidRequest: not such a file.
    """
    root = _xml(path, "Annotations")
    outlines = []
    for annotation in root.iterfind("./Annotation"):
        for region in annotation.iterfind("./Regions/Region"):
            points = [(_number(v, "X", path), _number(v, "Y", path)) for v in region.iterfind("./Vertices/Vertex")]
            outlines += _outlines(points, annotation.get("Id", ""), negative=region.get("NegativeROA") == "1")
    return outlines


def imagescope_mpp(path: Path) -> float | None:
    """Return the um per px that an ImageScope file states, or None.

    Raises:
        InvalidRequest: not such a file, or it states what is no number.
    """
    root = _xml(path, "Annotations")
    stated = _number(root, "MicronsPerPixel", path) if root.get("MicronsPerPixel") else 0.0
    return stated if stated > 0 else None


def union_of(outlines: Iterable[Outline], *, cut_out: Iterable[Outline] = ()) -> Area:
    """Return all positive outlines as one area, less the negative ones and those of ``cut_out``; may be empty."""
    outlines = list(outlines)
    positive = shapely.union_all([o.area for o in outlines if not o.negative])
    negative = shapely.union_all([o.area for o in outlines if o.negative] + [o.area for o in cut_out])
    return area_of(shapely.difference(positive, negative))


def area_of(geometry: BaseGeometry) -> Area:
    """Return the parts of a geometry that have an area, valid; an empty MultiPolygon where none has."""
    parts = _areas(geometry)
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _outlines(points: list[tuple[float, float]], group: str, *, negative: bool) -> list[Outline]:
    if len(points) < 3:
        return []
    area = area_of(Polygon(points))
    return [] if area.is_empty else [Outline(area, group, negative)]


def _areas(geometry: BaseGeometry) -> list[Polygon]:
    """Return the parts of a geometry that have an area, valid."""
    valid = geometry if geometry.is_valid else shapely.make_valid(geometry)
    parts = valid.geoms if isinstance(valid, MultiPolygon | GeometryCollection) else [valid]
    flat = [p for part in parts for p in (part.geoms if isinstance(part, MultiPolygon) else [part])]
    return [p for p in flat if isinstance(p, Polygon) and p.area > 0]


def _xml(path: Path, root_tag: str) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise InvalidRequest(f"{path} cannot be read as XML ({error}); fetch it again") from error
    if root.tag != root_tag:
        raise InvalidRequest(f"{path} has the root element {root.tag!r}, expected {root_tag!r}; check its format")
    return root


def _number(element: ElementTree.Element, name: str, path: Path) -> float:
    try:
        value = float(element.attrib[name])
    except (KeyError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InvalidRequest(f"{path}: {element.tag} has no number {name!r}; fetch the file again")
    return value
