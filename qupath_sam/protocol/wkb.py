"""Outlines as well-known binary (OGC 06-103r4, sec. 8), checked before GEOS sees what a stranger sent."""

from __future__ import annotations

import struct

import shapely
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.errors import InvalidPrompt, RequestTooLarge

#: Largest outline: a million vertices, 2-D.
MAX_WKB_BYTES = 16 * 1024 * 1024

_POLYGON, _MULTI_POLYGON = 3, 6
#: PostGIS's flags beside the type: coordinates with Z, with M, and a reference system that follows.
_Z, _M, _SRID = 0x80000000, 0x40000000, 0x20000000


def geometry_of(wkb: bytes, *, what: str, max_bytes: int = MAX_WKB_BYTES) -> Polygon | MultiPolygon | None:
    """Return a polygon or multipolygon from WKB, its Z and M left out; None where there are no bytes.

    Args:
        wkb: as sent.
        what: names the outline in errors.
        max_bytes: the most to take.

    Raises:
        InvalidPrompt: not WKB, or another kind of geometry.
        RequestTooLarge: more than ``max_bytes``.
    """
    if not wkb:
        return None
    if len(wkb) > max_bytes:
        raise RequestTooLarge(f"the {what} has {len(wkb)} bytes, {max_bytes} are allowed; simplify it first")
    try:
        _check_structure(wkb)
        geometry = shapely.force_2d(shapely.from_wkb(wkb))
    except (shapely.errors.GEOSException, struct.error) as error:
        raise InvalidPrompt(f"the {what} is not WKB ({error}); send a Polygon or MultiPolygon") from error
    except _WrongKind as error:
        raise InvalidPrompt(f"the {what} is {error}; send a Polygon or MultiPolygon") from None
    if not isinstance(geometry, Polygon | MultiPolygon):
        raise InvalidPrompt(f"the {what} is a {geometry.geom_type}; send a Polygon or MultiPolygon")
    return geometry


def geometry_wkb(geometry: Polygon | MultiPolygon) -> bytes:
    """Return little-endian 2-D WKB."""
    wkb: bytes = shapely.to_wkb(geometry, byte_order=1, output_dimension=2)
    return wkb


class _WrongKind(Exception):
    """Neither polygon nor multipolygon."""


def _check_structure(wkb: bytes) -> None:
    """Raise unless it is a polygon or a multipolygon of polygons.

    GEOS descends into whatever is nested, so that collections within collections overflow the stack of the process.
    """
    kind, order, at = _kind(wkb, 0)
    if kind == _POLYGON:
        return
    if kind != _MULTI_POLYGON:
        raise _WrongKind(f"of WKB type {kind}")
    (parts,) = struct.unpack_from(order + "I", wkb, at)
    at += 4
    for _ in range(parts):
        at = _after_polygon(wkb, at)


def _kind(wkb: bytes, at: int) -> tuple[int, str, int]:
    """Return the type of the geometry that begins at a byte, its byte order, and where its content begins."""
    order = {b"\x00": ">", b"\x01": "<"}.get(wkb[at : at + 1])
    if order is None:
        raise struct.error("no byte order")
    (kind,) = struct.unpack_from(order + "I", wkb, at + 1)
    return (kind & 0xFFFF) % 1000, order, at + 5 + (4 if kind & _SRID else 0)


def _after_polygon(wkb: bytes, at: int) -> int:
    """Return where the polygon that begins at a byte ends."""
    kind, order, content = _kind(wkb, at)
    if kind != _POLYGON:
        raise _WrongKind(f"a multipolygon with a part of WKB type {kind}")
    (flags,) = struct.unpack_from(order + "I", wkb, at + 1)
    thousands = (flags & 0xFFFF) // 1000  # ISO: 1 is Z, 2 is M, 3 is both
    dimensions = 2 + bool(flags & _Z or thousands in (1, 3)) + bool(flags & _M or thousands in (2, 3))
    (rings,) = struct.unpack_from(order + "I", wkb, content)
    at = content + 4
    for _ in range(rings):
        (points,) = struct.unpack_from(order + "I", wkb, at)
        at += 4 + points * dimensions * 8
    return at
