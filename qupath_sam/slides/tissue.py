"""Where a slide has tissue, roughly: for work that is not worth doing on glass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qupath_sam.slides.base import SlideInfo, SlideReader
from qupath_sam.types.regions import Region, Window

#: Longer side of the picture that is looked at, px.
MAP_SIZE = 1024
#: Saturation (0..255) below which a pixel is glass whatever Otsu's threshold says, and the least it may be.
GLASS_SATURATION = 8


def tissue_map(reader: SlideReader) -> NDArray[np.bool_]:
    """Return tissue in a small picture of the whole extent: saturation above Otsu's threshold.

    Source: Otsu 1979, on HSV saturation as CLAM does (Lu et al. 2021, Methods, "WSI processing").

    Returns:
        bool ``(H, W)`` over `SlideInfo.extent`, longer side at most `MAP_SIZE`.
    """
    extent = reader.info.extent
    downsample = max(1.0, max(extent.width, extent.height) / MAP_SIZE)
    pixels = reader.read(Window.of(extent, downsample)).astype(np.int16)
    brightest, darkest = pixels.max(axis=2), pixels.min(axis=2)
    saturation = (255 * (brightest - darkest) // np.maximum(brightest, 1)).astype(np.uint8)
    return np.asarray(saturation > max(GLASS_SATURATION, min(_otsu(saturation), 40)))


def has_tissue(tissue: NDArray[np.bool_], region: Region, info: SlideInfo) -> bool:
    """Return whether any tissue lies in a region (level-0 px) of the slide that the map was made of."""
    height, width = tissue.shape
    sx, sy = width / info.extent.width, height / info.extent.height
    left, top = int((region.x - info.extent.x) * sx), int((region.y - info.extent.y) * sy)
    right = int(np.ceil((region.right - info.extent.x) * sx))
    bottom = int(np.ceil((region.bottom - info.extent.y) * sy))
    return bool(tissue[max(0, top) : max(0, bottom), max(0, left) : max(0, right)].any())


def _otsu(values: NDArray[np.uint8]) -> int:
    """Return the threshold that parts the histogram with the largest variance between both sides."""
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    below = np.cumsum(counts)
    sums = np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums[-1] * below / below[-1] - sums) ** 2 / (below * above)
    return int(np.nanargmax(np.where((below > 0) & (above > 0), between, -1.0)))
