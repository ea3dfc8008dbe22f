"""A segmenter that ships for tests: discs instead of a network. No weights, no accelerator, microseconds."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from qupath_sam.models.adapters.promptable import check_prompt
from qupath_sam.models.base import LOW_RES_SIZE, Capabilities, Embedding, MaskSet, WindowPrompts
from qupath_sam.models.frame import masks_over_window
from qupath_sam.models.jobs import DecodeJob, Stages, alone

#: Sizes of the three answers to an ambiguous prompt, best first, as factors on the disc or ellipse.
_SIZES = (1.0, 0.5, 1.5)
#: Logit at the centre of a disc, and the largest there is.
_LOGIT_AT_CENTRE = 8.0

_Grid = tuple[NDArray[np.float64], NDArray[np.float64]]


class FakeSegmenter:
    """Draws where the prompts point.

    It ensures:

    - every positive point gets a disc of ``radius`` times the window's shorter side (at least half a pixel, so that
      the pixel clicked on always belongs to it); a box gets the ellipse inscribed in it; earlier logits are kept as
      the starting mask; the answer is their union less a disc at every negative point;
    - a pixel belongs to a shape when its centre does;
    - with ``several_masks`` it answers three, the discs and ellipses at 1, 1/2 and 3/2 of their size;
    - the best score lies in 0.9 to 1 and is a checksum of the window's pixels, so that an answer made from
      other pixels shows; the others are 0.1 and 0.2 lower;
    - equal pixels and prompts give equal answers, on every machine.

    Args:
        radius: of the discs, as a fraction of the window's shorter side.
        embedding_bytes: size of each embedding, to fill caches with.
        before_embed: called at the start of every `embed`, to count, delay, block or fail it.
        before_decode: the same for `decode`.
        windows_per_batch, prompts_per_batch: windows and prompts up to which one call gains, as an accelerator would
            say; a call counts once, whatever it holds.

    Attributes:
        embed_calls, decode_calls: how many calls there were.
        batches: how many prompts each call of the decoder held.
    """

    def __init__(
        self,
        *,
        radius: float = 0.125,
        embedding_bytes: int = 4096,
        before_embed: Callable[[], None] | None = None,
        before_decode: Callable[[], None] | None = None,
        windows_per_batch: int = 1,
        prompts_per_batch: int = 1,
    ) -> None:
        self.radius = radius
        self.embedding_bytes = embedding_bytes
        self.before_embed = before_embed
        self.before_decode = before_decode
        self.windows_per_batch = windows_per_batch
        self.prompts_per_batch = prompts_per_batch
        self.embed_calls = 0
        self.decode_calls = 0
        self.batches: list[int] = []

    @property
    def capabilities(self) -> Capabilities:
        """All kinds of prompts, three masks, the input size of the default model."""
        return Capabilities(input_size=256, mask_count=len(_SIZES))

    @property
    def preprocessing_version(self) -> str:
        """Never changes."""
        return "fake-1"

    def embed(self, pixels: NDArray[np.uint8]) -> Embedding:
        """Keep a checksum of the window; see `Segmenter.embed`."""
        return self.embed_together([pixels])[0]

    def embed_together(self, windows: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """Embed windows in one call; see `EncodesTogether`."""
        self.embed_calls += 1
        if self.before_embed is not None:
            self.before_embed()
        return [self._embedding(pixels) for pixels in windows]

    def _embedding(self, pixels: NDArray[np.uint8]) -> Embedding:
        checksum = torch.tensor([zlib.crc32(np.ascontiguousarray(pixels).tobytes())], dtype=torch.int64)
        ballast = torch.zeros(max(0, self.embedding_bytes - checksum.element_size()), dtype=torch.uint8)
        return Embedding({"checksum": checksum, "ballast": ballast}, (pixels.shape[0], pixels.shape[1]))

    def decode(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> list[MaskSet]:
        """Draw; see the class and `Segmenter.decode`."""
        return alone(self.decoding(embedding, prompts, several_masks=several_masks))

    def decoding(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> Stages[list[MaskSet]]:
        """Return the one stage of `decode`; see `Staged`."""
        for prompt in prompts:
            check_prompt(prompt, self.capabilities)
        answers: list[MaskSet] = yield DecodeJob(self, embedding, tuple(prompts), several_masks)
        return answers

    def draft_together(self, jobs: Sequence[DecodeJob]) -> list[list[MaskSet]]:
        """Draw for objects of several windows in one call; see `DraftsTogether`."""
        self.decode_calls += 1
        self.batches.append(sum(job.items for job in jobs))
        if self.before_decode is not None:
            self.before_decode()
        return [self._draw_all(job) for job in jobs]

    def _draw_all(self, job: DecodeJob) -> list[MaskSet]:
        best = 0.9 + 0.1 * int(job.embedding.tensors["checksum"][0]) / 2**32
        sizes = _SIZES if job.several_masks else _SIZES[:1]
        return [self._draw(prompt, job.embedding.window_size, best, sizes) for prompt in job.prompts]

    def _draw(
        self, prompt: WindowPrompts, window_size: tuple[int, int], best: float, sizes: tuple[float, ...]
    ) -> MaskSet:
        radius = max(self.radius * min(window_size), 0.5)
        start = None if prompt.logits is None else torch.from_numpy(prompt.logits)[None]
        start_mask = None if start is None else masks_over_window(start, window_size)[0].numpy()
        start_low = None if start is None else start[0].numpy() > 0
        low_size = (LOW_RES_SIZE, LOW_RES_SIZE)
        full = [_depth(prompt, radius, size, _centres(window_size, window_size), start_mask) for size in sizes]
        low = [_depth(prompt, radius, size, _centres(window_size, low_size), start_low) for size in sizes]
        return MaskSet(
            masks=np.stack(full) >= 0,
            scores=(best - 0.1 * np.arange(len(sizes))).astype(np.float32),
            logits=np.clip(np.stack(low) / radius * _LOGIT_AT_CENTRE, -_LOGIT_AT_CENTRE, _LOGIT_AT_CENTRE).astype(
                np.float32
            ),
        )


def _centres(window_size: tuple[int, int], grid: tuple[int, int]) -> _Grid:
    """Return the centres of a grid's cells over the window, in window px: a row of x and a column of y."""
    (height, width), (rows, columns) = window_size, grid
    return (np.arange(columns) + 0.5) * width / columns, ((np.arange(rows) + 0.5) * height / rows)[:, None]


