"""Areas to label images: the one rule of which pixels an outline has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon


def paint(
    areas: Sequence[Polygon | MultiPolygon],
    size: tuple[int, int],
    *,
    origin: tuple[float, float] = (0, 0),
    scale: float = 1,
) -> NDArray[np.int32]:
    """Paint areas as a label image: a pixel belongs to an area that holds its centre, the last of several.

    Args:
        areas: level-0 px; area k (from 0) is painted as k + 1.
        size: ``(height, width)`` of the image, px.
        origin: of the image's top-left corner, level-0 px.
        scale: level-0 px per image px.
    """
    labels = np.zeros(size, dtype=np.int32)
    placed = shapely.transform(np.asarray(areas, dtype=object), lambda xy: (xy - np.asarray(origin)) / scale)
    for number, area in enumerate(placed, start=1):
        left, top, right, bottom = area.bounds if not area.is_empty else (0, 0, 0, 0)
        rows = np.arange(max(0, int(top)), min(size[0], int(bottom) + 1))
        columns = np.arange(max(0, int(left)), min(size[1], int(right) + 1))
        if rows.size and columns.size:
            shapely.prepare(area)
            inside = shapely.contains_xy(area, columns[None, :] + 0.5, rows[:, None] + 0.5)
            labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][inside] = number
    return labels
