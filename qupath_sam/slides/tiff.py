"""Tiled and flat TIFF in all their slide dialects (SVS, NDPI, SCN, Philips, generic), by tiffslide."""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tiffslide import tiffslide

from qupath_sam.errors import OutOfMemory, SlideError, SlideUnreadable, SlideUnsupported
from qupath_sam.regions import Region
from qupath_sam.slides.base import Level, SlideInfo
from qupath_sam.slides.coverage import Piece, bounds_of, chunk_table, paint_missing
from qupath_sam.slides.fingerprint import fingerprint
from qupath_sam.slides.location import Location
from qupath_sam.slides.pyramid import levels_of, plausible_mpp
from qupath_sam.slides.raster import RasterReader, rasters_of
from qupath_sam.slides.source import Stamp, open_binary, stamp

MAX_CHUNK_PX = 2**27
"""Largest tile or strip to decode at once; a flat image saved as one strip is one chunk."""
MAX_SIDE = 2**24
_CONVERTING = {
    tifffile.COMPRESSION.OJPEG,
    tifffile.COMPRESSION.JPEG,
    tifffile.COMPRESSION.APERIO_JP2000_RGB,
    tifffile.COMPRESSION.JPEG2000,
}
_READER = f"tiffslide {version('tiffslide')}"

# `warnings.catch_warnings` swaps a global; tiffslide warns of every NDPI that it knows but part of its metadata.
_opening = threading.Lock()


class _LevelSlide(tiffslide.TiffSlide):
    """TiffSlide whose ``read_region`` takes its location in level px: rounding through level 0 loses exactness."""

    def _read_region_loc_transform(self, location: tuple[int, int], level: int) -> tuple[int, int]:
        return location


