"""From examples to a measure of likeness, and the least likeness that the examples suggest.

A cell's features are standardised and brought to length one. Its cosine to the prototype, the mean of the examples'
cells, says how like it is to them; the same less its cosine to the background, the mean of the cells round them, says
on which side it lies (prototypes: Snell et al. 2017, "Prototypical networks"; the background's is our choice). Both are
scaled so that the background is 0 and the examples are 1; likeness is their mean. Rejected examples are one more
prototype: the nearer of it and the background counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.engine.like.features import CELLS, CellFeatures

#: Width of the ring of background round an example, as a share of the example's own diameter, and at least, cells.
RING_SHARE, LEAST_RING = 0.35, 2.0
#: Share of a cell that an example must cover for the cell to be the example's.
COVERED = 0.5
#: The threshold lies between these whatever the examples say.
THRESHOLDS = 0.2, 0.8
#: Likeness that others of the kind are expected to have where there is one example: it is the prototype itself.
OF_ANOTHER = 0.8
_FLOOR = 1e-3

Cells = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ShownExample:
    """An example as a window shows it.

    Attributes:
        covered: float32 ``(CELLS, CELLS)``, the share of each cell that the example covers.
        is_positive: such objects are wanted.
    """

    covered: NDArray[np.float32]
    is_positive: bool


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A window with examples in it.

    Attributes:
        features: of its cells.
        examples: those that the window is there for.
        taken: bool ``(CELLS, CELLS)``: cells that any example touches, those of other windows included.
        in_image: bool ``(CELLS, CELLS)``; the image shows nothing in the others.
    """

    features: CellFeatures
    examples: Sequence[ShownExample]
    taken: NDArray[np.bool_]
    in_image: NDArray[np.bool_]


class Prototype:
    """A measure of likeness; 1 is as like as the examples, 0 as unlike as what lies round them.

    Args:
        views: at least one, with a positive example.
    """

    def __init__(self, views: Sequence[View]) -> None:
        self._late = _Standard.of([view.features.late[view.in_image.ravel()] for view in views])
        self._early = _Standard.of([view.features.early[view.in_image.ravel()] for view in views])
        pooled = [_Pooled.of(view, self._directions(view.features)) for view in views]
        positives = [each for one in pooled for each in one.positives]
        rejected = [each for one in pooled for each in one.rejected]
        rings = [one.background for one in pooled if one.background is not None]
        # Where examples fill all that is seen, the mean of all is the background: it has no direction.
        self._background = _mean(rings) if rings else np.zeros_like(positives[0])
        self._rejected = _mean(rejected) if rejected else None
        self._positive = _mean(positives)
        #: The least likeness that the examples suggest, 0 to 1.
        self.threshold = self._suggested(positives, rejected)

    def likeness_map(self, features: CellFeatures) -> NDArray[np.float32]:
        """Return the likeness of each cell of a window, float32 ``(CELLS, CELLS)``; it may lie beyond 0 to 1."""
        return self._likeness(self._directions(features), self._positive).reshape(CELLS, CELLS)

    def _directions(self, features: CellFeatures) -> Cells:
        """Return standardised features of length one, late and early maps with equal weight."""
        late, early = self._late(features.late), self._early(features.early)
        if late.shape[1]:
            early = early * np.sqrt(late.shape[1] / early.shape[1])
        joint = np.concatenate([late, early], axis=1)
        return np.asarray(joint / (np.linalg.norm(joint, axis=1, keepdims=True) + _FLOOR), np.float32)

    def _likeness(self, directions: Cells, positive: Cells) -> Cells:
        """Return the likeness of directions ``(N, C)`` to a prototype ``(C,)``, float32 ``(N,)``."""
        ends = np.stack([self._background, positive])
        scaled = []
        for measure in (self._closeness, self._side):
            low, high = measure(ends, positive)
            scaled.append((measure(directions, positive) - low) / max(high - low, _FLOOR))
        return np.asarray((scaled[0] + scaled[1]) / 2, np.float32)

    def _closeness(self, directions: Cells, positive: Cells) -> Cells:
        return np.asarray(directions @ positive, np.float32)

    def _side(self, directions: Cells, positive: Cells) -> Cells:
        against = directions @ self._background
        if self._rejected is not None:
            against = np.maximum(against, directions @ self._rejected)
        return np.asarray(directions @ positive - against, np.float32)

    def _suggested(self, positives: Sequence[Cells], rejected: Sequence[Cells]) -> float:
        """Return the middle between what is not wanted and the wanted example that is least like the others."""
        seen = [
            float(self._likeness(each[None], _mean([other for other in positives if other is not each]))[0])
            for each in positives
            if len(positives) > 1
        ] or [OF_ANOTHER]
        unwanted = [float(self._likeness(each[None], self._positive)[0]) for each in rejected]
        least, most = THRESHOLDS
        return min(max((min([1.0, *seen]) + max([0.0, *unwanted])) / 2, least), most)


@dataclass(frozen=True, slots=True, eq=False)
class _Standard:
    """Makes features have mean 0 and standard deviation 1 over the examples' windows."""

    mean: Cells
    spread: Cells

    @classmethod
    def of(cls, features: Sequence[Cells]) -> _Standard:
        every = np.concatenate(features)
        return cls(every.mean(axis=0), every.std(axis=0) + _FLOOR)

    def __call__(self, features: Cells) -> Cells:
        return (features - self.mean) / self.spread


@dataclass(frozen=True, slots=True, eq=False)
class _Pooled:
    """The mean direction of each example of a view, and of what lies round them; None where nothing does."""

    positives: list[Cells]
    rejected: list[Cells]
    background: Cells | None

    @classmethod
    def of(cls, view: View, directions: Cells) -> _Pooled:
        near = np.zeros((CELLS, CELLS), bool)
        for each in view.examples:
            if each.is_positive:
                diameter = 2 * np.sqrt(float(each.covered.sum()) / np.pi)
                away = ndimage.distance_transform_edt(each.covered == 0)
                near |= away <= max(LEAST_RING, RING_SHARE * diameter)
        free = ~view.taken & view.in_image
        round_them = near & free if (near & free).any() else free
        return cls(
            [_pool(directions, each.covered) for each in view.examples if each.is_positive],
            [_pool(directions, each.covered) for each in view.examples if not each.is_positive],
            directions[round_them.ravel()].mean(axis=0) if near.any() and round_them.any() else None,
        )


def _pool(directions: Cells, covered: NDArray[np.float32]) -> Cells:
    """Return the mean of the cells that an example covers; of one smaller than a cell by the shares."""
    weights = np.where(covered >= COVERED, covered, 0)
    if not weights.any():
        weights = covered
    return np.asarray(np.average(directions, axis=0, weights=weights.ravel()), np.float32)


def _mean(directions: Sequence[Cells]) -> Cells:
    return np.asarray(np.mean(directions, axis=0), np.float32)
