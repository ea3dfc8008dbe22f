"""Images that QuPath shows turned, flipped or cropped, read from the image beneath.

Each wrapper moves the window and then the pixels, so that whatever reads the image beneath stays untouched.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from qupath_sam.errors import InvalidRequest, SlideMismatch
from qupath_sam.slides.base import Level, SlideInfo, SlideReader
from qupath_sam.slides.fingerprint import fingerprint
from qupath_sam.slides.pyramid import plausible_mpp
from qupath_sam.slides.resampling import WHITE, check_window
from qupath_sam.types.regions import Region, Window


class Orientation(Enum):
    """How the image lies compared with the one beneath; rotations are clockwise, as in QuPath."""

    ROTATE_90 = "rotated by 90"
    ROTATE_180 = "rotated by 180"
    ROTATE_270 = "rotated by 270"
    FLIP_HORIZONTAL = "flipped left to right"
    FLIP_VERTICAL = "flipped upside down"

    @property
    def swaps_sides(self) -> bool:
        """Whether width becomes height."""
        return self in (Orientation.ROTATE_90, Orientation.ROTATE_270)

    def region_beneath(self, region: Region, size: tuple[int, int]) -> Region:
        """Return the part of the image beneath that ``region`` shows.

        Args:
            size: width and height of the *oriented* image. ``RotatedImageServer.rotateRequest`` has the same sums.
        """
        left, top = size[0] - region.right, size[1] - region.bottom
        match self:
            case Orientation.ROTATE_90:
                return Region(region.y, left, region.height, region.width)
            case Orientation.ROTATE_180:
                return Region(left, top, region.width, region.height)
            case Orientation.ROTATE_270:
                return Region(top, region.x, region.height, region.width)
            case Orientation.FLIP_HORIZONTAL:
                return Region(left, region.y, region.width, region.height)
            case Orientation.FLIP_VERTICAL:
                return Region(region.x, top, region.width, region.height)

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the pixels of the image beneath, turned or flipped to lie as this image does; C-contiguous."""
        match self:
            case Orientation.ROTATE_90:
                turned = np.rot90(pixels, -1)
            case Orientation.ROTATE_180:
                turned = np.rot90(pixels, 2)
            case Orientation.ROTATE_270:
                turned = np.rot90(pixels, 1)
            case Orientation.FLIP_HORIZONTAL:
                turned = pixels[:, ::-1]
            case Orientation.FLIP_VERTICAL:
                turned = pixels[::-1]
        return np.ascontiguousarray(turned)

    @property
    def inverse(self) -> Orientation:
        """What undoes this."""
        turns = {Orientation.ROTATE_90: Orientation.ROTATE_270, Orientation.ROTATE_270: Orientation.ROTATE_90}
        return turns.get(self, self)


class OrientedReader:
    """A turned or flipped image. Closing it closes the image beneath."""

    def __init__(self, beneath: SlideReader, orientation: Orientation) -> None:
        self._beneath = beneath
        self._orientation = orientation
        below = beneath.info
        swap = orientation.swaps_sides
        width, height = (below.height, below.width) if swap else (below.width, below.height)
        self._info = replace(
            below,
            width=width,
            height=height,
            levels=tuple(Level(v.downsample, v.height, v.width) for v in below.levels) if swap else below.levels,
            fingerprint=fingerprint(below.fingerprint, orientation.name),
            extent=orientation.inverse.region_beneath(below.extent, (below.width, below.height)),
        )

    @property
    def info(self) -> SlideInfo:
        """The image beneath, turned."""
        return self._info

    def read(self, window: Window) -> NDArray[np.uint8]:
        """See `qupath_sam.slides.base.SlideReader.read`."""
        check_window(window, self._info.extent)
        region = self._orientation.region_beneath(window.region, (self._info.width, self._info.height))
        swap = self._orientation.swaps_sides
        width, height = (window.height, window.width) if swap else (window.width, window.height)
        return self._orientation.apply(self._beneath.read(Window(region, width, height)))

    def close(self) -> None:
        """See `qupath_sam.slides.base.SlideReader.close`."""
        self._beneath.close()


