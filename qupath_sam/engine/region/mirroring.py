"""What a tile shows beyond the image: the image mirrored, so that nothing ends where the image does."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qupath_sam.types.regions import Region, Window


def mirrored(pixels: NDArray[np.uint8], window: Window, extent: Region) -> NDArray[np.uint8]:
    """Replace what lies beyond the image by its mirror image.

    White beside a dark fluorescence image is the brightest object of all, and an edge that no tissue has.

    Args:
        pixels: uint8 ``(H, W, 3)`` RGB of the window, white outside of the image.
        window: its place.
        extent: of the image, level-0 px.

    Returns:
        The same where the image fills the window, or has no whole pixel in it.
    """
    if extent.encloses(window.region):
        return pixels
    region = window.region
    rows = _inside(region.y, region.height, window.height, extent.y, extent.bottom)
    columns = _inside(region.x, region.width, window.width, extent.x, extent.right)
    inside = pixels[rows, columns]
    if not inside.size:
        return pixels
    around = (
        (rows.start, window.height - rows.stop),
        (columns.start, window.width - columns.stop),
        (0, 0),
    )
    return np.pad(inside, around, mode="symmetric")


def _inside(start: int, length: int, count: int, low: int, high: int) -> slice:
    """Return the pixels of a window that lie wholly in the image, along one axis."""
    scale = count / length
    first = max(0, math.ceil((low - start) * scale - 1e-9))
    last = min(count, math.floor((high - start) * scale + 1e-9))
    return slice(first, max(first, last))
