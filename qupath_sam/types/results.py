"""What is asked for and what comes back, as values: shared by engine, server, client and project writer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.types.refinements import Refinement
from qupath_sam.types.regions import Window


class EmbeddingSource(Enum):
    """How an embedding was come by; SHARED: another call was computing it, and this one waited."""

    MEMORY = "memory"
    DISK = "disk"
    COMPUTED = "computed"
    SHARED = "shared"


class Doubt(Enum):
    """Why an outline should not be taken unseen."""

    LOW_SCORE = "low score"
    """The model's own estimate of the IoU is low."""
    LARGE = "large"
    """The outline is far larger than what the person sees, or more than a quarter of the slide's tissue."""
    BACKGROUND = "background"
    """The click lies on glass, and so does most of the outline."""

    @property
    def is_refusal(self) -> bool:
        """Whether work that nobody watches leaves such an outline out: it is no answer to what was asked."""
        return self is not Doubt.LOW_SCORE


@dataclass(frozen=True, slots=True)
class Outline:
    """One outline in level-0 px, with the model's score (0..1) and its areas.

    Attributes:
        mask_index: which of the step's masks it is, from 0: for `Click.from_mask`.
        window: that the model saw it in, where that is another than the object's (`ObjectResult.window`).
    """

    geometry: Polygon | MultiPolygon
    score: float
    area_px2: float
    area_um2: float | None
    mask_index: int = 0
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """What became of one object.

    Attributes:
        outlines: the likeliest first, by score and by size in the view; empty where nothing is left.
        window: of the last step, or of that outline of it that the next click goes on from.
        touches_window_edge: the mask runs into an edge of the window beyond which the image goes on.
        token: names the state for the next click.
        resumed_steps: steps taken from a held state.
        embedding_source: of the last window's embedding; None where no step had to be run.
        refinement: the verdict, where an outline was to be refined; of a refused one there are no ``outlines``.
        doubts: about the best outline; empty where there is none.
    """

    object_id: str
    outlines: tuple[Outline, ...]
    window: Window
    touches_window_edge: bool
    token: bytes
    resumed_steps: int
    embedding_source: EmbeddingSource | None
    refinement: Refinement | None = None
    doubts: tuple[Doubt, ...] = ()


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
