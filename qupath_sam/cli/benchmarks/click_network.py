"""The model's own share of a click: its mask decoder alone, all of it, and many clicks in one window."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.benchmarks.figures import rounded
from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.base import Segmenter, WindowPrompts
from qupath_sam.slides.open import open_slide
from qupath_sam.types.regions import Region, Window


def window_pixels() -> NDArray[np.uint8]:
    """Return a window of the demo slide, uint8 ``(256, 256, 3)`` RGB."""
    reader = open_slide(demo_slide_path())
    try:
        return reader.read(Window.of(Region(1200, 1200, 512, 512), 2.0))
    finally:
        reader.close()


def decoders(segmenter: Segmenter) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return two calls: prompt encoder and mask decoder alone, and the whole model; three clicks and a mask prompt.

    On the way it encodes a window and decodes a click.
    """
    embedding = segmenter.embed(window_pixels())
    points = np.array([[0.5, 0.5], [0.6, 0.55], [0.3, 0.7]], np.float32) * segmenter.capabilities.input_size
    first = segmenter.decode(embedding, [WindowPrompts(points[:1], np.ones(1, np.int64))])[0]
    prompts = WindowPrompts(points, np.array([1, 1, 0]), None, first.logits[0], 1)
    whole = partial(segmenter.decode, embedding, [prompts])
    # Models of other kinds have no decoder that could be called alone.
    bare = (
        segmenter.bare_decoder(embedding, prompts)
        if isinstance(segmenter, PromptableSegmenter | TwoDecoderSegmenter)
        else whole
    )
    return bare, whole


def time_prompts(segmenter: Segmenter, pixels: NDArray[np.uint8], count: int) -> dict[str, Any]:
    """Time clicks on ``count`` places of one window, as one call of the model and as one call each.

    Args:
        segmenter: the model.
        pixels: uint8 ``(H, W, 3)`` of the window.
        count: how many clicks.

    Returns:
        ``n``, ``together_ms``, ``single_ms`` (all of them) and ``ratio``, the first over the second.
    """
    embedding = segmenter.embed(pixels)
    size = np.array(pixels.shape[1::-1])
    places = (np.random.default_rng(0).random((count, 1, 2)) * size).astype(np.float32)
    prompts = [WindowPrompts(place, np.ones(1, np.int64), last_click=1) for place in places]
    segmenter.decode(embedding, prompts[:1])
    started = time.perf_counter()
    segmenter.decode(embedding, prompts)
    together = time.perf_counter()
    for prompt in prompts:
        segmenter.decode(embedding, [prompt])
    single = time.perf_counter()
    return {
        "n": count,
        "together_ms": rounded((together - started) * 1e3),
        "single_ms": rounded((single - together) * 1e3),
        "ratio": round((together - started) / (single - together), 3),
    }
