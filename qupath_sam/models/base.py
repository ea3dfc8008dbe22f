"""What a segmenter is: ``embed`` once, ``decode`` many times. No state to set or reset.

Every adapter, the shipped fake included, passes the contract in ``tests/contracts/segmenters.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

#: Side of the square logits that go from one click to the next, as in SAM (Kirillov et al. 2023, sec. 3).
LOW_RES_SIZE = 256


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The prompts that a model takes, and the masks that it gives.

    Attributes:
        input_size: side of the square the encoder sees, in px; windows are cut to this size.
        mask_count: masks a first prompt may return: 3 where the model resolves ambiguity, 2 where two decoders answer,
            else 1.
        points, boxes, mask_prompt: which prompts mean something to the model.
        outlines: whether an outline says enough without a click; else a mask prompt only comes with clicks.
    """

    input_size: int
    mask_count: int
    points: bool = True
    boxes: bool = True
    mask_prompt: bool = True
    outlines: bool = True


@dataclass(frozen=True, slots=True)
class Embedding:
    """The image encoder's output for one window; only the model that made it can read it.

    Attributes:
        tensors: by name, on the model's device. The contents belong to the model.
        window_size: ``(height, width)`` of the pixels that were encoded.
    """

    tensors: Mapping[str, torch.Tensor]
    window_size: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        """Bytes held by the tensors."""
        return sum(t.numel() * t.element_size() for t in self.tensors.values())


@dataclass(frozen=True, slots=True, eq=False)
class WindowPrompts:
    """Prompts of one object in window px.

    Attributes:
        points: float32 ``(N, 2)``, x then y, pixel *edges* (the centre of the first pixel is (.5, .5)); N may be 0.
        labels: int ``(N,)``, 1 positive, 0 negative.
        box: ``(min_x, min_y, max_x, max_y)`` on pixel edges, or None.
        logits: float32 ``(LOW_RES_SIZE, LOW_RES_SIZE)`` of the previous mask over the whole window, or None.
        last_click: number of points at the end of ``points`` that are new with this call: the click that the
            answer is for. 0 where nothing is known.
        keep_parts: whether parts of the mask that no click points at may stay.
        refine_all: whether a refinement head corrects each of several masks; else the best alone.
        strokes: numbers of points that were made in one stroke, in the order of ``points``; 1 for a click. Empty where
            each point is a click.
        decoder: number of the mask decoder that answers (`MaskSet.decoders`), where a model has several: the one behind
            ``logits``. None where no decoder has answered before: the model chooses.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    box: tuple[float, float, float, float] | None = None
    logits: NDArray[np.float32] | None = None
    last_click: int = 0
    keep_parts: bool = False
    refine_all: bool = False
    strokes: tuple[int, ...] = ()
    decoder: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MaskSet:
    """Masks of one object, best score first.

    Attributes:
        masks: bool ``(M, height, width)`` over the window's px.
        scores: float32 ``(M,)``, the model's own estimate of each mask's IoU, in 0..1, falling.
        logits: float32 ``(M, LOW_RES_SIZE, LOW_RES_SIZE)`` over the whole window; mask m's prompt for the next click.
        decoders: number of the mask decoder behind each mask; empty for a model with one.
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    logits: NDArray[np.float32]
    decoders: tuple[int, ...] = ()

    def decoder_of(self, mask: int) -> int:
        """Return the number of the decoder behind a mask: the next prompt's `WindowPrompts.decoder`."""
        return self.decoders[mask] if self.decoders else 0


class Segmenter(Protocol):
    """A promptable model. Calls may come from any thread, but one at a time: `qupath_sam.engine.worker` sees to it."""

    @property
    def capabilities(self) -> Capabilities:
        """The prompts that the model takes, and the masks that it gives."""
        ...

    @property
    def preprocessing_version(self) -> str:
        """Changes whenever the same pixels would give another embedding; part of every embedding's key."""
        ...

    def embed(self, pixels: NDArray[np.uint8]) -> Embedding:
        """Encode a window.

        Args:
            pixels: uint8 ``(H, W, 3)`` RGB. Any H and W from 1 up; the adapter scales and pads to its input.

        Raises:
            OutOfMemory: the device has no room.
        """
        ...

    def decode(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> list[MaskSet]:
        """Decode masks for each of several independent objects of one window.

        The answer for an object does not depend on what else is in the call (within float tolerance).

        Args:
            embedding: made by this model's `embed`.
            prompts: one per object.
            several_masks: ask for `Capabilities.mask_count` masks (first click) instead of one.

        Returns:
            One `MaskSet` per object, in order, each with 1 mask (or up to ``mask_count``), sorted by falling score.

        Raises:
            UnsupportedPrompt: a prompt that `capabilities` rules out.
            InvalidPrompt: a prompt with what is not a finite number.
            OutOfMemory: the device has no room.
        """
        ...


@runtime_checkable
class HasReadyEncoder(Protocol):
    """A `Segmenter` whose encoder may need no first call before it is as quick as ever."""

    def blank_embedding(self) -> Embedding | None:
        """Return an embedding of a black window that the encoder has not seen; None where a first call brings some.

        It is of use to warm up what follows the encoder. The first call of the encoder takes most of a warm-up.
        """
        ...
