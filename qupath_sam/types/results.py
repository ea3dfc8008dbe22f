"""What is asked for and what comes back, as values: shared by engine, server, client and project writer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.steps import MaskChoice
from qupath_sam.errors import InvalidPrompt
from qupath_sam.types.prompts import ObjectPrompts, check_outline
from qupath_sam.types.regions import Window


class EmbeddingSource(Enum):
    """How an embedding was come by; SHARED: another call was computing it, and this one waited."""

    MEMORY = "memory"
    DISK = "disk"
    COMPUTED = "computed"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What to do to a mask before it is returned.

    Lengths are um and areas um2; on images without a pixel size they are level-0 px and px2. Applied in this order:
    the image's own edge (nothing outside it is returned), what is too small beside the old outline, holes, small parts,
    simplification, clip.

    Attributes:
        choice: which mask of an ambiguous first prompt.
        fill_holes_area: holes up to this area are filled; 0 keeps all.
        min_area: parts below this area are dropped; 0 keeps all.
        simplify_tolerance: how far the outline may move to have fewer vertices; 0 keeps every pixel edge.
        clip: the result is cut to this outline, level-0 px.
        clean_share: of objects with an outline, holes and parts below this share of it are filled and dropped, as
            `qupath_sam.polygons.clean_against` says; 0 keeps all. By default 2 %: what a person who drew the outline
            does not see at its scale, and what ``project refine`` has always dropped.
    """

    choice: MaskChoice = MaskChoice.BEST
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


@dataclass(frozen=True, slots=True)
class Outline:
    """One outline in level-0 px, with the model's score (0..1) and its areas."""

    geometry: Polygon | MultiPolygon
    score: float
    area_px2: float
    area_um2: float | None


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """What became of one object.

    Attributes:
        outlines: best score first; empty where nothing is left.
        window: of the last step.
        touches_window_edge: the mask runs into an edge of the window beyond which the image goes on.
        token: names the state for the next click.
        resumed_steps: steps taken from a held state.
        embedding_source: of the last window's embedding; None where no step had to be run.
    """

    object_id: str
    outlines: tuple[Outline, ...]
    window: Window
    touches_window_edge: bool
    token: bytes
    resumed_steps: int
    embedding_source: EmbeddingSource | None


@dataclass(slots=True)
class Timings:
    """Milliseconds spent, summed over a call. ``queue`` is waiting for the inference thread."""

    total: float = 0.0
    queue: float = 0.0
    read: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    trace: float = 0.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a result: enough to make it again."""

    model: str
    weights_sha256: str
    preprocessing_version: str
    server_version: str
    image_fingerprint: str
    pixel_source: str
    device: str
    mpp: float | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One result per object, in order, with what made them and what it cost."""

    results: tuple[ObjectResult, ...]
    provenance: Provenance
    timings: Timings


@dataclass(frozen=True, slots=True)
class WindowStatus:
    """Whether the embedding of a window is at hand, and how it came to be (None where it is not)."""

    window: Window
    ready: bool
    source: EmbeddingSource | None
