"""Slides that tifffile cannot read (MIRAX, VMS, DICOM, overlapping tiles and others), by the optional OpenSlide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from qupath_sam.errors import SlideUnreadable, SlideUnsupported
from qupath_sam.slides.base import SlideInfo
from qupath_sam.slides.fingerprint import fingerprint
from qupath_sam.slides.location import Location
from qupath_sam.slides.openslide_handle import ReopeningSlide
from qupath_sam.slides.pixel_size import number
from qupath_sam.slides.pyramid import levels_of, plausible_mpp
from qupath_sam.slides.raster import RasterReader, rasters_of
from qupath_sam.slides.resampling import WHITE
from qupath_sam.slides.source import Stamp, stamp
from qupath_sam.types.regions import Region

SUFFIXES = frozenset({".mrxs", ".vms", ".vmu", ".dcm", ".zvi", ".czi", ".bif"})
"""Files that OpenSlide alone reads, or stitches (.bif: overlapping tiles)."""
_DICOM_AT = 128
_BY_CONTENT = (b"ZISRAWFILE", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"SQLite format 3\0")
"""How CZI, ZVI and Sakura's files begin."""
HEAD_BYTES = _DICOM_AT + 4


def knows_content(head: bytes) -> bool:
    """Return whether OpenSlide reads a file that begins like this (`HEAD_BYTES`), whatever its name.

    PACS export DICOM without an ending.
    """
    return head[_DICOM_AT:HEAD_BYTES] == b"DICM" or head.startswith(_BY_CONTENT)


class OpenSlideReader(RasterReader):
    """Reads with OpenSlide, which is safe to call from several threads.

    Attributes:
        bounds: ``openslide.bounds-*``, to which QuPath crops; None for most slides.
    """

    bounds: Region | None

    def __init__(self, location: Location, *, at: Stamp | None = None) -> None:
        """Open a slide of this machine's disks; ``at`` is its stamp where the caller has just taken it.

        Raises:
            SlideNotFound, SlideUnreadable: see `qupath_sam.slides.source.stamp`; or broken, or of no format it knows.
            SlideUnsupported: OpenSlide is not installed, or the location is a URL.
        """
        openslide = _library(location)
        if location.is_url:
            raise SlideUnsupported(f"{location.given}: OpenSlide reads local files only; push the pixels")
        found = at or stamp(location)
        with _decoding(openslide, location.given):
            reopening = ReopeningSlide(partial(openslide.OpenSlide, found.resolved), openslide.OpenSlideError)
            properties = dict(reopening.slide.properties)
            levels = levels_of(reopening.slide.level_dimensions)
            exact = tuple(reopening.slide.level_downsamples)
        reader = f"openslide {openslide.__library_version__}"

        def read_level(index: int, region: Region) -> NDArray[np.uint8]:
            # OpenSlide takes level-0 px and divides by its own downsample; the fraction it keeps is below half a px.
            place = round(region.x * exact[index]), round(region.y * exact[index])
            with _decoding(openslide, location.given):
                pixels = reopening.read_region(place, index, (region.width, region.height))
            return _on_white(pixels)

        try:
            remarks = depth_remarks(properties)
        except BaseException:
            reopening.close()
            raise
        mpp, remark = plausible_mpp(
            number(properties.get(openslide.PROPERTY_NAME_MPP_X)),
            number(properties.get(openslide.PROPERTY_NAME_MPP_Y)),
        )
        info = SlideInfo(
            width=levels[0].width,
            height=levels[0].height,
            levels=levels,
            mpp=mpp,
            mpp_remark=remark,
            fingerprint=fingerprint(found.resolved, found.size_bytes, found.version, reader),
            reader=reader,
            extent=Region(0, 0, levels[0].width, levels[0].height),
            remarks=remarks,
        )
        self.bounds = _bounds(openslide, properties, info.extent)
        super().__init__(info, rasters_of(levels, read_level), name=location.given, release=reopening.close)


def is_installed() -> bool:
    """Return whether OpenSlide can be used."""
    try:
        import openslide  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


def _library(location: Location) -> ModuleType:
    try:
        import openslide
    except (ImportError, OSError) as error:
        # OSError (ModuleNotFoundError in newer releases): the Python part is there and the library is not
        raise SlideUnsupported(
            f'{location.given} needs OpenSlide: pip install "qupath-sam[openslide]", or push the pixels ({error})'
        ) from error
    return openslide


@contextmanager
def _decoding(openslide: ModuleType, given: str) -> Iterator[None]:
    try:
        yield
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise SlideUnreadable(f"{given} is of no format that OpenSlide knows; push the pixels instead") from error
    except (openslide.OpenSlideError, ValueError, OSError) as error:
        raise SlideUnreadable(f"{given} cannot be read by OpenSlide ({error}); copy the slide again") from error


def _on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert RGBA to RGB. OpenSlide marks missing area as transparent; no format has anything in between."""
    rgb = np.ascontiguousarray(pixels[:, :, :3])
    missing = pixels[:, :, 3] == 0
    if missing.any():
        rgb[missing] = WHITE
    return rgb


def depth_remarks(properties: Mapping[str, str]) -> tuple[str, ...]:
    """Return what to say of a slide that OpenSlide shows 8 of more bits of: Zeiss alone has such slides.

    Raises:
        SlideUnsupported: less than 16 bits are used, so that the upper 8 are an all but black picture.
    """
    bits = number(properties.get("zeiss.Information.Image.ComponentBitCount"))
    if bits is None or bits <= 8:
        return ()
    if bits < 16:
        raise SlideUnsupported(
            f"the slide has {bits:g} bits a sample in 16, of which OpenSlide shows the upper 8: all but black; push "
            "the pixels as QuPath renders them"
        )
    return ("the slide has 16 bits a sample, of which OpenSlide shows the upper 8",)


def _bounds(openslide: ModuleType, properties: Mapping[str, str], extent: Region) -> Region | None:
    names = (
        openslide.PROPERTY_NAME_BOUNDS_X,
        openslide.PROPERTY_NAME_BOUNDS_Y,
        openslide.PROPERTY_NAME_BOUNDS_WIDTH,
        openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
    )
    try:
        return Region(*(int(properties[name]) for name in names)).intersection(extent)
    except (KeyError, ValueError):
        return None  # QuPath too reads the whole slide where one is missing or no number
