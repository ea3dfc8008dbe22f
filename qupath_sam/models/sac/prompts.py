"""From the generator's map of cells to prompts: positive points on cells, negative ones on background.

In Segment Any Cell (Na et al. 2024) the generator's map gives both kinds of points, a discriminating strategy decides
which of them reach the decoder, and points chosen by centroids are compared with points chosen by probability.
Thresholds, distances and numbers are published nowhere: all of them here are our choice.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: What the map calls a cell, and px of the smallest part that is one.
_CELL, _LEAST_AREA = 0.5, 12
#: Px between two positive points chosen by probability, and between two negative ones.
_APART, _NEGATIVES_APART = 8.0, 24.0
#: Px that a negative point keeps from what may be a cell.
_CLEARANCE = 4.0
#: More points of one kind are never given: a decoder's cost grows with them.
MOST_POINTS = 64


class Selection(enum.Enum):
    """How positive points are chosen."""

    CENTROID = "centroid"
    """The centroid of each connected part of the map above one half."""
    PROBABILITY = "probability"
    """The most probable pixels, some px apart."""


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """Which points reach the decoder.

    Attributes:
        selection: how positive points are chosen.
        most: number of positive points, the surest first, and of negative ones as many; None takes all.
        sure: least probability of a cell at a positive point, of centroids the mean over their part (discriminating
            strategy).
        ruled_out: a negative point lies where a cell is less probable than this (discriminating strategy).
    """

    selection: Selection = Selection.CENTROID
    most: int | None = None
    sure: float = 0.65
    ruled_out: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points of one image.

    Attributes:
        xy: float32 ``(N, 2)``, px of the canvas on pixel edges.
        positive: bool ``(N,)``.
    """

    xy: NDArray[np.float32]
    positive: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.positive)

    def and_also(self, more: Points | None) -> Points:
        """Return these points and those that an expert gives."""
        if more is None:
            return self
        return Points(np.concatenate([self.xy, more.xy]), np.concatenate([self.positive, more.positive]))


NO_POINTS = Points(np.zeros((0, 2), np.float32), np.zeros(0, np.bool_))


def choose_points(probability: NDArray[np.float32], options: PromptOptions) -> Points:
    """Choose the points of a map, positive ones first, the surest first.

    Args:
        probability: float32 ``(H, W)`` in 0..1, that a pixel is of a cell.
        options: of the choice.

    Returns:
        None at all where the map is sure of nothing: the decoder answers without prompts then.
    """
    most = MOST_POINTS if options.most is None else min(options.most, MOST_POINTS)
    choose = _centroids if options.selection is Selection.CENTROID else _most_probable
    positive = choose(probability, options.sure)[:most]
    negative = _background(probability, options.ruled_out, min(most, max(len(positive), 1)))
    xy = np.array([*positive, *negative], np.float32).reshape(-1, 2)
    return Points(xy, np.arange(len(xy)) < len(positive))


def _centroids(probability: NDArray[np.float32], sure: float) -> list[tuple[float, float]]:
    """Return centroids of the parts, or where a part does not hold its own, the place deepest in it."""
    labels, count = ndimage.label(probability > _CELL)
    if not count:
        return []
    numbers = np.arange(1, count + 1)
    areas = ndimage.sum_labels(np.ones_like(labels), labels, numbers)
    means = ndimage.mean(probability, labels, numbers)
    middles = np.asarray(ndimage.center_of_mass(labels > 0, labels, numbers)).reshape(-1, 2)
    found = []
    for number, area, mean, (row, column) in zip(numbers, areas, means, middles, strict=True):
        if area < _LEAST_AREA or mean < sure:
            continue
        if labels[round(row), round(column)] != number:
            row, column = _deepest(labels == number)
        found.append((float(mean), (float(column) + 0.5, float(row) + 0.5)))
    return [point for _, point in sorted(found, key=lambda each: -each[0])]


def _deepest(part: NDArray[np.bool_]) -> tuple[int, int]:
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row), int(column)


def _most_probable(probability: NDArray[np.float32], sure: float) -> list[tuple[float, float]]:
    left = np.where(probability >= sure, probability, -1.0)
    return _peaks(left, apart=_APART, least=0.0, count=MOST_POINTS)


def _background(probability: NDArray[np.float32], ruled_out: float, count: int) -> list[tuple[float, float]]:
    """Find the places that are farthest from all that may be a cell."""
    # The border counts as what may be a cell: nobody clicks there.
    distance = ndimage.distance_transform_edt(np.pad(probability < ruled_out, 1))[1:-1, 1:-1]
    return _peaks(distance, apart=_NEGATIVES_APART, least=_CLEARANCE, count=count)


def _peaks(values: NDArray[np.floating], *, apart: float, least: float, count: int) -> list[tuple[float, float]]:
    """Find the largest values, ``(x, y)``, none within ``apart`` px of another, none below ``least``."""
    values = values.copy()
    reach = int(apart)
    found: list[tuple[float, float]] = []
    while len(found) < count:
        row, column = (int(i) for i in np.unravel_index(int(values.argmax()), values.shape))
        if values[row, column] < least:
            break
        found.append((column + 0.5, row + 0.5))
        rows = slice(max(row - reach, 0), row + reach + 1)
        columns = slice(max(column - reach, 0), column + reach + 1)
        near = values[rows, columns]
        y, x = np.ogrid[rows.start : rows.start + near.shape[0], columns.start : columns.start + near.shape[1]]
        near[np.hypot(y - row, x - column) < apart] = -1.0
    return found
