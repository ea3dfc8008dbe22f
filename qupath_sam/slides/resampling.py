"""From the levels of a slide to the pixels of one window: exact to the half pixel, in bounded memory.

Window px ``i`` covers level-0 ``[x + i s, x + (i + 1) s]``. It shows the slide where its centre lies in the extent and
is white elsewhere. (Where one px covers more than `LARGEST_RATIO` px of the level, an edge px is a mixture of both.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.errors import InvalidRegion
from qupath_sam.slides.pyramid import choose_level
from qupath_sam.types.regions import Region, Window

WHITE = 255
MAX_WINDOW_PX = 2**26
"""Largest window (192 MiB of RGB)."""
MAX_SOURCE_PX = 2**32
"""Most level px that one read may touch; a one-level slide of 65536 x 65536 px is just read whole."""
BLOCK_SIDE = 4096
"""Level px are read in blocks of about this side, so that memory does not grow with the downsample."""
LARGEST_RATIO = 64.0
"""A window coarser than this, compared with the level, is reduced in two steps: a block then holds several px."""
_EPSILON = 1e-6

ReadLevel = Callable[[Region], NDArray[np.uint8]]
"""Pixels of a rectangle in *level* px that lies inside the level: uint8 ``(height, width, 3)`` RGB."""


@dataclass(frozen=True, slots=True)
class Raster:
    """Pixels laid on level 0: a level of a slide, or what a client pushed.

    Attributes:
        x, y: top-left corner in level-0 px.
        scale: level-0 px per raster px, ``(x, y)``.
        width, height: in raster px.
        read: gives the pixels of a rectangle in raster px, inside the raster.
    """

    x: float
    y: float
    scale: tuple[float, float]
    width: int
    height: int
    read: ReadLevel


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a grid of pixels to be computed: ``count`` px of ``step`` level-0 px, from level-0 ``start``."""

    start: float
    step: float
    count: int

    def part(self, first: int, last: int) -> _Axis:
        return _Axis(self.start + first * self.step, self.step, last - first)

    def refined(self, factor: int) -> _Axis:
        return _Axis(self.start, self.step / factor, self.count * factor)

    def centres_within(self, low: float, high: float) -> tuple[int, int]:
        """Return the range of px whose centres lie in ``[low, high)``."""
        first = math.ceil((low - self.start) / self.step - 0.5 - _EPSILON)
        last = math.ceil((high - self.start) / self.step - 0.5 - _EPSILON)
        first = min(max(first, 0), self.count)
        return first, min(max(last, first), self.count)


def check_window(window: Window, extent: Region) -> None:
    """Refuse a window that shows nothing, or more than one answer should hold.

    Raises:
        InvalidRegion: the window lies wholly outside ``extent``, or has more than `MAX_WINDOW_PX` px.
    """
    if window.width * window.height > MAX_WINDOW_PX:
        raise InvalidRegion(
            f"a window of {window.width} x {window.height} px is more than the {MAX_WINDOW_PX} px of one read; "
            "read it in parts or with a higher downsample"
        )
    if extent.intersection(window.region) is None:
        raise InvalidRegion(
            f"the window {_describe(window.region)} lies outside the image's pixels {_describe(extent)}; "
            "coordinates are level-0 px of the whole image"
        )


def read_window(window: Window, rasters: Sequence[Raster], extent: Region) -> NDArray[np.uint8]:
    """Read the pixels of ``window`` from the raster that suits it: uint8 ``(height, width, 3)`` RGB, C-contiguous.

    Args:
        rasters: finest first.
        extent: level-0 px that have pixels; the rest is white.

    Raises:
        InvalidRegion: see `check_window`; or more than `MAX_SOURCE_PX` level px would have to be read.
    """
    check_window(window, extent)
    scale = window.scale
    raster = rasters[choose_level((min(r.scale) for r in rasters), min(scale))]
    _check_work(window, raster, extent)
    across = _Axis(window.region.x, scale[0], window.width)
    down = _Axis(window.region.y, scale[1], window.height)
    return _read_grid(raster, across, down, extent)


