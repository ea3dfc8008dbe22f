"""What became of an outline that was to be replaced by a better one."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Refusal(enum.Enum):
    """Why an object was left as it is. The values are the words of reports and counts."""

    LOCKED = "locked"
    HAS_CHILDREN = "has children; name its class to refine it"
    LARGER_THAN_WINDOW = "larger than a window; name its class to refine it"
    OLD_INVALID = "old outline is no valid area"
    OLD_OUTSIDE = "old outline is outside the image"
    SAME_ID = "another annotation has the same id"
    EMPTY = "nothing found"
    INVALID = "new outline is not valid"
    OUTSIDE = "new outline leaves the image"
    LOW_SCORE = "score too low"
    LOW_IOU = "too different from the old outline"
    AREA_CHANGE = "area changes too much"
    PART_LOST = "a part of the old outline is lost"
    HOLE_LOST = "a hole of the old outline is lost"
    CUT_OFF = "cut off by the window"
    LARGE = "far larger than what was looked at, or a quarter of the tissue"
    BACKGROUND = "mostly glass without tissue"
    PROMPT_OUTSIDE = "prompt is outside the image"
    FAILED = "the server could not answer"


@dataclass(frozen=True, slots=True)
class Refinement:
    """The verdict on one outline.

    Attributes:
        refusal: why the old one stays; None where the new one may take its place.
        iou: of old and new outline; NaN where there is no new one.
        refused_wkb: the new outline that was refused, level-0 px; empty where there is none.
        score: the model's own of the new outline; NaN where there is none.
    """

    refusal: Refusal | None
    iou: float = float("nan")
    refused_wkb: bytes = b""
    score: float = float("nan")
