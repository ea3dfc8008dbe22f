"""From the px of a window to level 0."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.types.regions import Window


def place(geometry: Polygon | MultiPolygon, window: Window, *, at: tuple[int, int] = (0, 0)) -> Polygon | MultiPolygon:
    """Move a geometry from window px to level-0 px (both on pixel edges).

    Lattice coordinates become ``region.x + column * scale``: whole numbers again where the downsample is one, as in
    QuPath.

    Args:
        geometry: window px, counted from ``at``.
        window: where it lies.
        at: column and row of the window at which the traced mask begins.
    """
    scale = np.array(window.scale)
    offset = np.array([window.region.x, window.region.y], np.float64)

    def to_level0(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        level0: NDArray[np.float64] = (coordinates + at) * scale + offset
        return level0

    placed: Polygon | MultiPolygon = shapely.transform(geometry, to_level0)
    return placed
