"""One object for what several tiles show: parts are joined, of overlapping objects the better one stays.

The result is that of a non-maximum suppression over all objects of the region at once (greedy, best first), but each
object is given out as soon as no later tile can change it: what is held lies near the border between done and undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.region.tiling import Bounds, TileGrid

#: Two objects are one where their intersection is at least this share of the smaller one.
SAME_OBJECT = 0.5
#: Two parts that two tiles show are of one object where, in what both tiles see, their intersection is at least this
#: share of the smaller one.
SAME_PART = 0.5


class Edge(Enum):
    """An edge of a tile beyond which the image goes on."""

    LEFT = "left"
    TOP = "top"
    RIGHT = "right"
    BOTTOM = "bottom"


@dataclass(slots=True, eq=False, kw_only=True)
class Candidate:
    """An object, or a part of one, that a tile shows. Level-0 px.

    Attributes:
        serial: number in the order of coming; the stitcher gives it.
        geometry: valid, not empty.
        score, likeness, point: as in `Proposal`, the point in level-0 px.
        edges: of its tile that cut it.
        tile: bounds of the tile that shows it; of a joined object those of its first part's.
        is_joined: made of parts: a tile that shows an object whole knows better.
        is_cut: there is more of it where no tile was looked at.
        is_admitted: it may be given out. Else it only keeps parts of itself from being taken for an object.
        is_kept: decided: it is an object.
        rivals: serials of those that are the same object.
        bounds, area: of the geometry.
    """

    geometry: Polygon | MultiPolygon
    score: float
    point: tuple[float, float]
    tile: Bounds
    likeness: float | None = None
    edges: frozenset[Edge] = frozenset()
    is_joined: bool = False
    is_cut: bool = False
    is_admitted: bool = True
    is_kept: bool = False
    rivals: set[int] = field(default_factory=set)
    serial: int = 0
    bounds: Bounds = field(init=False)
    area: float = field(init=False)

    def __post_init__(self) -> None:
        self.bounds = self.geometry.bounds
        self.area = self.geometry.area

    @property
    def rank(self) -> tuple[bool, float, float, float, float, int]:
        """Sorts the better one of two first; equal for no two."""
        return self.is_joined, -self.score, -self.area, self.bounds[0], self.bounds[1], self.serial


@dataclass(slots=True, eq=False)
class Group:
    """Parts of one object, each cut by an edge of its tile.

    Attributes:
        parts: in the order of coming.
        bounds: of all parts that ever were in the group.
        is_too_large: it is no object, but what belongs to it is none either.
    """

    parts: list[Candidate]
    bounds: Bounds
    is_too_large: bool = False


class Stitcher:
    """Takes the candidates of one tile after the other and gives out objects.

    Args:
        grid: which tiles are still to be done.
        max_extent: longest side of an object, level-0 px; what is longer is left out.
        admits: whether an object, whole or joined, may be one at all (its area, say). What is not admitted keeps no
            other object out.
    """

    def __init__(self, grid: TileGrid, *, max_extent: float, admits: Callable[[Candidate], bool]) -> None:
        self._grid = grid
        self._max_extent = max_extent
        self._admits = admits
        self.serial = 0
        self.too_large = 0
        self.candidates: dict[int, Candidate] = {}
        self.groups: list[Group] = []

    @property
    def held(self) -> int:
        """Objects and parts that wait for a later tile."""
        return len(self.candidates) + sum(len(group.parts) for group in self.groups)

    def add(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Take what one tile shows, the tile being done; return the objects that are decided now, the best first."""
        whole, parts = [], []
        for candidate in candidates:
            candidate.serial = self._next_serial()
            if _longer_side(candidate.bounds) > self._max_extent:
                self.too_large += 1
            elif candidate.edges:
                parts.append(candidate)
            else:
                candidate.is_admitted = self._admits(candidate)
                whole.append(candidate)
        self._link(parts)
        self._compete([*whole, *self._joined()])
        decided = self._decide()
        self._forget()
        return decided

    def _next_serial(self) -> int:
        self.serial += 1
        return self.serial

    # Parts

    def _link(self, parts: Sequence[Candidate]) -> None:
        """Put each part into the group of the parts, of other tiles, that show the same object."""
        for part in parts:
            found = [group for group in self.groups if _meet(group.bounds, part.bounds) and _belongs(part, group)]
            group = Group([part], part.bounds)
            for other in found:
                group.parts = other.parts + group.parts
                group.bounds = _around(group.bounds, other.bounds)
                group.is_too_large |= other.is_too_large
                self.groups.remove(other)
            group.parts.sort(key=lambda each: each.serial)
            group.is_too_large |= _longer_side(group.bounds) > self._max_extent
            self.groups.append(group)

    def _joined(self) -> list[Candidate]:
        """Return the objects of the groups that no later tile adds to, and let the groups go."""
        made, waiting = [], []
        for group in self.groups:
            if self._grid.waits_for(group.bounds):
                if group.is_too_large:
                    group.parts = [part for part in group.parts if self._grid.waits_for(part.bounds)]
                waiting.append(group)
            elif group.is_too_large:
                self.too_large += 1
            elif (joined := self._join(group)) is not None:
                made.append(joined)
        self.groups = waiting
        return made

    def _join(self, group: Group) -> Candidate | None:
        """Return the object of a group; None where a tile that sees the rest of it does not show it there."""
        is_cut = False
        for part in group.parts:
            for edge in part.edges:
                if not _goes_beyond(group.bounds, part.tile, edge):
                    if self._grid.is_seen(_beyond(part, edge)):
                        return None
                    is_cut = True
        # The union keeps vertices where parts met; along straight lines they say nothing.
        geometry = _area_of(shapely.simplify(shapely.union_all([part.geometry for part in group.parts]), 0))
        if geometry.is_empty:
            return None
        largest = max(group.parts, key=lambda part: (part.area, -part.serial))
        liked = [part.likeness for part in group.parts if part.likeness is not None]
        joined = Candidate(
            geometry=geometry,
            score=min(part.score for part in group.parts),
            point=largest.point,
            tile=group.parts[0].tile,
            likeness=min(liked) if liked else None,
            is_joined=True,
            is_cut=is_cut,
            serial=self._next_serial(),
        )
        return joined if self._admits(joined) else None

    # Whole objects

    def _compete(self, new: Sequence[Candidate]) -> None:
        """Find out which of the new objects are the same as others."""
        if not new:
            return
        every = [*self.candidates.values(), *new]
        geometries = np.array([each.geometry for each in every], dtype=object)
        first, second = shapely.STRtree(geometries).query(geometries[len(self.candidates) :], predicate="intersects")
        first = first + len(self.candidates)
        distinct = first != second
        first, second = first[distinct], second[distinct]
        areas = shapely.area(geometries)
        common = shapely.area(shapely.intersection(geometries[first], geometries[second]))
        same = common >= SAME_OBJECT * np.minimum(areas[first], areas[second])
        for one, other in zip(first[same], second[same], strict=True):
            every[one].rivals.add(every[other].serial)
            every[other].rivals.add(every[one].serial)
        self.candidates.update({each.serial: each for each in new})

    def _decide(self) -> list[Candidate]:
        """Keep the objects that no better one, there or still to come, is the same as; drop those that one is."""
        decided = []
        for candidate in sorted(self.candidates.values(), key=lambda each: each.rank):
            if candidate.is_kept:
                continue
            better = [
                rival
                for serial in candidate.rivals
                if (rival := self.candidates.get(serial)) is not None and _is_better(rival, candidate)
            ]
            if any(rival.is_kept for rival in better):
                del self.candidates[candidate.serial]
            elif not better and not self._grid.waits_for(candidate.bounds):
                candidate.is_kept = True
                if candidate.is_admitted:
                    decided.append(candidate)
        return decided

    def _forget(self) -> None:
        """Let go of objects that are given out, but those that parts of an undecided one may be the same as."""
        for candidate in list(self.candidates.values()):
            if candidate.is_kept and not any(_meet(group.bounds, candidate.bounds) for group in self.groups):
                del self.candidates[candidate.serial]


