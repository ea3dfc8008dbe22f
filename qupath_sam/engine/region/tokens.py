"""What a resumed run needs to go on as if it had never stopped, as bytes that the client keeps.

The server holds nothing. A token comes back from a client, so nothing in it is trusted: it is JSON of bounded size, and
numbers and shapes are checked.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.region.stitching import Candidate, Edge, Group, Stitcher
from qupath_sam.engine.region.tiling import Bounds
from qupath_sam.errors import InvalidRequest

#: Part of every digest. To be changed with what a token says or how objects are found.
_SCHEME = "qupath-sam region token 1"
_DIGEST_BYTES = 16
#: Most bytes of a token once unpacked; a thousand objects have some hundred kB.
MAX_TOKEN_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands.

    Attributes:
        tiles_done: in the order of the tiles.
        objects: given out.
    """

    tiles_done: int
    objects: int


def request_digest(*parts: object) -> bytes:
    """Return what tells two requests apart; the parts have a ``repr`` that says everything."""
    text = json.dumps([_SCHEME, *map(repr, parts)])
    return hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES]


def pack(digest: bytes, position: Position, stitcher: Stitcher) -> bytes:
    """Return the token of a run at a position."""
    state = {
        "tiles": position.tiles_done,
        "objects": position.objects,
        "serial": stitcher.serial,
        "too_large": stitcher.too_large,
        "candidates": [_candidate_json(each) for each in stitcher.candidates.values()],
        "groups": [
            {
                "bounds": group.bounds,
                "too_large": group.is_too_large,
                "parts": [_candidate_json(part) for part in group.parts],
            }
            for group in stitcher.groups
        ],
    }
    return digest + zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 6)


def restore(token: bytes, digest: bytes, stitcher: Stitcher, *, tiles: int) -> Position:
    """Bring a new stitcher to where the token's run stood.

    Args:
        token: as the client sent it.
        digest: of the request that came with it.
        stitcher: without any object.
        tiles: of the run.

    Raises:
        InvalidRequest: no token, or one of another request.
    """
    if token[:_DIGEST_BYTES] != digest:
        raise InvalidRequest(
            "the resume token belongs to another request, image, model or version; begin again without it"
        )
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(token[_DIGEST_BYTES:], MAX_TOKEN_BYTES)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise ValueError("too large, or cut off")
        state = json.loads(text)
        position = Position(_whole(state["tiles"], high=tiles), _whole(state["objects"]))
        stitcher.serial, stitcher.too_large = _whole(state["serial"]), _whole(state["too_large"])
        for each in state["candidates"]:
            candidate = _candidate(each)
            stitcher.candidates[candidate.serial] = candidate
        for group in state["groups"]:
            parts = [_candidate(part) for part in group["parts"]]
            stitcher.groups.append(Group(parts, _bounds(group["bounds"]), bool(group["too_large"])))
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        RecursionError,
        zlib.error,
        shapely.errors.GEOSException,
    ) as error:
        raise InvalidRequest(f"the resume token is damaged ({error}); begin again without it") from error
    return position


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "serial": candidate.serial,
        "geometry": _rings(candidate.geometry),
        "score": candidate.score,
        "point": candidate.point,
        "tile": candidate.tile,
        "likeness": candidate.likeness,
        "edges": sorted(edge.value for edge in candidate.edges),
        "joined": candidate.is_joined,
        "cut": candidate.is_cut,
        "admitted": candidate.is_admitted,
        "kept": candidate.is_kept,
        "rivals": sorted(candidate.rivals),
    }


def _candidate(state: dict[str, Any]) -> Candidate:
    likeness = state["likeness"]
    return Candidate(
        geometry=_geometry(state["geometry"]),
        score=_number(state["score"]),
        point=(_number(state["point"][0]), _number(state["point"][1])),
        tile=_bounds(state["tile"]),
        likeness=None if likeness is None else _number(likeness),
        edges=frozenset(Edge(value) for value in state["edges"]),
        is_joined=bool(state["joined"]),
        is_cut=bool(state["cut"]),
        is_admitted=bool(state["admitted"]),
        is_kept=bool(state["kept"]),
        rivals={_whole(serial) for serial in state["rivals"]},
        serial=_whole(state["serial"]),
    )


def _rings(geometry: Polygon | MultiPolygon) -> list[list[list[float]]]:
    """Return polygons as lists of rings, each a flat list of coordinates; JSON keeps every digit."""
    polygons = geometry.geoms if isinstance(geometry, MultiPolygon) else [geometry]
    return [
        [shapely.get_coordinates(ring).ravel().tolist() for ring in (polygon.exterior, *polygon.interiors)]
        for polygon in polygons
    ]


def _geometry(rings: list[list[list[float]]]) -> Polygon | MultiPolygon:
    polygons = []
    for polygon in rings:
        coordinates = [np.array(ring, np.float64).reshape(-1, 2) for ring in polygon]
        if not all(np.isfinite(ring).all() for ring in coordinates):
            raise ValueError("coordinates that are no numbers")
        polygons.append(Polygon(coordinates[0], coordinates[1:]))
    geometry = polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
    if geometry.is_empty or not geometry.is_valid:
        raise ValueError("an outline that is none")
    return geometry


def _bounds(values: list[float]) -> Bounds:
    min_x, min_y, max_x, max_y = (_number(value) for value in values)
    return min_x, min_y, max_x, max_y


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no number")
    return number


def _whole(value: Any, *, high: int = 2**62) -> int:
    if not isinstance(value, int) or not 0 <= value <= high:
        raise ValueError(f"{value!r} is no count")
    return value
