"""Masks as prompts: the logits that a model is given for what is known of an object already."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.models.base import LOW_RES_SIZE
from qupath_sam.types.regions import Window

#: Logit given to the inside (and minus it to the outside) of an outline that becomes a mask prompt.
OUTLINE_LOGIT = 6.0


def outline_logits(outline: Polygon | MultiPolygon, window: Window) -> NDArray[np.float32]:
    """An outline as the logits of a previous mask: plus or minus `OUTLINE_LOGIT` at each low-resolution px's centre.

    Args:
        outline: level-0 px.
        window: what the logits cover.

    Returns:
        float32 ``(LOW_RES_SIZE, LOW_RES_SIZE)``.
    """
    region = window.region
    xs = region.x + (np.arange(LOW_RES_SIZE) + 0.5) * region.width / LOW_RES_SIZE
    ys = region.y + (np.arange(LOW_RES_SIZE) + 0.5) * region.height / LOW_RES_SIZE
    shapely.prepare(outline)
    grid_x, grid_y = np.meshgrid(xs, ys)
    inside = shapely.contains_xy(outline, grid_x, grid_y)
    return np.where(inside, OUTLINE_LOGIT, -OUTLINE_LOGIT).astype(np.float32)


def carry_logits(logits: NDArray[np.float32], source: Window, target: Window) -> NDArray[np.float32]:
    """Logits over one window as logits over another: bilinear between px centres, `-OUTLINE_LOGIT` where unknown.

    Args:
        logits: float32 ``(LOW_RES_SIZE, LOW_RES_SIZE)`` over ``source``.
        source: window that they cover.
        target: window to cover.
    """
    if source == target:
        return logits
    wide, high = (source.region.x, source.region.width), (source.region.y, source.region.height)
    columns, column_weights, column_known = _resample(*wide, target.region.x, target.region.width)
    rows, row_weights, row_known = _resample(*high, target.region.y, target.region.height)
    along_x = logits[:, columns] * (1 - column_weights) + logits[:, columns + 1] * column_weights
    both = along_x[rows] * (1 - row_weights[:, None]) + along_x[rows + 1] * row_weights[:, None]
    known = row_known[:, None] & column_known[None, :]
    return np.where(known, both, -OUTLINE_LOGIT).astype(np.float32)


def _resample(
    source: int, source_length: int, target: int, target_length: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """For each target px: the source px before its centre, the weight of the next one, and whether it is inside."""
    centres = target + (np.arange(LOW_RES_SIZE) + 0.5) * target_length / LOW_RES_SIZE
    position = (centres - source) * LOW_RES_SIZE / source_length - 0.5
    known = (position >= -0.5) & (position <= LOW_RES_SIZE - 0.5)
    position = np.clip(position, 0, LOW_RES_SIZE - 1)
    before = np.minimum(np.floor(position).astype(np.int64), LOW_RES_SIZE - 2)
    return before, (position - before).astype(np.float32), known