def _is_better(rival: Candidate, candidate: Candidate) -> bool:
    """Return whether of two that are the same object the first one stays."""
    if not rival.is_admitted and not candidate.is_joined:
        return False
    return rival.rank < candidate.rank


def _belongs(part: Candidate, group: Group) -> bool:
    return any(part.tile != other.tile and _same_part(part, other) for other in group.parts)


def _same_part(one: Candidate, other: Candidate) -> bool:
    """Return whether two tiles show the same object where both see it."""
    if not _meet(one.bounds, other.bounds):
        return False
    left, top = max(one.tile[0], other.tile[0]), max(one.tile[1], other.tile[1])
    right, bottom = min(one.tile[2], other.tile[2]), min(one.tile[3], other.tile[3])
    if right <= left or bottom <= top:
        return False
    common = shapely.intersection(one.geometry, other.geometry).area
    smaller = min(shapely.clip_by_rect(each.geometry, left, top, right, bottom).area for each in (one, other))
    return bool(common > 0 and common >= SAME_PART * smaller)


def _goes_beyond(bounds: Bounds, tile: Bounds, edge: Edge) -> bool:
    min_x, min_y, max_x, max_y = bounds
    match edge:
        case Edge.LEFT:
            return min_x < tile[0]
        case Edge.TOP:
            return min_y < tile[1]
        case Edge.RIGHT:
            return max_x > tile[2]
        case Edge.BOTTOM:
            return max_y > tile[3]


def _beyond(part: Candidate, edge: Edge) -> Bounds:
    """Return a strip of one px beyond the edge of the tile that cuts the part."""
    min_x, min_y, max_x, max_y = part.bounds
    left, top, right, bottom = part.tile
    match edge:
        case Edge.LEFT:
            return left - 1, min_y, left, max_y
        case Edge.TOP:
            return min_x, top - 1, max_x, top
        case Edge.RIGHT:
            return right, min_y, right + 1, max_y
        case Edge.BOTTOM:
            return min_x, bottom, max_x, bottom + 1


def _area_of(geometry: shapely.Geometry) -> Polygon | MultiPolygon:
    """Return the polygons of a geometry: a union may leave lines."""
    if isinstance(geometry, Polygon | MultiPolygon):
        return geometry
    polygons = [part for part in getattr(geometry, "geoms", ()) if isinstance(part, Polygon) and not part.is_empty]
    return MultiPolygon(polygons) if len(polygons) > 1 else polygons[0] if polygons else Polygon()


def _meet(one: Bounds, other: Bounds) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _around(one: Bounds, other: Bounds) -> Bounds:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _longer_side(bounds: Bounds) -> float:
    return max(bounds[2] - bounds[0], bounds[3] - bounds[1])
