"""From a window's mask to the grid on which its outline is traced."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.models.base import LOW_RES_SIZE
from qupath_sam.regions import Region, Window

#: The outline is traced on a grid of at most this many px a side, unless the window itself has more.
MAX_TRACED_SIDE = 4 * LOW_RES_SIZE


def traced_grid(window: Window) -> Window:
    """The grid on which a window's outline is traced: level-0 px, as far as `MAX_TRACED_SIDE` allows.

    A window of 256 px that shows 1024 level-0 px would give an outline in steps of 4 px; the logits between its pixel
    centres say more than that. Windows at level 0 or finer, and windows that are large enough, stay as they are.
    """
    factor = min(round(max(window.scale)), MAX_TRACED_SIDE // max(window.width, window.height))
    if factor <= 1:
        return window
    return Window(window.region, window.width * factor, window.height * factor)


def mask_on_grid(
    mask: NDArray[np.bool_], logits: NDArray[np.float32], window: Window, grid: Window
) -> tuple[NDArray[np.bool_], Window]:
    """The mask on the grid, cropped to what is set: bilinear logits above 0, as SAM enlarges its masks.

    Args:
        mask: bool ``(window.height, window.width)``.
        logits: float32 ``(LOW_RES_SIZE, LOW_RES_SIZE)`` over the whole window.
        window: where both lie.
        grid: from `traced_grid`.

    Returns:
        The mask and the window it covers: ``window`` itself where it is the grid, else a part of the grid.
    """
    if grid == window:
        return mask, window
    inside = logits > 0
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if rows.size == 0:
        return np.zeros((1, 1), bool), Window(Region(window.region.x, window.region.y, 1, 1), 1, 1)
    # Bilinear values above 0 reach less than one low-resolution px beyond the px that are set.
    top, bottom = max(0, int(rows[0]) - 1), min(LOW_RES_SIZE, int(rows[-1]) + 2)
    left, right = max(0, int(columns[0]) - 1), min(LOW_RES_SIZE, int(columns[-1]) + 2)
    x0, x1 = left * grid.width // LOW_RES_SIZE, -(-right * grid.width // LOW_RES_SIZE)
    y0, y1 = top * grid.height // LOW_RES_SIZE, -(-bottom * grid.height // LOW_RES_SIZE)
    sx, sy = LOW_RES_SIZE / grid.width, LOW_RES_SIZE / grid.height
    enlarged = Image.fromarray(logits).resize(
        (x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=(x0 * sx, y0 * sy, x1 * sx, y1 * sy)
    )
    scale_x, scale_y = grid.scale
    region = Region(
        grid.region.x + round(x0 * scale_x),
        grid.region.y + round(y0 * scale_y),
        round((x1 - x0) * scale_x),
        round((y1 - y0) * scale_y),
    )
    return np.asarray(enlarged) > 0, Window(region, x1 - x0, y1 - y0)
