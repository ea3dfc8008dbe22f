"""How well a mask fits, and what a click did besides. Each with its source and its rule for empty masks.

Masks are bool ``(H, W)`` of one shape; a click's pixel is ``(x, y)``, its column and row.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

#: Pixels that touch by an edge or a corner belong together, as in FocalClick's code for local updates.
_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def intersection_over_union(prediction: Mask, truth: Mask) -> float:
    """``|P & T| / |P | T|``, the Jaccard index (Jaccard 1912). 1 where both are empty, 0 where one is."""
    _check_shapes(prediction, truth)
    union = np.count_nonzero(prediction | truth)
    return float(np.count_nonzero(prediction & truth) / union) if union else 1.0


def dice(prediction: Mask, truth: Mask) -> float:
    """``2 |P & T| / (|P| + |T|)`` (Dice 1945). 1 where both are empty, 0 where one is."""
    _check_shapes(prediction, truth)
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return float(2 * np.count_nonzero(prediction & truth) / total) if total else 1.0


def boundary_iou(prediction: Mask, truth: Mask, *, width: int | None = None) -> float:
    """IoU of the two masks' inner rims (Cheng et al. 2021, "Boundary IoU", eq. 3).

    Args:
        prediction: the mask to judge.
        truth: the mask to judge it by.
        width: of the rims, in px; None takes the paper's 2 % of the image's diagonal, at least 1.

    Returns:
        0..1; 1 where both masks are empty, 0 where one is.
    """
    _check_shapes(prediction, truth)
    if width is None:
        width = max(1, round(0.02 * math.hypot(*prediction.shape)))
    return intersection_over_union(_rim(prediction, width), _rim(truth, width))


def harm(before: Mask, after: Mask, truth: Mask) -> float:
    """Pixels that were right before a click and are wrong after it, over the object's area.

    The wound that the histopathology papers name ("a local modification affects a large area": Kim et al., sec. 2.3)
    as a number. Before the first click the mask is empty, so the first click's harm is its false positives.

    Returns:
        0 (nothing harmed) upwards; it exceeds 1 where more is spoilt than the object is large.

    Raises:
        ValueError: the object is empty.
    """
    _check_shapes(before, truth)
    _check_shapes(after, truth)
    area = np.count_nonzero(truth)
    if area == 0:
        raise ValueError("harm is measured against the object's area: the object must not be empty")
    return float(np.count_nonzero((before == truth) & (after != truth)) / area)


def locality(before: Mask, after: Mask, pixel: tuple[int, int]) -> float:
    """Share of the changed pixels that do not hang together (8-connected) with the pixel that was clicked.

    The changed component that holds the click is what FocalClick's progressive merge would keep (Chen et al. 2022,
    sec. 3.3); the rest changed although nobody pointed there.

    Args:
        before: the mask before the click.
        after: the mask after it.
        pixel: ``(x, y)`` of the click.

    Returns:
        0 (only the clicked place changed, or nothing did) to 1 (everything changed but the clicked place).
    """
    _check_shapes(before, after)
    changed = before != after
    total = np.count_nonzero(changed)
    if total == 0:
        return 0.0
    components, _ = ndimage.label(changed, structure=_EIGHT_CONNECTED)
    clicked = components[pixel[1], pixel[0]]
    if clicked == 0:
        return 1.0
    return float(1 - np.count_nonzero(components == clicked) / total)


def _rim(mask: Mask, width: int) -> Mask:
    """The mask's pixels within ``width`` px of its outside; the image border counts as outside."""
    core = ndimage.binary_erosion(np.pad(mask, 1), structure=_EIGHT_CONNECTED, iterations=width)[1:-1, 1:-1]
    rim: Mask = mask & ~core
    return rim


def _check_shapes(one: Mask, other: Mask) -> None:
    if one.shape != other.shape:
        raise ValueError(f"masks must have the same shape, got {one.shape} and {other.shape}")
