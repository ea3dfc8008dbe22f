"""Pixels that a client pushed for one region, because only the client can read or render the image."""

from __future__ import annotations

import hashlib
import io
import math
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qupath_sam.errors import InvalidRegion, InvalidRequest, RequestTooLarge
from qupath_sam.slides.base import Level, SlideInfo
from qupath_sam.slides.decoding import decode_rgb
from qupath_sam.slides.fingerprint import fingerprint
from qupath_sam.slides.pyramid import plausible_mpp
from qupath_sam.slides.raster import RasterReader
from qupath_sam.slides.resampling import Raster
from qupath_sam.types.regions import Region
from qupath_sam.types.service import PixelFormat

MAX_PUSHED_PX = 2**25
"""Largest picture to take (96 MiB of RGB): a whole 4K screen four times over."""
_READER = "pushed"


class PushedReader(RasterReader):
    """A picture of one region of an image, used as if it were the slide; white outside that region."""

    def __init__(
        self,
        data: bytes,
        *,
        pixel_format: PixelFormat,
        size: tuple[int, int],
        region: Region,
        image_size: tuple[int, int],
        mpp: float | None = None,
        rendering: str = "",
        max_px: float = MAX_PUSHED_PX,
    ) -> None:
        """Decode pushed pixels.

        Args:
            data: PNG, JPEG or raw RGB.
            size: width and height of the picture in px, as the client states them.
            region: level-0 px that the picture shows; inside the image.
            image_size: width and height of the whole image at level 0.
            mpp: pixel size of the whole image at level 0 in um.
            rendering: how the client made the picture ("QuPath 0.7.0, channels 1-3"), for the provenance.
            max_px: larger pictures are refused.

        Raises:
            InvalidRequest: the picture has another size than stated, or its proportions are not the region's.
            InvalidRegion: the region is not inside the image.
            RequestTooLarge: more than ``max_px``.
            SlideUnreadable: broken PNG or JPEG.
            SlideUnsupported: more than 8 bits a channel, or no RGB.
        """
        width, height = size
        _check_sizes(size, region, image_size, max_px=max_px)
        pixels = _decode(data, pixel_format, width, height)
        held = [pixels]
        del pixels
        scale = region.width / width, region.height / height
        downsample = (scale[0] + scale[1]) / 2
        believed, remark = plausible_mpp(mpp, mpp)
        info = SlideInfo(
            width=image_size[0],
            height=image_size[1],
            levels=(Level(downsample, math.ceil(image_size[0] / downsample), math.ceil(image_size[1] / downsample)),),
            mpp=believed,
            mpp_remark=remark,
            fingerprint=fingerprint(
                _READER, hashlib.sha256(data).digest(), pixel_format.value, size, region, image_size, mpp, rendering
            ),
            reader=f"{_READER} ({rendering})" if rendering else _READER,
            extent=region,
            finest_downsample=downsample,
        )
        raster = Raster(
            region.x,
            region.y,
            scale,
            width,
            height,
            lambda part: held[0][part.y : part.bottom, part.x : part.right],
        )
        super().__init__(info, [raster], name="the picture of pushed pixels", release=held.clear)

    @classmethod
    def of_image(cls, pixels: NDArray[np.uint8], mpp: float | None) -> Self:
        """Wrap a whole image that is at hand, of any size.

        Args:
            pixels: uint8 ``(H, W, 3)`` RGB, taken as level 0.
            mpp: um per px, or None.
        """
        height, width = pixels.shape[:2]
        return cls(
            pixels.tobytes(),
            pixel_format=PixelFormat.RGB,
            size=(width, height),
            region=Region(0, 0, width, height),
            image_size=(width, height),
            mpp=mpp,
            max_px=math.inf,
        )


def _check_sizes(size: tuple[int, int], region: Region, image_size: tuple[int, int], *, max_px: float) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InvalidRequest(f"a picture of {width} x {height} px holds nothing; state the size of what is pushed")
    if width * height > max_px:
        raise RequestTooLarge(
            f"a picture of {width} x {height} px is more than the {max_px} px taken at once; "
            "push a smaller region or a higher downsample"
        )
    if min(image_size) < 1 or not Region(0, 0, *image_size).encloses(region):
        raise InvalidRegion(
            f"{region} is not inside the image of {image_size[0]} x {image_size[1]} px; push what lies inside it"
        )
    across, down = region.width / width, region.height / height
    # Both sides are rounded to whole px, so that each scale is off by at most one px in its side.
    if abs(across - down) > across / width + down / height:
        raise InvalidRequest(
            f"a picture of {width} x {height} px is not in proportion to {region}: downsample {across:.4g} across and "
            f"{down:.4g} down; push the region at one downsample"
        )


def _decode(data: bytes, pixel_format: PixelFormat, width: int, height: int) -> NDArray[np.uint8]:
    if pixel_format is PixelFormat.RGB:
        if len(data) != width * height * 3:
            raise InvalidRequest(
                f"{len(data)} bytes are not {width} x {height} px of RGB ({width * height * 3} bytes); "
                "state the size of what is pushed"
            )
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def check_size(found_width: int, found_height: int) -> None:
        if (found_width, found_height) != (width, height):
            raise InvalidRequest(
                f"the picture has {found_width} x {found_height} px, stated were {width} x {height}; state its size"
            )

    return decode_rgb(io.BytesIO(data), name="the picture", formats=(pixel_format.name,), check_size=check_size)
