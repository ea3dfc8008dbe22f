"""Segmenters small enough to reason about: what they answer is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.models.base import LOW_RES_SIZE, Capabilities, Embedding, MaskSet, WindowPrompts
from qupath_sam.models.load import LoadedModel
from qupath_sam.models.registry import BUILT_IN

Answer = Callable[[NDArray[np.uint8], WindowPrompts], NDArray[np.bool_]]


class AnsweringSegmenter:
    """Answers with a function of the window's pixels and the prompts; records what it was asked."""

    def __init__(self, answer: Answer, *, capabilities: Capabilities | None = None) -> None:
        self.answer = answer
        self.asked: list[tuple[WindowPrompts, bool]] = []
        self.embedded = 0
        self._capabilities = capabilities or Capabilities(input_size=256, mask_count=1)

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def preprocessing_version(self) -> str:
        return "test-1"

    def embed(self, pixels: NDArray[np.uint8]) -> Embedding:
        self.embedded += 1
        return Embedding({"pixels": torch.from_numpy(pixels.copy())}, pixels.shape[:2])

    def decode(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> list[MaskSet]:
        pixels = embedding.tensors["pixels"].numpy()
        answers = []
        for prompt in prompts:
            self.asked.append((prompt, several_masks))
            mask = self.answer(pixels, prompt)
            low = Image.fromarray(mask).resize((LOW_RES_SIZE, LOW_RES_SIZE), Image.Resampling.NEAREST)
            logits = np.where(np.asarray(low), 5.0, -5.0).astype(np.float32)
            answers.append(MaskSet(mask[None], np.array([0.9], np.float32), logits[None]))
        return answers


def red(pixels: NDArray[np.uint8], _: WindowPrompts) -> NDArray[np.bool_]:
    """All red pixels: perfect where the object is what is red."""
    mask: NDArray[np.bool_] = (pixels[..., 0] > 200) & (pixels[..., 1] < 100)
    return mask


def nothing(pixels: NDArray[np.uint8], _: WindowPrompts) -> NDArray[np.bool_]:
    """No pixel: useless whatever the clicks."""
    return np.zeros(pixels.shape[:2], dtype=bool)


def squares(pixels: NDArray[np.uint8], prompt: WindowPrompts) -> NDArray[np.bool_]:
    """A square of 9 px at each positive click, in order, taken away at each negative one."""
    mask = np.zeros(pixels.shape[:2], dtype=bool)
    for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
        column, row = int(x), int(y)
        mask[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5] = bool(label)
    return mask


def loaded(segmenter: AnsweringSegmenter, *, sha256: str = "0" * 64) -> LoadedModel:
    """The segmenter as the rest of the package gets it."""
    return LoadedModel(
        segmenter=segmenter, spec=BUILT_IN["fake"], weights_sha256=sha256, device="cpu", precision="fp32"
    )