class TiffReader(RasterReader):
    """Reads with tiffslide.

    Attributes:
        bounds: the part that QuPath's OpenSlide reader crops to (Leica SCN); None for most slides.
    """

    bounds: Region | None

    def __init__(self, location: Location, *, at: Stamp | None = None) -> None:
        """Open a slide; ``at`` is its stamp where the caller has just taken it.

        Raises:
            SlideNotFound, SlideUnreadable: see `qupath_sam.slides.source.stamp`; or no TIFF, or a broken one.
            SlideUnsupported: not 8-bit RGB, or laid out in a way that tiffslide does not know.
        """
        found = at or stamp(location)
        stream = open_binary(location)
        try:
            opened = _open(stream, location, found)
        except BaseException:
            stream.close()
            raise
        slide = opened.slide

        def read_level(index: int, region: Region) -> NDArray[np.uint8]:
            with _decoding(location.given):
                pixels = slide.read_region((region.x, region.y), index, (region.width, region.height), as_array=True)
            if pixels.shape != (region.height, region.width, 3):
                raise SlideUnreadable(
                    f"{location.given} gave {pixels.shape} px where {region} was asked; copy it again"
                )
            rgb = _rgb_of_ycbcr(pixels) if opened.is_ycbcr else cast("NDArray[np.uint8]", pixels)
            return paint_missing(rgb, region, opened.pieces[index])

        def release() -> None:
            slide.close()
            stream.close()

        width, height = opened.levels[0].width, opened.levels[0].height
        info = SlideInfo(
            width=width,
            height=height,
            levels=opened.levels,
            mpp=opened.mpp,
            mpp_remark=opened.mpp_remark,
            fingerprint=fingerprint(found.resolved, found.size_bytes, found.version, _READER),
            reader=_READER,
            extent=Region(0, 0, width, height),
        )
        composed = "tiffslide.series-composition" in slide.properties
        self.bounds = bounds_of(opened.pieces[0], info.extent) if composed else None
        super().__init__(info, rasters_of(opened.levels, read_level), name=location.given, release=release)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What opening finds out.

    Attributes:
        pieces: the images that make up each level, by level.
        is_ycbcr: whether tiffslide gives YCbCr as it is stored, and not RGB.
        mpp, mpp_remark: as in `SlideInfo`.
    """

    slide: _LevelSlide
    levels: tuple[Level, ...]
    pieces: list[list[Piece]]
    is_ycbcr: bool
    mpp: float | None
    mpp_remark: str


def _open(stream: Any, location: Location, found: Stamp) -> _Opened:
    with _decoding(location.given), _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        slide = _LevelSlide(stream, tifffile_options={"name": location.name})
        properties = slide.properties
        levels = levels_of(slide.level_dimensions)
        _check_layout(slide, location)
        pages = _level_pages(slide)
        _check_pixels(pages, str(properties["tiffslide.series-axes"]), location)
        _check_complete(slide.ts_tifffile, pages, found.size_bytes, location)
        mpp, remark = plausible_mpp(
            _number(properties.get(tiffslide.PROPERTY_NAME_MPP_X)),
            _number(properties.get(tiffslide.PROPERTY_NAME_MPP_Y)),
        )
        return _Opened(slide, levels, _pieces(slide), _is_stored_as_ycbcr(pages[0]), mpp, remark)


def _check_layout(slide: _LevelSlide, location: Location) -> None:
    if slide.ts_tifffile.is_bif:
        raise SlideUnsupported(
            f"{location.given} is a Ventana slide, whose overlapping tiles tiffslide does not stitch; "
            "give it the ending .bif, with which OpenSlide reads it, or push the pixels"
        )


def _level_pages(slide: _LevelSlide) -> list[Any]:
    """A page of each level, of each scanned area."""
    properties = slide.properties
    composition = properties.get("tiffslide.series-composition") or {}
    used = list(composition.get("located_series", [properties["tiffslide.series-index"]]))
    return [level.keyframe for index in used for level in slide.ts_tifffile.series[index].levels]


def _check_pixels(pages: Sequence[Any], axes: str, location: Location) -> None:
    for page in pages:
        photometric = getattr(page.photometric, "name", str(page.photometric))
        rgb = axes == "YXS" and page.samplesperpixel == 3 and photometric in ("RGB", "YCBCR")
        if not rgb or page.dtype != np.uint8:
            raise SlideUnsupported(
                f"{location.given} is not 8-bit RGB ({page.samplesperpixel} x {page.dtype}, axes {axes}, "
                f"{photometric}): how it looks depends on the viewer's settings; push the pixels as QuPath renders them"
            )
        if max(page.imagewidth, page.imagelength) > MAX_SIDE:
            raise SlideUnreadable(f"{location.given} claims {page.imagewidth} x {page.imagelength} px; copy it again")
        if int(np.prod(page.chunks[:2], dtype=object)) > MAX_CHUNK_PX:
            raise SlideUnsupported(
                f"{location.given} holds {page.chunks[1]} x {page.chunks[0]} px in one piece, too much to decode for "
                "every region; convert it to a tiled pyramid or push the pixels"
            )


def _check_complete(tiff: tifffile.TiffFile, pages: Sequence[Any], size_bytes: int, location: Location) -> None:
    """Refuse a file that ends before its pixels or levels do.

    Decoders fill the rest of a tile with grey or black, and tifffile leaves out levels, both without an error.
    """
    end = max(int((offsets + counts).max(initial=0)) for offsets, counts in map(chunk_table, pages))
    end = max(end, _next_directory(tiff))
    if 0 <= size_bytes < end:
        raise SlideUnreadable(
            f"{location.given} is truncated: it has {size_bytes} bytes and goes on at {end}; copy it again"
        )


def _next_directory(tiff: tifffile.TiffFile) -> int:
    """Where the file says that a page follows the last one that tifffile found; 0 where none does."""
    layout, file = tiff.tiff, tiff.filehandle
    file.seek(tiff.pages[-1].offset)
    (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(tags * layout.tagsize, 1)
    (offset,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    return int(offset)


def _pieces(slide: _LevelSlide) -> list[list[Piece]]:
    """The images that make up each level, by level."""
    series = slide.ts_tifffile.series
    composition = slide.properties.get("tiffslide.series-composition")
    if composition is None:
        only = series[slide.properties["tiffslide.series-index"]]
        return [[Piece.of_page(level.keyframe, 0, 0)] for level in only.levels]
    located = composition["located_series"].items()
    return [
        [
            Piece.of_page(series[index].levels[level].keyframe, offsets[level][1], offsets[level][0])
            for index, offsets in located
        ]
        for level in range(slide.level_count)
    ]


def _is_stored_as_ycbcr(page: Any) -> bool:
    """Whether decoding gives YCbCr: only JPEG's decoder converts, and Aperio's 33003 is YCbCr whatever its tags say."""
    if page.compression == tifffile.COMPRESSION.APERIO_JP2000_YCBC:
        return True
    return page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression not in _CONVERTING


def _rgb_of_ycbcr(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    return np.array(Image.frombytes("YCbCr", (width, height), pixels.tobytes()).convert("RGB"))


def _number(value: object) -> float | None:
    try:
        return None if value is None else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


@contextmanager
def _decoding(given: str) -> Iterator[None]:
    """Map what tiffslide, tifffile and imagecodecs raise on files that are broken or unknown to them.

    Their exceptions have no common base: Jpeg8Error, TiffFileError, IndexError, KeyError, struct.error and more.
    """
    try:
        yield
    except SlideError:
        raise
    except MemoryError as error:
        raise OutOfMemory(f"no memory left to decode {given}; read a smaller region") from error
    except NotImplementedError as error:
        raise SlideUnsupported(
            f"{given} is laid out in a way that tiffslide does not know: {error}; push the pixels"
        ) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip(": ")
        raise SlideUnreadable(
            f"{given} cannot be decoded ({reason}); check that it opens in QuPath, or copy it again"
        ) from error
