"""Whether a new outline may take the place of the old one."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import shapely
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.regions import Region


class Refusal(enum.Enum):
    """Why an object was left as it is. The values are what reports and counts say."""

    LOCKED = "locked"
    OLD_INVALID = "old outline is no valid area"
    OLD_OUTSIDE = "old outline is outside the image"
    SAME_ID = "another annotation has the same id"
    EMPTY = "nothing found"
    INVALID = "new outline is not valid"
    OUTSIDE = "new outline leaves the image"
    LOW_SCORE = "score too low"
    LOW_IOU = "too different from the old outline"
    AREA_CHANGE = "area changes too much"
    CUT_OFF = "cut off by the window"
    PROMPT_OUTSIDE = "prompt is outside the image"
    FAILED = "the server could not answer"


@dataclass(frozen=True, slots=True)
class Guards:
    """What a new outline has to fulfil.

    Attributes:
        min_iou: least intersection over union with the old outline.
        max_area_change: the area may become this many times larger, or smaller.
        min_score: least score that the model gives itself, 0 to 1.
        allow_cut_off: take a mask that runs into the edge of its window.
    """

    min_iou: float = 0.5
    max_area_change: float = 2.0
    min_score: float = 0.0
    allow_cut_off: bool = False

    def refusal(
        self,
        old: Polygon | MultiPolygon,
        new: Polygon | MultiPolygon,
        *,
        score: float,
        touches_window_edge: bool,
        extent: Region,
    ) -> Refusal | None:
        """The first reason not to take ``new`` (level-0 px) for ``old``; None where there is none."""
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
        return None


def old_refusal(old: object, *, locked: bool, extent: Region) -> Refusal | None:
    """A reason not to ask for a better outline at all; None where there is none."""
    if locked:
        return Refusal.LOCKED
    if not isinstance(old, Polygon | MultiPolygon) or old.is_empty or not old.is_valid or old.area <= 0:
        return Refusal.OLD_INVALID
    if shapely.box(*extent.bounds).intersection(old).area <= 0:
        return Refusal.OLD_OUTSIDE
    return None


def intersection_over_union(a: Polygon | MultiPolygon, b: Polygon | MultiPolygon) -> float:
    """IoU of two valid areas, 0 to 1; 0 for two empty ones."""
    together = a.union(b).area
    return float(a.intersection(b).area / together) if together > 0 else 0.0
