"""What comes back of a region, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass

from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.types.results import Outline, Provenance, Timings


@dataclass(frozen=True, slots=True)
class RegionObject:
    """One whole object, of one tile or of several.

    Attributes:
        number: in the answer to the request, from 0, without gaps.
        outline: level-0 px, with score and areas.
        point: in the object, level-0 px.
        is_cut: a tile's edge beyond which no tile was looked at cuts it.
        likeness: to the examples, 0 to 1; None without examples.
    """

    number: int
    outline: Outline
    point: tuple[float, float]
    is_cut: bool = False
    likeness: float | None = None

    @property
    def geometry(self) -> Polygon | MultiPolygon:
        """The outline's polygon, level-0 px."""
        return self.outline.geometry

    @property
    def score(self) -> float:
        """The model's own estimate of the outline's IoU, 0 to 1."""
        return self.outline.score


@dataclass(frozen=True, slots=True)
class RegionProgress:
    """How far the work has come.

    Attributes:
        tiles_done: of ``tiles_total``; those before a resume token included.
        tiles_total: tiles that are looked at.
        tiles_skipped: tiles of the region without tissue, not among ``tiles_total``.
        objects: answered so far.
        too_large: masks left out because they are larger than a tile.
        seconds_left: estimated; None before the first tile is done.
    """

    tiles_done: int
    tiles_total: int
    tiles_skipped: int
    objects: int
    too_large: int
    seconds_left: float | None

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.tiles_done == self.tiles_total


@dataclass(frozen=True, slots=True)
class RegionBatch:
    """One message of the answer.

    Attributes:
        objects: that no later tile can change.
        progress: after them.
        resume_token: goes on after this batch; empty where none is due. Who resumes drops the objects that came
            after this batch: they come again, with the same numbers.
        provenance: in the first batch alone.
        downsample: level-0 px per tile px; in the first batch alone, else 0.
        tile_size: side of a tile, tile px; in the first batch alone, else 0.
        timings: in the last batch alone.
    """

    objects: tuple[RegionObject, ...]
    progress: RegionProgress
    resume_token: bytes = b""
    provenance: Provenance | None = None
    downsample: float = 0.0
    tile_size: int = 0
    timings: Timings | None = None
