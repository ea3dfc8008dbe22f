"""Prompts of one object as the refinement head and the click rules see them: on the 256 x 256 grid of the logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

#: Side of the canvas: the model's whole square at the resolution of its logits.
CANVAS_SIZE = 256


@dataclass(frozen=True, slots=True)
class CanvasClick:
    """A click in canvas px, as pixel indices: 0 is the centre of the first pixel. Fractions are meant."""

    x: float
    y: float
    positive: bool

    @property
    def pixel(self) -> tuple[int, int]:
        """Row and column of the pixel that holds it."""
        row, column = (min(max(round(v), 0), CANVAS_SIZE - 1) for v in (self.y, self.x))
        return row, column


@dataclass(frozen=True, slots=True, eq=False)
class CanvasPrompts:
    """All prompts of one object.

    Attributes:
        clicks: all so far, the newest at the end.
        newest: how many at the end are new with this call; 0 where nothing is known, and then order does not matter.
        box: ``(min_x, min_y, max_x, max_y)`` in canvas px on pixel edges, or None.
        previous: logits ``(CANVAS_SIZE, CANVAS_SIZE)`` of the mask so far, or None.
        keep_parts: whether parts that no click points at may stay.
    """

    clicks: tuple[CanvasClick, ...] = ()
    newest: int = 0
    box: tuple[float, float, float, float] | None = None
    previous: Tensor | None = None
    keep_parts: bool = False

    @property
    def new_clicks(self) -> tuple[CanvasClick, ...]:
        """The clicks that the answer is for."""
        return self.clicks[len(self.clicks) - self.newest :]

    @property
    def is_outline(self) -> bool:
        """An earlier mask without a click: an outline that is to be refined, with its box or without."""
        return self.previous is not None and not self.clicks

    @property
    def is_box_alone(self) -> bool:
        """A box with neither a click nor an earlier mask."""
        return self.box is not None and not self.clicks and self.previous is None


def reach_of(click: CanvasClick, mask: NDArray[np.bool_]) -> float:
    """Return the distance of a corrective click to the nearest pixel on its side: the scale of the error at the click.

    Args:
        click: on ``mask``'s grid.
        mask: bool ``(CANVAS_SIZE, CANVAS_SIZE)``, before the click.

    Returns:
        Canvas px, 1.5 where the click's pixel is on its side already, 16 where none is, at most 64.
    """
    same_side = mask if click.positive else ~mask
    if same_side[click.pixel]:
        return 1.5
    rows, columns = np.nonzero(same_side)
    if not len(rows):
        return 16.0
    nearest = np.sqrt(((rows - click.y) ** 2 + (columns - click.x) ** 2).min())
    return float(np.clip(nearest, 1.0, 64.0))


def squared_distance(click: CanvasClick) -> NDArray[np.float64]:
    """Return the distance of every pixel's centre to the click, canvas px squared: ``(CANVAS_SIZE, CANVAS_SIZE)``."""
    at = np.arange(CANVAS_SIZE)
    distance: NDArray[np.float64] = ((at - click.y) ** 2)[:, None] + ((at - click.x) ** 2)[None, :]
    return distance
