"""Plain PNG, JPEG and BMP: decoded whole, once."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from qupath_sam.errors import SlideUnsupported
from qupath_sam.regions import Region
from qupath_sam.slides.base import Level, SlideInfo
from qupath_sam.slides.decoding import decode_rgb
from qupath_sam.slides.fingerprint import fingerprint
from qupath_sam.slides.location import Location
from qupath_sam.slides.raster import RasterReader, rasters_of
from qupath_sam.slides.source import Stamp, open_binary, stamp

MAX_IMAGE_PX = 89_478_485
"""Pillow's own limit, above which it warns of a decompression bomb: 256 MiB of RGB."""
FORMATS = ("PNG", "JPEG", "BMP")
_READER = f"pillow {version('pillow')}"


class ImageReader(RasterReader):
    """Holds a plain image in memory. Such files state no pixel size that could be believed."""

    def __init__(self, location: Location, *, at: Stamp | None = None) -> None:
        """Open and decode an image; ``at`` is its stamp where the caller has just taken it.

        Raises:
            SlideNotFound, SlideUnreadable: see `qupath_sam.slides.source.stamp`; or a broken image.
            SlideUnsupported: more than `MAX_IMAGE_PX`, or not 8 bits.
        """
        found = at or stamp(location)
        with open_binary(location) as stream:
            pixels = decode_rgb(
                stream, name=location.given, formats=FORMATS, check_size=partial(_check_size, location.given)
            )
        digest = fingerprint(found.resolved, found.size_bytes, found.version, _READER)
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
            reader=_READER,
            extent=Region(0, 0, width, height),
        )
        super().__init__(info, rasters_of(levels, read_level), name=location.given, release=held.clear)


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PX:
        raise SlideUnsupported(
            f"{name} has {width} x {height} px, more than the {MAX_IMAGE_PX} px that are decoded at once; "
            "convert it to a tiled TIFF"
        )
