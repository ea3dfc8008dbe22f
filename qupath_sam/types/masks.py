"""Masks as arrays: how much two of them have in common, and the box round one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qupath_sam.types.prompts import Box

#: bool ``(H, W)``.
Mask = NDArray[np.bool_]


def intersection_over_union(prediction: Mask, truth: Mask) -> float:
    """Return ``|P & T| / |P | T|``, the Jaccard index (Jaccard 1912). 1 where both are empty, 0 where one is."""
    check_same_shape(prediction, truth)
    union = np.count_nonzero(prediction | truth)
    return float(np.count_nonzero(prediction & truth) / union) if union else 1.0


def check_same_shape(one: Mask, other: Mask) -> None:
    """Raise ValueError unless two masks can be compared."""
    if one.shape != other.shape:
        raise ValueError(f"masks must have the same shape, got {one.shape} and {other.shape}")


def box_of(mask: Mask) -> Box:
    """Return the smallest box round a mask that is not empty, px on pixel edges."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
