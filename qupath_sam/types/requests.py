"""What is asked: which objects, on which pixels, and what to do to their masks. Checked once, when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.errors import InvalidPrompt, InvalidRegion
from qupath_sam.types.choices import MaskChoice as MaskChoice
from qupath_sam.types.prompts import ObjectPrompts, check_outline
from qupath_sam.types.regions import Region


@dataclass(frozen=True, slots=True)
class WindowRequest:
    """What the caller says about the pixels to use; all None or 0 lets the engine choose.

    Attributes:
        region: the window itself, level-0 px.
        downsample: level-0 px per window px.
        mpp: um per window px; at most one of ``downsample`` and ``mpp``.
        view_downsample: downsample at which the person looks at the image, 0 without a viewer; a hint only.
        prefer_embedded: of the windows that the engine may choose it takes one whose embedding is held. The answer then
            depends on what was asked before; a batch never does.
        closer_look: where all masks of a first click are asked for and there are few, a closer look may cost an encode
            in spite of ``prefer_embedded``.
    """

    region: Region | None = None
    downsample: float | None = None
    mpp: float | None = None
    view_downsample: float = 0.0
    prefer_embedded: bool = False
    closer_look: bool = False

    def __post_init__(self) -> None:
        if self.downsample is not None and self.mpp is not None:
            raise InvalidRegion("give a downsample or um per pixel, not both")
        for name, value in (("downsample", self.downsample), ("mpp", self.mpp)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidRegion(f"{name} must be a positive number, got {value}")
        if not (math.isfinite(self.view_downsample) and self.view_downsample >= 0):
            raise InvalidRegion(f"view_downsample must not be negative, got {self.view_downsample}")

    def check_pixel_size(self, mpp: float | None) -> None:
        """Refuse a scale in um for an image whose pixel size ``mpp`` is None: known before any model is loaded.

        Raises:
            InvalidRegion: saying so.
        """
        if self.mpp is not None and mpp is None:
            raise InvalidRegion("the image has no pixel size: give a downsample instead of um per pixel")


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What to do to a mask before it is returned.

    Lengths are um and areas um2; on images without a pixel size they are level-0 px and px2. Applied in this order:
    the image's own edge (nothing outside it is returned), what `clean_share` says is too small, holes, small parts,
    simplification, clip.

    Attributes:
        choice: which mask of an ambiguous first prompt.
        keep_parts: whether the answer to clicks may have parts that no positive click points at, and pinholes; else an
            object hangs together. Objects with a box or an outline always may, down to ``clean_share``.
        fill_holes_area: holes up to this area are filled; 0 keeps all.
        min_area: parts below this area are dropped; 0 keeps all.
        simplify_tolerance: how far the outline may move to have fewer vertices; 0 keeps every pixel edge.
        clip: the result is cut to this outline, level-0 px.
        clean_share: of objects with an outline, holes and parts below this share of it are filled and dropped, as
            `qupath_sam.polygons.clean_against` says; of objects with a box and no outline, below this share of the
            answer's largest part, unless ``keep_parts``; 0 keeps all. By default 2 %: what a person who drew the
            outline does not see at its scale, and what ``project refine`` has always dropped.
    """

    choice: MaskChoice = MaskChoice.BEST
    keep_parts: bool = False
    fill_holes_area: float = 0.0
    min_area: float = 0.0
    simplify_tolerance: float = 0.0
    clip: Polygon | MultiPolygon | None = None
    clean_share: float = 0.02

    def __post_init__(self) -> None:
        for name in ("fill_holes_area", "min_area", "simplify_tolerance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidPrompt(f"{name} must be a number of at least 0, got {value}")
        if not 0 <= self.clean_share <= 1:
            raise InvalidPrompt(f"clean_share must be a share between 0 and 1, got {self.clean_share}")
        if self.clip is not None:
            check_outline(self.clip)


@dataclass(frozen=True, slots=True)
class ObjectRequest:
    """One object of a call: its prompts, the client's name for it, and the token of the answer they continue."""

    prompts: ObjectPrompts
    object_id: str = ""
    token: bytes = b""