def read_scaled(raster: Raster, x: float, y: float, step: float, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Compute the px of another grid from a raster's: uint8 ``(height, width, 3)``.

    Args:
        x, y: top-left corner of the grid, in level-0 px; its px lie inside the raster.
        step: level-0 px per px of the grid.
        size: width and height in px of the grid.
    """
    around = Region(math.floor(x) - 1, math.floor(y) - 1, math.ceil(size[0] * step) + 2, math.ceil(size[1] * step) + 2)
    return _read_grid(raster, _Axis(x, step, size[0]), _Axis(y, step, size[1]), around)


def _check_work(window: Window, raster: Raster, extent: Region) -> None:
    touched = extent.intersection(window.region)
    assert touched is not None  # check_window has seen to it
    pixels = touched.width / raster.scale[0] * (touched.height / raster.scale[1])
    if pixels > MAX_SOURCE_PX:
        raise InvalidRegion(
            f"downsample {window.downsample:.4g} of a region of {touched.width} x {touched.height} px would read "
            f"{pixels / 1e9:.1f} gigapixels, because the slide has no level near that downsample; read a smaller "
            "region, or convert the slide to a pyramid"
        )


def _read_grid(raster: Raster, across: _Axis, down: _Axis, extent: Region) -> NDArray[np.uint8]:
    left, right = across.centres_within(extent.x, extent.right)
    top, bottom = down.centres_within(extent.y, extent.bottom)
    inside_across, inside_down = across.part(left, right), down.part(top, bottom)
    blocks = list(_blocks(raster, inside_across, inside_down))
    if len(blocks) == 1 and (inside_across.count, inside_down.count) == (across.count, down.count):
        return _read_block(raster, across, down, extent)
    out = np.full((down.count, across.count, 3), WHITE, np.uint8)
    for x0, x1, y0, y1 in blocks:
        out[top + y0 : top + y1, left + x0 : left + x1] = _read_block(
            raster, inside_across.part(x0, x1), inside_down.part(y0, y1), extent
        )
    return out


def _blocks(raster: Raster, across: _Axis, down: _Axis) -> Iterator[tuple[int, int, int, int]]:
    """Yield parts ``(x0, x1, y0, y1)`` of a grid, each needing at most about `BLOCK_SIDE` raster px a side."""
    width = max(1, int(BLOCK_SIDE * raster.scale[0] / across.step))
    height = max(1, int(BLOCK_SIDE * raster.scale[1] / down.step))
    for y in range(0, down.count, height):
        for x in range(0, across.count, width):
            yield x, min(x + width, across.count), y, min(y + height, down.count)


def _read_block(raster: Raster, across: _Axis, down: _Axis, extent: Region) -> NDArray[np.uint8]:
    ratio = across.step / raster.scale[0], down.step / raster.scale[1]
    if max(ratio) > LARGEST_RATIO:
        by = math.ceil(ratio[0] / LARGEST_RATIO), math.ceil(ratio[1] / LARGEST_RATIO)
        finer = _read_grid(raster, across.refined(by[0]), down.refined(by[1]), extent)
        return np.array(Image.fromarray(finer).reduce(by))
    x0 = (across.start - raster.x) / raster.scale[0]
    y0 = (down.start - raster.y) / raster.scale[1]
    box = _snapped(x0), _snapped(y0), _snapped(x0 + across.count * ratio[0]), _snapped(y0 + down.count * ratio[1])
    return _resample(raster, box, (across.count, down.count))


def _resample(raster: Raster, box: tuple[float, float, float, float], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resample ``box`` (left, top, right, bottom in raster px; may stand over the edge) to ``size`` px."""
    x0, y0, x1, y1 = box
    ratio = _snapped((x1 - x0) / size[0]), _snapped((y1 - y0) / size[1])
    if all(float(v).is_integer() for v in (*ratio, x0, y0)) and min(ratio) >= 1:
        pixels, (left, top) = _read_padded(raster, box, margin=(0, 0))
        pixels = pixels[int(y0) - top : int(y1) - top, int(x0) - left : int(x1) - left]
        if ratio == (1, 1):
            own = pixels.base is None and pixels.flags.c_contiguous and pixels.flags.writeable
            return pixels if own else pixels.copy()  # a reader's own memory is not the caller's to change
        return np.array(Image.fromarray(pixels).reduce((int(ratio[0]), int(ratio[1]))))
    # A triangle for enlarging and shifting, Hamming's window for shrinking: like an average over the area, but
    # without the jumps of a box that takes in now one and now two px. Neither leaves the range of its px.
    method = Image.Resampling.BILINEAR if max(ratio) <= 1.01 else Image.Resampling.HAMMING
    # Both reach one px (the coarser of both sides) to either side of a centre, so half a px beyond the box.
    margin = math.ceil(max(1.0, ratio[0] / 2)) + 1, math.ceil(max(1.0, ratio[1] / 2)) + 1
    pixels, (left, top) = _read_padded(raster, box, margin=margin)
    resized = Image.fromarray(pixels).resize(size, method, box=(x0 - left, y0 - top, x1 - left, y1 - top))
    return np.array(resized)


def _read_padded(
    raster: Raster, box: tuple[float, float, float, float], *, margin: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return the px under ``box`` and ``margin`` px around it, as far as there are any, and the position of the first.

    Inside the box the raster's edge px are repeated where it ends: levels are rounded, often down, so that the last px
    of a window may stand over a level although its centre is inside the slide.
    """
    x0, y0, x1, y1 = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
    left, right = _clip(x0 - margin[0], raster.width - 1), _clip(x1 + margin[0], raster.width)
    top, bottom = _clip(y0 - margin[1], raster.height - 1), _clip(y1 + margin[1], raster.height)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    pixels = raster.read(Region(left, top, right - left, bottom - top))
    before = max(0, top - y0), max(0, left - x0)
    after = max(0, y1 - bottom), max(0, x1 - right)
    if any(before) or any(after):
        pixels = np.pad(pixels, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="edge")
    return pixels, (left - before[1], top - before[0])


def _clip(value: int, high: int) -> int:
    return min(max(value, 0), high)


def _snapped(value: float) -> float:
    """Return the nearest whole number where rounding noise is all that separates them."""
    nearest = round(value)
    return float(nearest) if abs(value - nearest) < _EPSILON else value


def _describe(region: Region) -> str:
    return f"x {region.x}..{region.right}, y {region.y}..{region.bottom}"
