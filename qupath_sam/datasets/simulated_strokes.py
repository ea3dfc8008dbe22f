"""The simulated user's first stroke: a line through the object, as the few points that the clients send of one.

A person draws a stroke along an object from one place well inside it to another. The protocol draws it through the
middle, where its first click would go, so that the two compare.
"""

from __future__ import annotations

import itertools

import numpy as np

from qupath_sam.datasets.simulated_clicks import SimulatedClick, error_distance
from qupath_sam.types.masks import Mask
from qupath_sam.types.prompts import Label

#: Points of a stroke, both ends among them, as the Java client sends them (``Strokes.java``).
STROKE_POINTS = 8
#: Share of the middle's distance to the border that the ends keep at least.
_DEPTH = 0.3
#: Steps along each half of a stroke from which its points are chosen.
_STEPS = 48


def stroke_through(truth: Mask, random: np.random.Generator) -> tuple[SimulatedClick, ...]:
    """Draw a positive stroke through the middle of an object.

    It goes straight from one place inside to the middle, or on from there to a second place, as likely as not. Both
    places are drawn from the pixels at least `_DEPTH` as deep as the middle. What of the line leaves the object is left
    out.

    Args:
        truth: bool ``(H, W)``, not empty.
        random: of the places.

    Returns:
        Up to `STROKE_POINTS` different pixels, at even distances, in the order of the stroke.
    """
    distance = error_distance(truth)
    middle = np.unravel_index(int(distance.argmax()), truth.shape)
    places = np.argwhere(distance >= max(_DEPTH * distance.max(), np.finfo(float).tiny))
    ends = places[random.integers(len(places), size=int(random.integers(1, 3)))]
    corners = [ends[0], middle, *ends[1:]]
    path = np.concatenate([np.linspace(a, b, _STEPS) for a, b in itertools.pairwise(corners)]).round().astype(int)
    inside = path[truth[path[:, 0], path[:, 1]]]
    chosen = inside[np.linspace(0, len(inside) - 1, STROKE_POINTS).round().astype(int)]
    pixels = dict.fromkeys((int(x), int(y)) for y, x in chosen)
    return tuple(SimulatedClick(x, y, Label.POSITIVE) for x, y in pixels)
