"""What is asked of a whole region: which objects, found how, and what is left out. Checked once, when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.errors import InvalidPrompt, InvalidRegion, InvalidRequest
from qupath_sam.types.choices import Effort as Effort
from qupath_sam.types.choices import ObjectKind as ObjectKind
from qupath_sam.types.choices import Prompting as Prompting
from qupath_sam.types.prompts import Label, check_outline
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import OutputOptions


@dataclass(frozen=True, slots=True)
class Example:
    """An object that the others should look like, or not.

    Attributes:
        place: its outline, or a point in it; level-0 px.
        label: positive where such objects are wanted.
    """

    place: Polygon | MultiPolygon | tuple[float, float]
    label: Label = Label.POSITIVE

    def __post_init__(self) -> None:
        if isinstance(self.place, tuple):
            if not all(math.isfinite(value) for value in self.place):
                raise InvalidPrompt(f"an example lies at {self.place}; give finite level-0 pixels")
        else:
            check_outline(self.place)


@dataclass(frozen=True, slots=True)
class GridOptions:
    """How a grid of clicks prompts and filters; None takes what suits the effort and the model.

    Attributes:
        spacing: distance of two clicks, um (level-0 px on images without a pixel size).
        min_stability: least IoU of the masks at two thresholds of the logits.
        box_nms_iou: of two masks of one tile whose boxes have a larger IoU, the one with the lower score is dropped.
    """

    spacing: float | None = None
    min_stability: float | None = None
    box_nms_iou: float | None = None

    def __post_init__(self) -> None:
        if self.spacing is not None and not (math.isfinite(self.spacing) and self.spacing > 0):
            raise InvalidRequest(f"the grid's spacing must be a positive number, got {self.spacing}")
        _check_shares(self, "min_stability", "box_nms_iou")


@dataclass(frozen=True, slots=True)
class ObjectFilter:
    """What is left out of the answer. Areas are um2 (level-0 px2 on images without a pixel size).

    Attributes:
        min_area: objects below it; 0 keeps all.
        max_area: objects above it; 0 keeps all.
        min_score: objects with a lower score; None takes what suits the prompting.
        leave_out_border: objects that cross the border of the region.
    """

    min_area: float = 0.0
    max_area: float = 0.0
    min_score: float | None = None
    leave_out_border: bool = False

    def __post_init__(self) -> None:
        for name in ("min_area", "max_area"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidRequest(f"{name} must be a number of at least 0, got {value}")
        if 0 < self.max_area < self.min_area:
            raise InvalidRequest(f"max_area {self.max_area} is below min_area {self.min_area}; swap them")
        _check_shares(self, "min_score")


@dataclass(frozen=True, slots=True)
class RegionRequest:
    """What is to be found where.

    Attributes:
        place: a rectangle or an outline, level-0 px; None is the whole image.
        clip: objects are cut to the region.
        prompting: how objects are found.
        objects: which; means nothing to `Prompting.LIKE`.
        effort: what they may cost.
        grid: of `Prompting.GRID`.
        examples: of `Prompting.LIKE`; at least one positive.
        like_threshold: of `Prompting.LIKE`: least likeness, 0 to 1; None takes the one that the examples suggest.
        downsample: level-0 px per tile px.
        mpp: um per tile px; at most one of both. None and None takes what suits the examples, or ``objects``.
        output: what to do to each outline; ``choice``, ``clip`` and ``clean_share`` mean nothing here.
        filter: what is left out.
        search_background: look at tiles without tissue too.
        resume_token: of an answer to the same request: go on after it.
    """

    place: Region | Polygon | MultiPolygon | None = None
    clip: bool = False
    prompting: Prompting = Prompting.DEFAULT
    objects: ObjectKind = ObjectKind.NUCLEI
    effort: Effort = Effort.BEST
    grid: GridOptions = field(default_factory=GridOptions)
    examples: tuple[Example, ...] = ()
    like_threshold: float | None = None
    downsample: float | None = None
    mpp: float | None = None
    output: OutputOptions = field(default_factory=OutputOptions)
    filter: ObjectFilter = field(default_factory=ObjectFilter)
    search_background: bool = False
    resume_token: bytes = b""

    def __post_init__(self) -> None:
        if self.downsample is not None and self.mpp is not None:
            raise InvalidRegion("give a downsample or um per pixel, not both")
        for name in ("downsample", "mpp"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidRegion(f"{name} must be a positive number, got {value}")
        if isinstance(self.place, Polygon | MultiPolygon):
            check_outline(self.place)
        _check_shares(self, "like_threshold")
        wanted = any(example.label is Label.POSITIVE for example in self.examples)
        if self.prompting is Prompting.LIKE and not wanted:
            raise InvalidPrompt("objects like examples need at least one positive example; outline or click one")
        if self.examples and self.prompting is not Prompting.LIKE:
            raise InvalidRequest(f"examples mean nothing to prompting {self.prompting.value!r}; ask for 'like'")


def _check_shares(of: object, *names: str) -> None:
    """Raise `InvalidRequest` unless these attributes are None or between 0 and 1."""
    for name in names:
        value = getattr(of, name)
        if value is not None and not 0 <= value <= 1:
            raise InvalidRequest(f"{name} must be between 0 and 1, got {value}")
