"""Where a slide has tissue, roughly: for work that is not worth doing on glass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.slides.base import SlideInfo, SlideReader
from qupath_sam.types.regions import Region, Window

#: Longer side of the picture that is looked at, px.
MAP_SIZE = 1024
#: Saturation (0..255) below which a pixel is glass whatever Otsu's threshold says, and the least it may be.
GLASS_SATURATION = 8
#: Longer side of the picture of an estimate, px.
ESTIMATE_SIZE = 512
#: Darkest channel (0..255) from which on a pixel without colour is glass: black and grey are none.
GLASS_BRIGHTNESS = 190
#: Glass is one colour: in its darkest channel it lies this near to the brightest of what has no colour. Pale tissue,
#: such as that of an IHC slide without a reaction, is darker.
GLASS_RANGE = 20
#: Percentile of the px without colour that is their brightest: single ones are noise.
_BRIGHTEST = 90
#: Most px that are read for an estimate: more take longer than a click, as in a slide without small levels.
MOST_READ_PX = 2**24
#: Fewer px of the picture say nothing about an outline.
LEAST_PX = 16


def tissue_map(reader: SlideReader) -> NDArray[np.bool_]:
    """Return tissue in a small picture of the whole extent: saturation above Otsu's threshold.

    Source: Otsu 1979, on HSV saturation as CLAM does (Lu et al. 2021, Methods, "WSI processing").

    Returns:
        bool ``(H, W)`` over `SlideInfo.extent`, longer side at most `MAP_SIZE`.
    """
    return _is_coloured(reader.read(_small_window(reader.info, MAP_SIZE)))


@dataclass(frozen=True, slots=True, eq=False)
class TissueEstimate:
    """Where a slide shows glass round its tissue, in a small picture. White inside of tissue, as in lumina, is none.

    Attributes:
        glass: bool ``(H, W)``.
        window: what the picture shows.
    """

    glass: NDArray[np.bool_]
    window: Window

    @property
    def tissue_area(self) -> float:
        """Area without glass, level-0 px2."""
        sx, sy = self.window.scale
        return float(np.count_nonzero(~self.glass)) * sx * sy

    def is_glass(self, x: float, y: float) -> bool:
        """Return whether a point (level-0 px) lies on glass; False outside the picture."""
        column, row = (int(np.floor(value)) for value in self.window.to_window(x, y))
        height, width = self.glass.shape
        return 0 <= row < height and 0 <= column < width and bool(self.glass[row, column])

    def glass_share(self, outline: Polygon | MultiPolygon) -> float:
        """Return the share of an outline (level-0 px) that is glass; 0 where it has fewer than `LEAST_PX` px here."""
        height, width = self.glass.shape
        min_x, min_y = self.window.to_window(*outline.bounds[:2])
        max_x, max_y = self.window.to_window(*outline.bounds[2:])
        left, right = max(0, int(min_x)), min(width, int(np.ceil(max_x)))
        top, bottom = max(0, int(min_y)), min(height, int(np.ceil(max_y)))
        if (right - left) * (bottom - top) < LEAST_PX:
            return 0.0
        xs, ys = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        shapely.prepare(outline)
        (sx, sy), region = self.window.scale, self.window.region
        inside = shapely.contains_xy(outline, region.x + xs * sx, region.y + ys * sy)
        return float(self.glass[top:bottom, left:right][inside].mean()) if inside.sum() >= LEAST_PX else 0.0


def estimate_tissue(reader: SlideReader) -> TissueEstimate | None:
    """Return where a slide shows glass; None where that is not known.

    That is so where colour does not tell, where too much would have to be read, and where only a part of the image is
    at hand, as of pushed pixels: its edge cuts through lumina and fat, and its tissue is not all that there is.

    Glass has no colour (see `tissue_map`), is as bright as the brightest such px and reaches the image's border.
    """
    info = reader.info
    if info.extent != Region(0, 0, info.width, info.height):
        return None
    window = _small_window(info, ESTIMATE_SIZE)
    if _pixels_read(info, window.downsample) > MOST_READ_PX:
        return None
    pixels = reader.read(window)
    coloured = _is_coloured(pixels)
    if not coloured.any():
        return None
    parts, _ = ndimage.label(_is_white(pixels, coloured))
    outer = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    return TissueEstimate(np.isin(parts, outer[outer > 0]), window)


def _is_white(pixels: NDArray[np.uint8], coloured: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where px have no colour and are as bright as glass; uint8 ``(H, W, 3)`` to bool ``(H, W)``."""
    darkest = pixels.min(axis=2)
    white: NDArray[np.bool_] = ~coloured & (darkest >= GLASS_BRIGHTNESS)
    if white.any():
        white &= darkest >= np.percentile(darkest[white], _BRIGHTEST) - GLASS_RANGE
    return white


def _small_window(info: SlideInfo, size: int) -> Window:
    """Return the whole extent as a picture with a longer side of at most ``size`` px."""
    extent = info.extent
    return Window.of(extent, max(1.0, max(extent.width, extent.height) / size))


def _pixels_read(info: SlideInfo, downsample: float) -> float:
    """Return how many px of the file a picture of the whole extent needs."""
    level = max((each.downsample for each in info.levels if each.downsample <= downsample * 1.01), default=1.0)
    return info.extent.width * info.extent.height / level**2


def _is_coloured(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where saturation is above Otsu's threshold; uint8 ``(H, W, 3)`` to bool ``(H, W)``."""
    values = pixels.astype(np.int16)
    brightest, darkest = values.max(axis=2), values.min(axis=2)
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
