"""What a tile is, and by which protocol its objects are proposed: a grid, a model's own prompts, examples.

A proposer knows one tile and nothing of its neighbours. What a tile's edge cuts, and what several tiles show, is put
right by `qupath_sam.engine.region.stitching`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from qupath_sam.models.base import Embedding, MaskSet, WindowPrompts
from qupath_sam.types.regions import Region, Window

T = TypeVar("T")


class TileModel(Protocol):
    """The model, as a proposer may use it. Calls wait for the inference thread at the call's priority.

    Raises (all): Cancelled, DeadlineExceeded: nobody waits for the tile any more. OutOfMemory: no room on the device.
    """

    def decode(self, prompts: Sequence[WindowPrompts], *, several_masks: bool = False) -> list[MaskSet]:
        """Return the masks of independent prompts of this tile, in tile px; as `Segmenter.decode`."""
        ...

    def run(self, job: Callable[[], T]) -> T:
        """Return what ``job`` returns, run on the thread that calls the models (a network of the proposer's own)."""
        ...


@dataclass(frozen=True, eq=False)
class Tile:
    """One square that the encoder saw.

    Attributes:
        window: its place in level-0 px and its size in tile px; `Window.to_level0` is the frame.
        core: level-0 px of the tile that are nearer to its middle than to any other tile's: cores tile the image.
        embedding: what the encoder made of it, late and early maps as the model keeps them.
        model: decodes prompts of this tile.
        mpp: um per tile px, or None.
        read: gives the tile's pixels.
    """

    window: Window
    core: Region
    embedding: Embedding
    model: TileModel
    mpp: float | None
    read: Callable[[], NDArray[np.uint8]] = field(repr=False)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """uint8 ``(S, S, 3)`` RGB; read when first asked for."""
        return self.read()


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """One object that a tile shows, or the part of it that the tile shows.

    Attributes:
        mask: bool ``(h, w)``, tile px, cropped to a box that holds all of it.
        score: estimate of the mask's IoU with the object, 0 to 1. Of two proposals of one object the higher one stays.
        at: column and row of the tile at which ``mask`` begins.
        point: ``(x, y)`` in the object, tile px on pixel edges; None takes a point inside the mask.
        logits: float32 ``(LOW_RES_SIZE, LOW_RES_SIZE)`` over the whole tile, or None. With them the outline is traced
            at level 0 where a tile px is coarser.
        likeness: to the examples, 0 to 1; None without examples.
    """

    mask: NDArray[np.bool_]
    score: float
    at: tuple[int, int] = (0, 0)
    point: tuple[float, float] | None = None
    logits: NDArray[np.float32] | None = None
    likeness: float | None = None


class Proposer(Protocol):
    """Proposes the objects of a tile.

    The same tile must always give the same proposals in the same order: a resumed run repeats none and misses none.
    """

    def propose(self, tile: Tile) -> Sequence[Proposal]:
        """Return the objects that the tile shows, those at its edges included, in any order; they may overlap."""
        ...


def cropped(mask: NDArray[np.bool_], score: float, **about: object) -> Proposal | None:
    """Return the proposal of a mask over a whole tile; None of an empty one.

    Args:
        mask: bool ``(S, S)``, tile px.
        score: as in `Proposal`.
        about: the other attributes of a `Proposal`, but ``at``.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    crop = np.ascontiguousarray(mask[top : rows[-1] + 1, left : columns[-1] + 1])
    return Proposal(crop, score, at=(left, top), **about)  # type: ignore[arg-type]
