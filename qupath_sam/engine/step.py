"""One step of an object: the prompts that it takes, what it asks of a model, and what is known after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
class Candidate:
    """One mask of an object, in the window in which the model saw it.

    Attributes:
        window: what mask and logits lie over.
        mask: bool ``(height, width)`` over the window's px.
        score: the model's own estimate of the mask's IoU, 0..1.
        logits: float32 ``(LOW_RES_SIZE, LOW_RES_SIZE)`` over the window: the mask prompt of a step that goes on from
            it.
        decoder: number of the mask decoder behind it, as in `MaskSet.decoders`.
        refined: whether it is as good as the model makes it; of several masks of one answer only the best is, unless
            `WindowPrompts.refine_all` asks for each.
    """

    window: Window
    mask: NDArray[np.bool_]
    score: float
    logits: NDArray[np.float32]
    decoder: int = 0
    refined: bool = True

    def copied(self) -> Candidate:
        """Return the same with arrays of its own: it does not hold those of other masks of its answer."""
        return replace(self, mask=self.mask.copy(), logits=self.logits.copy())

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return self.mask.nbytes + self.logits.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What is known of an object after a step.

    Attributes:
        candidates: the step's answers, the likeliest first, each in its own window; one, but after a first step of
            clicks.
        chosen: index of the one that the next step continues from.
    """

    candidates: tuple[Candidate, ...]
    chosen: int = 0

    @classmethod
    def of(cls, window: Window, masks: MaskSet, *, all_refined: bool = False) -> State:
        """Return the state after an answer in one window, with all of its masks and the best one chosen.

        Args:
            window: what the masks lie over.
            masks: the answer.
            all_refined: whether each of several masks is refined, and not the best alone.
        """
        return cls(
            tuple(
                Candidate(window, masks.masks[i], score, masks.logits[i], masks.decoder_of(i), all_refined or i == 0)
                for i, score in enumerate(masks.scores.tolist())
            )
        )

    @property
    def current(self) -> Candidate:
        """The chosen candidate."""
        return self.candidates[self.chosen]

    @property
    def window(self) -> Window:
        """The window of the chosen candidate."""
        return self.current.window

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The chosen mask: bool ``(height, width)`` over the window."""
        return self.current.mask

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return sum(each.size_bytes for each in self.candidates)


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
