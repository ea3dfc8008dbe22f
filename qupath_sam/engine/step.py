"""One step of an object: the prompts that it takes, what it asks of a model, and what is known after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.models.base import MaskSet, WindowPrompts
from qupath_sam.types.prompts import Box, Click, ObjectPrompts
from qupath_sam.types.regions import Window


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a box and/or an outline, or one click, or several that are taken together."""

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    outline: Polygon | MultiPolygon | None = None

    @property
    def from_mask(self) -> int | None:
        """Which mask of the step before it goes on from; None leaves that to the request's `MaskChoice`."""
        return self.clicks[0].from_mask if self.clicks else None


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What is known of an object after a step.

    Attributes:
        window: that the step used.
        masks: the step's answer over that window, best score first.
        chosen: index in ``masks`` of the one that the next step continues from.
    """

    window: Window
    masks: MaskSet
    chosen: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The chosen mask: bool ``(height, width)`` over the window."""
        chosen: NDArray[np.bool_] = self.masks.masks[self.chosen]
        return chosen

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return self.masks.masks.nbytes + self.masks.scores.nbytes + self.masks.logits.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class DecodeRequest:
    """What a step asks of a model."""

    window: Window
    prompts: WindowPrompts
    several_masks: bool


def steps_of(prompts: ObjectPrompts) -> tuple[Step, ...]:
    """Return the steps of an object: box and outline together (where given), then the clicks."""
    first = (Step(box=prompts.box, outline=prompts.outline),) if prompts.box or prompts.outline else ()
    together: list[list[Click]] = []
    for click in prompts.clicks:
        if click.same_step:
            together[-1].append(click)
        else:
            together.append([click])
    return (*first, *(Step(clicks=tuple(clicks)) for clicks in together))
