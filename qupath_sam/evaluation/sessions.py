"""A model as the simulated user sees it: clicks go in, masks of the image come out.

Two ways to choose the pixels that the model sees: `WholeImage` shows it the image as its one window, which is the
papers' protocol; `OwnWindows` lets the engine choose windows from the prompts alone, which is what a user of QuPath
gets. Coordinates are px of the evaluated image on pixel edges: a click on the pixel in column i, row j is
``(i + .5, j + .5)``. Masks are bool of the image's ``(height, width)``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.logits import outline_logits
from qupath_sam.errors import UnsupportedPrompt
from qupath_sam.models.base import Segmenter, WindowPrompts
from qupath_sam.types.masks import Mask
from qupath_sam.types.prompts import Box, Label
from qupath_sam.types.regions import Region, Window


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The answer to a prompt.

    Attributes:
        mask: bool ``(H, W)`` of the image.
        seconds: wall time that the caller waited for it.
        score: the model's own estimate of the mask's IoU, 0..1; None where nothing came.
    """

    mask: Mask
    seconds: float
    score: float | None = None


class ClickSession(Protocol):
    """One object that is being clicked; each click refines the mask that the last one left."""

    def click(self, point: tuple[float, float], label: Label) -> Answer:
        """Return the object after one more click."""
        ...

    def stroke(self, points: Sequence[tuple[float, float]], label: Label) -> Answer:
        """Return the object after a stroke along the points, which are taken in one step."""
        ...

    def others(self) -> tuple[Mask, ...]:
        """Return the other masks that a person may choose from after the first click; nobody waits for them."""
        ...


class PromptableImage(Protocol):
    """An image that is ready to be prompted; objects do not know of each other."""

    def start(self) -> ClickSession:
        """Begin a new object."""
        ...

    def from_box(self, box: Box) -> Mask:
        """Return the object in a box."""
        ...

    def from_outline(self, outline: Polygon | MultiPolygon) -> Mask:
        """Return an existing outline, refined."""
        ...


class WholeImage:
    """The image as the model's one window, encoded once.

    Args:
        segmenter: the model.
        pixels: uint8 ``(H, W, 3)`` RGB.
        keep_parts: whether parts that no click points at stay.
    """

    def __init__(self, segmenter: Segmenter, pixels: NDArray[np.uint8], *, keep_parts: bool = False) -> None:
        self._segmenter = segmenter
        self._keep_parts = keep_parts
        self._embedding = segmenter.embed(pixels)
        height, width = pixels.shape[:2]
        self._window = Window(Region(0, 0, width, height), width, height)

    def start(self) -> ClickSession:
        """See `PromptableImage.start`."""
        return _WholeImageSession(self)

    def from_box(self, box: Box) -> Mask:
        """See `PromptableImage.from_box`."""
        return self.decode(_prompts([], box=box)).mask

    def from_outline(self, outline: Polygon | MultiPolygon) -> Mask:
        """See `PromptableImage.from_outline`: the outline's box, and the outline as the previous mask.

        A model that takes only one of the two gets that one.
        """
        can = self._segmenter.capabilities
        box = Box(*outline.bounds) if can.boxes else None
        logits = outline_logits(outline, self._window) if can.mask_prompt else None
        return self.decode(_prompts([], box=box, logits=logits)).mask

    def decode(self, prompts: WindowPrompts, *, several_masks: bool = False) -> _Decoded:
        """Return the model's answer for one object; of several masks, the one that the model itself scores best."""
        prompts = replace(prompts, keep_parts=self._keep_parts)
        started = time.perf_counter()
        answer = self._segmenter.decode(self._embedding, [prompts], several_masks=several_masks)[0]
        seconds = time.perf_counter() - started
        mask: Mask = answer.masks[0]
        logits: NDArray[np.float32] = answer.logits[0]
        others = tuple(answer.masks[1:])
        return _Decoded(mask, logits, seconds, float(answer.scores[0]), others, answer.decoder_of(0))


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    mask: Mask
    logits: NDArray[np.float32]
    seconds: float
    score: float
    others: tuple[Mask, ...]
    decoder: int


class _WholeImageSession:
    """Each request has all clicks so far and the last mask's logits; only the first one may have several answers."""

    def __init__(self, image: WholeImage) -> None:
        self._image = image
        self._clicks: list[tuple[tuple[float, float], Label]] = []
        self._strokes: list[int] = []
        self._logits: NDArray[np.float32] | None = None
        self._decoder: int | None = None
        self._others: tuple[Mask, ...] = ()

    def click(self, point: tuple[float, float], label: Label) -> Answer:
        return self.stroke([point], label)

    def stroke(self, points: Sequence[tuple[float, float]], label: Label) -> Answer:
        is_first = not self._clicks
        self._clicks += [(point, label) for point in points]
        self._strokes.append(len(points))
        prompts = replace(
            _prompts(self._clicks, logits=self._logits),
            decoder=self._decoder,
            last_click=len(points),
            strokes=tuple(self._strokes),
        )
        decoded = self._image.decode(prompts, several_masks=is_first)
        self._logits, self._decoder, self._others = decoded.logits, decoded.decoder, decoded.others
        return Answer(decoded.mask, decoded.seconds, decoded.score)

    def others(self) -> tuple[Mask, ...]:
        return self._others


def check_clickable(segmenter: Segmenter, name: str) -> None:
    """Raise `UnsupportedPrompt` unless the model takes points."""
    if not segmenter.capabilities.points:
        raise UnsupportedPrompt(
            f"model {name!r} takes no clicks; evaluate one that does (see `qupath-sam models list`)"
        )


def _prompts(
    clicks: list[tuple[tuple[float, float], Label]],
    *,
    box: Box | None = None,
    logits: NDArray[np.float32] | None = None,
) -> WindowPrompts:
    return WindowPrompts(
        points=np.asarray([point for point, _ in clicks], dtype=np.float32).reshape(-1, 2),
        labels=np.asarray([label.value for _, label in clicks], dtype=np.int64),
        box=None if box is None else box.bounds,
        logits=logits,
        last_click=min(1, len(clicks)),
    )
