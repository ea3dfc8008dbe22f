"""How well all objects of an image were found, each once: the metrics of nucleus segmentation.

Found and true objects are label images, integer ``(H, W)``, 0 background. What is said of empty images: both empty is
right (1), one empty is wrong (0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]

#: A found and a true object are a match above this IoU; no object can have two (Kirillov et al. 2019, sec. 3.1).
MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """The scores of one image.

    Attributes:
        dice, iou: of the foreground.
        aji: aggregated Jaccard index.
        true_positives, false_positives, false_negatives: matched, found alone, true alone.
        matched_iou: sum of the IoU of the matches.
    """

    dice: float
    iou: float
    aji: float
    true_positives: int
    false_positives: int
    false_negatives: int
    matched_iou: float

    @property
    def dq(self) -> float:
        """Detection quality: F1 of the objects at `MATCH_IOU`."""
        return f1(self.true_positives, self.false_positives, self.false_negatives)

    @property
    def sq(self) -> float | None:
        """Segmentation quality: mean IoU of the matches; None where there are none."""
        return self.matched_iou / self.true_positives if self.true_positives else None

    @property
    def pq(self) -> float:
        """Panoptic quality (Kirillov et al. 2019, "Panoptic segmentation", eq. 1): DQ times SQ."""
        sq = self.sq
        return self.dq if sq is None else self.dq * sq


def f1(true_positives: int, false_positives: int, false_negatives: int) -> float:
    """Return 2 TP / (2 TP + FP + FN); 1 where there is nothing and nothing was found."""
    of = 2 * true_positives + false_positives + false_negatives
    return 2 * true_positives / of if of else 1.0


def score_instances(found: Labels, truth: Labels) -> InstanceScores:
    """Score one image.

    Args:
        found, truth: of one shape. Values are names: they need not be the same or without gaps.

    Raises:
        ValueError: their shapes differ.
    """
    if found.shape != truth.shape:
        raise ValueError(f"found objects are {found.shape} and true ones {truth.shape}; compare the same pixels")
    both = _intersections(found, truth)
    inside_found, inside_truth = int(np.count_nonzero(found)), int(np.count_nonzero(truth))
    shared = int(both.sum())
    either = inside_found + inside_truth - shared
    areas_found, areas_truth = _areas(found), _areas(truth)
    ratios = both / np.maximum(areas_truth[:, None] + areas_found[None] - both, 1)
    matches = ratios[ratios > MATCH_IOU]
    count = len(matches)
    return InstanceScores(
        dice=2 * shared / (inside_found + inside_truth) if either else 1.0,
        iou=shared / either if either else 1.0,
        aji=_aji(both, ratios, areas_truth, areas_found),
        true_positives=count,
        false_positives=len(areas_found) - count,
        false_negatives=len(areas_truth) - count,
        matched_iou=float(matches.sum()),
    )


def _aji(
    both: NDArray[np.int64], ratios: NDArray[np.float64], truth: NDArray[np.int64], found: NDArray[np.int64]
) -> float:
    """Return the aggregated Jaccard index (Kumar et al. 2017, IEEE TMI 36:1550, algorithm 1).

    Each true object is held against the found one of the highest IoU, which may serve several; those that serve none
    add their area to the union.
    """
    if not len(truth) or not len(found):
        return float(len(truth) == len(found))
    best = ratios.argmax(axis=1)
    rows = np.arange(len(truth))
    met = both[rows, best]
    used = np.zeros(len(found), bool)
    used[best[met > 0]] = True
    # Without any overlap there is no best one: the true object counts alone.
    union = np.where(met > 0, truth + found[best] - met, truth).sum() + found[~used].sum()
    return float(met.sum() / union)


def _intersections(found: Labels, truth: Labels) -> NDArray[np.int64]:
    """Return the shared px of each true (rows) and each found (columns) object, both by rising value."""
    of_truth, of_found = _compact(truth), _compact(found)
    columns = int(of_found.max(initial=0)) + 1
    rows = int(of_truth.max(initial=0)) + 1
    counts = np.bincount((of_truth * columns + of_found).ravel(), minlength=rows * columns)
    return counts.reshape(rows, columns)[1:, 1:]


def _areas(labels: Labels) -> NDArray[np.int64]:
    return np.unique(labels[labels != 0], return_counts=True)[1].astype(np.int64)


def _compact(labels: Labels) -> NDArray[np.int64]:
    """Return objects numbered from 1 by rising value; 0 stays."""
    values = np.unique(labels[labels != 0])
    return np.where(labels != 0, np.searchsorted(values, labels) + 1, 0).astype(np.int64)
