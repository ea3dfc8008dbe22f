"""Whether a new outline may take the place of the old one: the guards that scripts, command line and server share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import shapely
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.errors import InvalidRequest
from qupath_sam.types.refinements import Refusal
from qupath_sam.types.regions import Region


@dataclass(frozen=True, slots=True)
class Guards:
    """What a new outline has to fulfil.

    Attributes:
        min_iou: least intersection over union with the old outline.
        max_area_change: the area may become this many times larger, or smaller.
        min_score: least score that the model gives itself, 0 to 1.
        allow_cut_off: take a mask that runs into the edge of its window.
        min_part_iou: least intersection over union of each part, and of each hole, with one of the new outline's.
            A hole of a hundredth of the area hardly shows in the IoU of the whole. 0 looks at none of them.
    """

    min_iou: float = 0.5
    max_area_change: float = 2.0
    min_score: float = 0.0
    allow_cut_off: bool = False
    min_part_iou: float = 0.5

    def __post_init__(self) -> None:
        for name in ("min_iou", "min_score", "min_part_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidRequest(f"{name} must be a share between 0 and 1, got {getattr(self, name)}")
        if not self.max_area_change >= 1:
            raise InvalidRequest(f"max_area_change must be at least 1, got {self.max_area_change}")

    def refusal(
        self,
        old: Polygon | MultiPolygon,
        new: Polygon | MultiPolygon,
        *,
        score: float,
        touches_window_edge: bool,
        extent: Region,
        least_area: float = 0.0,
    ) -> Refusal | None:
        """Return the first reason not to take ``new`` (level-0 px) for ``old``; None where there is none.

        Args:
            old, new: level-0 px.
            score: the model's own.
            touches_window_edge: the mask runs into the edge of its window.
            extent: the image.
            least_area: parts and holes of ``old`` below this area, px2, may go: the model cannot see them.
        """
        if new.is_empty or new.area <= 0:
            return Refusal.EMPTY
        if not new.is_valid:
            return Refusal.INVALID
        if not shapely.box(*extent.bounds).covers(new):
            return Refusal.OUTSIDE
        if score < self.min_score:
            return Refusal.LOW_SCORE
        if touches_window_edge and not self.allow_cut_off:
            return Refusal.CUT_OFF
        ratio = new.area / old.area
        if max(ratio, 1 / ratio) > self.max_area_change:
            return Refusal.AREA_CHANGE
        if intersection_over_union(old, new) < self.min_iou:
            return Refusal.LOW_IOU
        if not _all_matched(parts_of(old), parts_of(new), self.min_part_iou, least_area):
            return Refusal.PART_LOST
        if not _all_matched(holes_of(old), holes_of(new), self.min_part_iou, least_area):
            return Refusal.HOLE_LOST
        return None


def without_strangers(new: Polygon | MultiPolygon, old: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """Return the parts of ``new`` that are the parts of ``old``: for each of these, the one that agrees best with it.

    A part of its own that a model finds besides is another object, or a scrap: it does not belong to what a person
    has drawn in one piece. Where no part overlaps, the geometry comes back as it is.

    Args:
        new, old: valid areas of one frame.
    """
    found = parts_of(new)
    if len(found) < 2:
        return new
    pairs = _matches(parts_of(old), found, least=0.0)
    kept = sorted({pair.new for pair in pairs})
    if not kept or len(kept) == len(found):
        return new
    return found[kept[0]] if len(kept) == 1 else MultiPolygon([found[index] for index in kept])


def parts_of(area: Polygon | MultiPolygon) -> list[Polygon]:
    """Return the polygons of an area."""
    return list(shapely.get_parts(area))


def holes_of(area: Polygon | MultiPolygon) -> list[Polygon]:
    """Return the holes of an area, as polygons."""
    return [Polygon(ring) for part in parts_of(area) for ring in part.interiors]


@dataclass(frozen=True, slots=True)
class _Match:
    old: int
    new: int
    iou: float


def _all_matched(old: Sequence[Polygon], new: Sequence[Polygon], min_iou: float, least_area: float) -> bool:
    """Return whether each of ``old`` of at least ``least_area`` has one of ``new`` for itself that agrees with it."""
    if min_iou <= 0:
        return True
    matched = {match.old for match in _matches(old, new, least=min_iou)}
    return all(index in matched or shape.area < least_area for index, shape in enumerate(old))


def _matches(old: Sequence[Polygon], new: Sequence[Polygon], *, least: float) -> list[_Match]:
    """Return pairs of overlapping shapes with an IoU of at least ``least``, the best first.

    Each shape is in one pair.
    """
    if not old or not new:
        return []
    candidates = [
        _Match(int(first), int(second), intersection_over_union(old[first], new[second]))
        for second, first in shapely.STRtree(old).query(list(new), predicate="intersects").T
    ]
    pairs: list[_Match] = []
    for match in sorted(candidates, key=lambda match: -match.iou):
        taken = any(match.old == pair.old or match.new == pair.new for pair in pairs)
        if match.iou > 0 and match.iou >= least and not taken:
            pairs.append(match)
    return pairs


def old_refusal(old: object, *, locked: bool, extent: Region, has_children: bool = False) -> Refusal | None:
    """Return a reason not to ask for a better outline at all; None where there is none."""
    if locked:
        return Refusal.LOCKED
    if has_children:
        return Refusal.HAS_CHILDREN
    if not isinstance(old, Polygon | MultiPolygon) or old.is_empty or not old.is_valid or old.area <= 0:
        return Refusal.OLD_INVALID
    if shapely.box(*extent.bounds).intersection(old).area <= 0:
        return Refusal.OLD_OUTSIDE
    return None


def intersection_over_union(a: Polygon | MultiPolygon, b: Polygon | MultiPolygon) -> float:
    """Return the IoU of two valid areas, 0 to 1; 0 for two empty ones."""
    together = a.union(b).area
    return float(a.intersection(b).area / together) if together > 0 else 0.0
