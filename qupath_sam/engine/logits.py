"""Logits on the low-resolution grid: as the prompt for what is known of an object, and as the mask that is traced."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.models.base import LOW_RES_SIZE
from qupath_sam.types.regions import Window

#: Logit given to the inside (and minus it to the outside) of an outline that becomes a mask prompt.
OUTLINE_LOGIT = 6.0
#: The outline is traced on a grid of at most this many px a side, unless the window itself has more.
MAX_TRACED_SIDE = 4 * LOW_RES_SIZE


def outline_logits(outline: Polygon | MultiPolygon, window: Window) -> NDArray[np.float32]:
    """Return an outline as logits of a previous mask: plus or minus `OUTLINE_LOGIT` at each low-resolution px.

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
    """Resample logits over one window for another: bilinear between px centres, `-OUTLINE_LOGIT` where unknown.

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
    """Return for each target px the source px before its centre, the next one's weight, and whether it is inside."""
    centres = target + (np.arange(LOW_RES_SIZE) + 0.5) * target_length / LOW_RES_SIZE
    position = (centres - source) * LOW_RES_SIZE / source_length - 0.5
    known = (position >= -0.5) & (position <= LOW_RES_SIZE - 0.5)
    position = np.clip(position, 0, LOW_RES_SIZE - 1)
    before = np.minimum(np.floor(position).astype(np.int64), LOW_RES_SIZE - 2)
    return before, (position - before).astype(np.float32), known


def traced_grid(window: Window) -> Window:
    """Return the grid on which a window's outline is traced: level-0 px, as far as `MAX_TRACED_SIDE` allows.

    A window of 256 px that shows 1024 level-0 px would give an outline in steps of 4 px; the logits between its pixel
    centres say more than that. Windows at level 0 or finer, and windows that are large enough, stay as they are.
    """
    region = window.region
    shrink = min(1.0, MAX_TRACED_SIDE / max(region.width, region.height))
    width, height = round(region.width * shrink), round(region.height * shrink)
    if width <= window.width and height <= window.height:
        return window
    return Window(region, max(width, window.width), max(height, window.height))


def mask_on_grid(
    mask: NDArray[np.bool_], logits: NDArray[np.float32], window: Window, grid: Window
) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Return the mask on the grid, cropped to what is set: bilinear logits above 0, as SAM enlarges its masks.

    Args:
        mask: bool ``(window.height, window.width)``.
        logits: float32 ``(LOW_RES_SIZE, LOW_RES_SIZE)`` over the whole window.
        window: where both lie.
        grid: from `traced_grid`.

    Returns:
        The mask, and the column and row of the grid at which it begins.
    """
    if grid == window:
        return mask, (0, 0)
    columns, rows = _span(logits.max(axis=0), grid.width), _span(logits.max(axis=1), grid.height)
    if columns is None or rows is None:
        return np.zeros((1, 1), bool), (0, 0)
    (x0, x1), (y0, y1) = columns, rows
    sx, sy = LOW_RES_SIZE / grid.width, LOW_RES_SIZE / grid.height
    enlarged = Image.fromarray(logits).resize(
        (x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=(x0 * sx, y0 * sy, x1 * sx, y1 * sy)
    )
    return np.asarray(enlarged) > 0, (x0, y0)


def _span(highest: NDArray[np.float32], side: int) -> tuple[int, int] | None:
    """Return the first and last (exclusive) px of a grid's side where enlarged logits may be above 0; None if nowhere.

    Args:
        highest: of each row or column of the logits.
        side: of the grid, px.
    """
    found = np.flatnonzero(highest > 0)
    if found.size == 0:
        return None
    if side < LOW_RES_SIZE:
        return 0, side
    # Bilinear values above 0 reach less than one low-resolution px beyond the px that are set.
    first, last = max(0, int(found[0]) - 1), min(LOW_RES_SIZE, int(found[-1]) + 2)
    return first * side // LOW_RES_SIZE, -(-last * side // LOW_RES_SIZE)
