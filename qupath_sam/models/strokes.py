"""Strokes: which of their points a mask decoder is told, and how much of them an answer holds.

A decoder has learnt from clicks that stand for themselves. Of eight points along a line it makes less than of three,
and than of a single one (docs/science/experiments.md, "Strokes"). All points count where the answer is judged: in the
rules of clicks, and in the choice between two decoders.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qupath_sam.models.base import WindowPrompts
from qupath_sam.networks.canvas import CanvasPrompts

#: Points of one stroke that a mask decoder is told at most.
TOLD_POINTS = 3


def told_points(prompt: WindowPrompts) -> NDArray[np.int64]:
    """Return the numbers of the points that a mask decoder is told, rising: of a stroke the most spread ones.

    Args:
        prompt: its `WindowPrompts.strokes` say which points belong together; without them all are told.
    """
    told: list[NDArray[np.int64]] = []
    first = 0
    for count in prompt.strokes or (1,) * len(prompt.points):
        told.append(first + _spread(prompt.points[first : first + count]))
        first += count
    return np.concatenate(told) if told else np.zeros(0, np.int64)


def coverage(logits: NDArray[np.float32], prompts: CanvasPrompts) -> float:
    """Return the share of a first stroke's points that lie in an answer, 0..1; 1 for a single click.

    Args:
        logits: float32 ``(256, 256)`` over the canvas.
        prompts: what was asked.
    """
    points = [click for click in prompts.new_clicks if click.positive]
    if len(points) < 2:
        return 1.0
    return float(np.mean([logits[click.pixel] > 0 for click in points]))


def _spread(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the numbers of up to `TOLD_POINTS` points: the two that lie farthest apart, and what is far from both."""
    if len(points) <= TOLD_POINTS:
        return np.arange(len(points))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    chosen = [int(number) for number in np.unravel_index(int(distance.argmax()), distance.shape)]
    while len(chosen) < TOLD_POINTS:
        chosen.append(int(distance[chosen].min(axis=0).argmax()))
    return np.unique(np.array(chosen, np.int64))
