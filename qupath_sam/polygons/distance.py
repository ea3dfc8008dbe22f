"""Areas on a grid of cells, and how far each cell is from the border: what masks of several windows are blended with.

Cells are counted from the image's corner; cell (i, j) covers ``[i, i + 1] x [j, j + 1]`` in cell units.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from shapely.geometry import MultiPolygon, Polygon

#: Distances are known up to here, cells; disagreements of windows up to this size are smoothed over.
LIMIT = 32


def rasterize(geometry: Polygon | MultiPolygon, x: int, y: int, width: int, height: int) -> NDArray[np.bool_]:
    """Return which cells have their centre in a geometry, by counting crossings from the left (even-odd rule).

    Args:
        geometry: valid, cell units.
        x, y: first column and row.
        width, height: number of columns and rows.

    Returns:
        bool ``(height, width)``.
    """
    crossings = np.zeros((height, width + 1), np.int32)
    for ring in shapely.get_rings(shapely.get_parts(geometry)):
        points = shapely.get_coordinates(ring) - (x, y)
        (x0, y0), (x1, y1) = points[:-1].T, points[1:].T
        low, high = np.minimum(y0, y1), np.maximum(y0, y1)
        first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)
        last = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64)
        count = last - first
        edge = np.repeat(np.arange(len(count)), count)
        rows = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        at = x0[edge] + (rows + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
        columns = np.clip(np.ceil(at - 0.5), 0, width).astype(np.int64)
        np.add.at(crossings, (rows, columns), 1)
    inside: NDArray[np.bool_] = np.cumsum(crossings[:, :width], axis=1) % 2 == 1
    return inside


def signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance of each cell's centre to the border: positive inside, at most `LIMIT` either way.

    Args:
        mask: bool ``(H, W)``; what lies beyond is taken to be as its nearest cell.

    Returns:
        float32 ``(H, W)``, cells; never 0, so that its sign is the mask again.
    """
    # The nearest cell of the other kind is a cell away where its border is half a cell away.
    inside = np.minimum(distance_transform_edt(mask), LIMIT) if not mask.all() else np.full(mask.shape, LIMIT)
    outside = np.minimum(distance_transform_edt(~mask), LIMIT) if mask.any() else np.full(mask.shape, LIMIT)
    signed: NDArray[np.float32] = np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)
    return signed
