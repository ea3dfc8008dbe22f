"""Plain PNG, JPEG and BMP: decoded whole, once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qupath_sam.errors import SlideUnsupported
from qupath_sam.slides.base import Level, SlideInfo
from qupath_sam.slides.decoding import decode_rgb
from qupath_sam.slides.fingerprint import fingerprint
from qupath_sam.slides.location import Location
from qupath_sam.slides.raster import RasterReader, rasters_of
from qupath_sam.slides.rendering import (
    RGB_CHANNELS,
    Channel,
    Rendering,
    chosen_channels,
    composite,
    default_channels,
    full_scale,
    shown_channels,
    true_colours,
)
from qupath_sam.slides.source import Stamp, open_binary, stamp
from qupath_sam.types.regions import Region

MAX_IMAGE_PX = 89_478_485
"""Pillow's own limit, above which it warns of a decompression bomb: 256 MiB of RGB."""
FORMATS = ("PNG", "JPEG", "BMP")
_READER = f"pillow {version('pillow')}"


class ImageReader(RasterReader):
    """Holds a plain image in memory. Such files state no pixel size that could be believed."""

    def __init__(self, location: Location, *, at: Stamp | None = None, rendering: Rendering | None = None) -> None:
        """Open and decode an image.

        Args:
            at: its stamp where the caller has just taken it.
            rendering: how to show it; None shows 8 bits as they are, and more by the range that the image uses.

        Raises:
            SlideNotFound, SlideUnreadable: see `qupath_sam.slides.source.stamp`; or a broken image.
            SlideUnsupported: more than `MAX_IMAGE_PX`, or neither RGB nor grey.
            InvalidRequest: a channel that it has not.
        """
        found = at or stamp(location)
        shown = _Shown(rendering or Rendering())
        with open_binary(location) as stream:
            pixels = decode_rgb(
                stream,
                name=location.given,
                formats=FORMATS,
                check_size=partial(_check_size, location.given),
                deep=shown.of_deep,
            )
        pixels = shown.of_eight_bits(pixels)
        digest = fingerprint(found.resolved, found.size_bytes, found.version, _READER, rendering, shown.how)
        held = [pixels]
        del pixels

        def read_level(_: int, region: Region) -> NDArray[np.uint8]:
            return held[0][region.y : region.bottom, region.x : region.right]

        height, width = held[0].shape[:2]
        levels = (Level(1.0, width, height),)
        info = SlideInfo(
            width=width,
            height=height,
            levels=levels,
            mpp=None,
            mpp_remark="",
            fingerprint=digest,
            reader=f"{_READER} ({shown.how})" if shown.how else _READER,
            extent=Region(0, 0, width, height),
            remarks=(shown.remark,) if shown.remark else (),
            rendering=shown.how,
            held_bytes=held[0].nbytes,
        )
        super().__init__(info, rasters_of(levels, read_level), name=location.given, release=held.clear)


class _Shown:
    """How an image is shown; what was decided on decoding is known afterwards.

    Attributes:
        how, remark: as `qupath_sam.slides.tiff_colours.Shown` has them.
    """

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering
        self.how = ""
        self.remark = ""

    def of_eight_bits(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return RGB as it is, unless the caller wants to see a part of it, or more than 8 bits are shown already."""
        if self.how or self._rendering == Rendering():
            return rgb
        return self._rendered(rgb, RGB_CHANNELS)

    def of_deep(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Show more than 8 bits a sample: grey or RGB, perhaps with alpha as the last sample."""
        samples = pixels.shape[2]
        if samples == 1 or self._rendering != Rendering():
            rgb = self._rendered(pixels, RGB_CHANNELS if samples >= 3 else default_channels(1))
            if self._rendering == Rendering():
                self.remark = f"no display is given for 16 bits: {self.how}; give a range if that is wrong"
            return rgb
        colours = samples - (samples in (2, 4))
        high = full_scale(pixels.dtype, 8 * pixels.dtype.itemsize, pixels[:, :, :colours])
        self.how = f"0 to {high:g}"
        self.remark = f"the pixels have 16 bits a sample, shown from {self.how}; give a range if that is wrong"
        rgb = pixels if colours == 3 else pixels[:, :, [0, 0, 0, 1]]
        return true_colours(high=high, alpha="straight" if samples in (2, 4) else "")(rgb)

    def _rendered(self, pixels: NDArray[Any], channels: Sequence[Channel]) -> NDArray[np.uint8]:
        rendering = self._rendering
        if not rendering.channels and len(channels) == 3:
            self.how = f"{rendering.low:g} to {rendering.high:g}"
            return true_colours(low=rendering.low or 0.0, high=rendering.high or 1.0)(pixels)
        chosen = chosen_channels(rendering, channels)
        picked = pixels[:, :, [index for index, _ in chosen]]
        shown = shown_channels(rendering, chosen, channels, picked.reshape(-1, len(chosen)))
        self.how = " + ".join(channel.text for channel in shown)
        return composite(shown)(picked)


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PX:
        raise SlideUnsupported(
            f"{name} has {width} x {height} px, more than the {MAX_IMAGE_PX} px that are decoded at once; "
            "convert it to a tiled TIFF"
        )
