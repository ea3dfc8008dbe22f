"""The product as the simulated user sees it: the engine chooses which windows of the image a click needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.datasets.painting import paint
from qupath_sam.engine.engine import Engine
from qupath_sam.evaluation.one_model import engine_of
from qupath_sam.evaluation.sessions import Answer, ClickSession
from qupath_sam.models.load import LoadedModel
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.types.masks import Mask
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts, scribble
from qupath_sam.types.requests import MaskChoice, ObjectRequest, OutputOptions
from qupath_sam.types.results import Outline

_EMBEDDING_BYTES, _STATE_BYTES = 512 * 2**20, 256 * 2**20


class OwnWindowsEngine:
    """The engine as the server runs it, round one model. Close it to end its thread.

    Args:
        model: that answers.
        keep_parts: whether answers keep parts that no click points at, and pinholes.
    """

    def __init__(self, model: LoadedModel, *, keep_parts: bool = False) -> None:
        self._output = OutputOptions(keep_parts=keep_parts)
        self._engine = engine_of(model, embedding_bytes=_EMBEDDING_BYTES, state_bytes=_STATE_BYTES)

    def image(self, pixels: NDArray[np.uint8], mpp: float | None) -> OwnWindows:
        """Open an image to be prompted.

        Args:
            pixels: uint8 ``(H, W, 3)`` RGB, taken as level 0.
            mpp: um per px, or None.
        """
        return OwnWindows(self._engine, PushedReader.of_image(pixels, mpp), self._output)

    def close(self) -> None:
        """End the engine's thread."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class OwnWindows:
    """A `PromptableImage` whose answers are the engine's outlines, painted: a pixel counts by its centre.

    The seconds of an answer are the engine's own, reading and encoding of new windows included, painting left out.
    """

    def __init__(self, engine: Engine, slide: SlideReader, output: OutputOptions | None = None) -> None:
        self._output = output or OutputOptions()
        self._engine = engine
        self._slide = slide

    def start(self) -> ClickSession:
        """See `PromptableImage.start`."""
        return _OwnWindowsSession(self)

    def from_box(self, box: Box) -> Mask:
        """See `PromptableImage.from_box`."""
        return self.predict(ObjectPrompts(box=box))[0].mask

    def from_outline(self, outline: Polygon | MultiPolygon) -> Mask:
        """See `PromptableImage.from_outline`."""
        return self.predict(ObjectPrompts(outline=outline))[0].mask

    def predict(self, prompts: ObjectPrompts, token: bytes = b"") -> tuple[Answer, bytes]:
        """Return the engine's answer, and the token for the next click."""
        prediction = self._engine.predict(self._slide, [ObjectRequest(prompts, token=token)], output=self._output)
        result = prediction.results[0]
        mask = self._painted(result.outlines)
        score = result.outlines[0].score if result.outlines else None
        return Answer(mask, prediction.timings.total / 1000, score), result.token

    def all_masks(self, prompts: ObjectPrompts) -> tuple[Mask, ...]:
        """Return all masks that the engine offers for prompts, the best first."""
        output = replace(self._output, choice=MaskChoice.ALL)
        result = self._engine.predict(self._slide, [ObjectRequest(prompts)], output=output).results[0]
        return tuple(self._painted([outline]) for outline in result.outlines)

    def _painted(self, outlines: Sequence[Outline]) -> Mask:
        info = self._slide.info
        return paint([outline.geometry for outline in outlines], (info.height, info.width)) > 0


class _OwnWindowsSession:
    """Sends all clicks so far with the token of the last answer, as the clients do."""

    def __init__(self, image: OwnWindows) -> None:
        self._image = image
        self._clicks: tuple[Click, ...] = ()
        self._token = b""

    def click(self, point: tuple[float, float], label: Label) -> Answer:
        return self.stroke([point], label)

    def stroke(self, points: Sequence[tuple[float, float]], label: Label) -> Answer:
        self._clicks = (*self._clicks, scribble(points, label))
        answer, self._token = self._image.predict(ObjectPrompts(clicks=self._clicks), self._token)
        return answer

    def others(self) -> tuple[Mask, ...]:
        return self._image.all_masks(ObjectPrompts(clicks=self._clicks[:1]))[1:]