class CroppedReader:
    """A part of an image with its own origin; white outside. Closing it closes the image beneath."""

    def __init__(self, beneath: SlideReader, crop: Region) -> None:
        """Crop to ``crop``, in level-0 px of the image beneath.

        Raises:
            SlideMismatch: the crop does not lie inside the image beneath.
        """
        below = beneath.info
        if not Region(0, 0, below.width, below.height).encloses(crop):
            raise SlideMismatch(
                f"the crop {crop} is not inside the image of {below.width} x {below.height} px beneath; "
                "check that the project points to the right file"
            )
        self._beneath = beneath
        self._crop = crop
        extent = crop.intersection(below.extent)
        if extent is None:
            raise SlideMismatch(f"the crop {crop} has no pixels; check that the project points to the right file")
        self._info = replace(
            below,
            width=crop.width,
            height=crop.height,
            levels=tuple(_cropped_level(level, crop) for level in below.levels),
            fingerprint=fingerprint(below.fingerprint, "cropped", crop),
            extent=Region(extent.x - crop.x, extent.y - crop.y, extent.width, extent.height),
        )

    @property
    def info(self) -> SlideInfo:
        """The image beneath, cropped."""
        return self._info

    def read(self, window: Window) -> NDArray[np.uint8]:
        """See `qupath_sam.slides.base.SlideReader.read`."""
        extent, region = self._info.extent, window.region
        check_window(window, extent)
        moved = Region(region.x + self._crop.x, region.y + self._crop.y, region.width, region.height)
        pixels = self._beneath.read(Window(moved, window.width, window.height))
        if extent.encloses(region):
            return pixels
        left, top = _first_inside(window, extent.x, extent.y)
        right, bottom = _first_inside(window, extent.right, extent.bottom)
        inside = np.full_like(pixels, WHITE)
        inside[top:bottom, left:right] = pixels[top:bottom, left:right]
        return inside

    def close(self) -> None:
        """See `qupath_sam.slides.base.SlideReader.close`."""
        self._beneath.close()


def _first_inside(window: Window, x: int, y: int) -> tuple[int, int]:
    """Return the first column and row of the window whose centre is not before level-0 ``(x, y)``."""
    column, row = window.to_window(x, y)
    return _clipped(column, window.width), _clipped(row, window.height)


def _clipped(edge: float, count: int) -> int:
    return min(max(int(np.ceil(edge - 0.5 - 1e-6)), 0), count)


def _cropped_level(level: Level, crop: Region) -> Level:
    return Level(
        level.downsample,
        max(1, round(crop.width / level.downsample)),
        max(1, round(crop.height / level.downsample)),
    )


class CalibratedReader:
    """An image whose pixel size QuPath states otherwise than the file, because a user has set it there."""

    def __init__(self, beneath: SlideReader, mpp: float) -> None:
        self._beneath = beneath
        believed, remark = plausible_mpp(mpp, mpp)
        self._info = replace(beneath.info, mpp=believed, mpp_remark=remark)

    @property
    def info(self) -> SlideInfo:
        """The image beneath, with the stated pixel size. Pixels and fingerprint are the same."""
        return self._info

    def read(self, window: Window) -> NDArray[np.uint8]:
        """See `qupath_sam.slides.base.SlideReader.read`."""
        return self._beneath.read(window)

    def close(self) -> None:
        """See `qupath_sam.slides.base.SlideReader.close`."""
        self._beneath.close()


def calibrated(slide: SlideReader, mpp: float | None) -> SlideReader:
    """Return the slide with the pixel size (um per level-0 px) that the caller gives; None takes its own.

    Raises:
        InvalidRequest: it is no positive number. A size that no microscope has goes into the remarks and is not used.
    """
    if mpp is None:
        return slide
    if not (math.isfinite(mpp) and mpp > 0):
        raise InvalidRequest(f"a pixel size of {mpp} um is none; send a positive number, or 0 for the slide's own")
    return CalibratedReader(slide, mpp)