def _depth(
    prompt: WindowPrompts, radius: float, size: float, centres: _Grid, start: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """Return the depth of each pixel's centre inside the answer, in window px; negative outside."""
    x, y = centres
    depth = np.full((y.shape[0], x.shape[0]), -radius)
    if start is not None:
        depth = np.where(start, radius, depth)
    if prompt.box is not None:
        depth = np.maximum(depth, _ellipse(prompt.box, size, centres))
    for (px, py), label in zip(prompt.points, prompt.labels, strict=True):
        if label == 1:
            depth = np.maximum(depth, radius * size - np.hypot(x - px, y - py))
    for (px, py), label in zip(prompt.points, prompt.labels, strict=True):
        if label == 0:
            depth = np.minimum(depth, np.hypot(x - px, y - py) - radius)
    return depth


def _ellipse(box: tuple[float, float, float, float], size: float, centres: _Grid) -> NDArray[np.float64]:
    x, y = centres
    min_x, min_y, max_x, max_y = box
    half_width, half_height = (max(size * side / 2, 1e-6) for side in (max_x - min_x, max_y - min_y))
    distance = np.hypot((x - (min_x + max_x) / 2) / half_width, (y - (min_y + max_y) / 2) / half_height)
    inside: NDArray[np.float64] = (1 - distance) * min(half_width, half_height)
    return inside
