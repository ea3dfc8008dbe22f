"""Tiled and flat TIFF in all their slide dialects (SVS, NDPI, SCN, Philips, generic), by tiffslide."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tiffslide import tiffslide

from qupath_sam.errors import OutOfMemory, SlideError, SlideUnreadable, SlideUnsupported
from qupath_sam.regions import Region
from qupath_sam.slides.base import Level, SlideInfo
from qupath_sam.slides.fingerprint import fingerprint
from qupath_sam.slides.location import Location
from qupath_sam.slides.pyramid import levels_of, plausible_mpp
from qupath_sam.slides.raster import RasterReader, rasters_of
from qupath_sam.slides.resampling import WHITE
from qupath_sam.slides.source import Stamp, open_binary, stamp

MAX_CHUNK_PX = 2**27
"""Largest tile or strip to decode at once; a flat image saved as one strip is one chunk."""
MAX_SIDE = 2**24
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
            slide, levels, mpp, remark = _open(stream, location, found)
            missing = [_MissingTiles.of(page) for page in _level_pages(slide)]
        except BaseException:
            stream.close()
            raise

        def read_level(index: int, region: Region) -> NDArray[np.uint8]:
            with _decoding(location.given):
                pixels = slide.read_region((region.x, region.y), index, (region.width, region.height), as_array=True)
            if pixels.shape != (region.height, region.width, 3):
                raise SlideUnreadable(
                    f"{location.given} gave {pixels.shape} px where {region} was asked; copy it again"
                )
            return _painted(cast("NDArray[np.uint8]", pixels), region, missing[index])

        def release() -> None:
            slide.close()
            stream.close()

        info = SlideInfo(
            width=levels[0].width,
            height=levels[0].height,
            levels=levels,
            mpp=mpp,
            mpp_remark=remark,
            fingerprint=fingerprint(found.resolved, found.size_bytes, found.version, _READER),
            reader=_READER,
            extent=Region(0, 0, levels[0].width, levels[0].height),
        )
        self.bounds = _bounds(slide.properties, info.extent)
        super().__init__(info, rasters_of(levels, read_level), name=location.given, release=release)


def _open(stream: Any, location: Location, found: Stamp) -> tuple[_LevelSlide, tuple[Level, ...], float | None, str]:
    with _decoding(location.given), _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        slide = _LevelSlide(stream, tifffile_options={"name": location.name})
        properties = slide.properties
        levels = levels_of(slide.level_dimensions)
        pages = _level_pages(slide)
        _check_pixels(pages, str(properties["tiffslide.series-axes"]), location)
        _check_complete(pages, found.size_bytes, location)
        mpp, remark = plausible_mpp(
            _number(properties.get(tiffslide.PROPERTY_NAME_MPP_X)),
            _number(properties.get(tiffslide.PROPERTY_NAME_MPP_Y)),
        )
    return slide, levels, mpp, remark


def _level_pages(slide: _LevelSlide) -> list[Any]:
    """The first page of each level."""
    series = slide.ts_tifffile.series[slide.properties["tiffslide.series-index"]]
    return [level.keyframe for level in series.levels]


def _check_pixels(pages: Sequence[Any], axes: str, location: Location) -> None:
    first = pages[0]
    photometric = getattr(first.photometric, "name", str(first.photometric))
    if axes != "YXS" or first.samplesperpixel != 3 or first.dtype != np.uint8 or photometric not in ("RGB", "YCBCR"):
        raise SlideUnsupported(
            f"{location.given} is not 8-bit RGB ({first.samplesperpixel} x {first.dtype}, axes {axes}, {photometric}): "
            "how it looks depends on the viewer's settings; push the pixels as QuPath renders them"
        )
    for page in pages:
        if max(page.imagewidth, page.imagelength) > MAX_SIDE:
            raise SlideUnreadable(f"{location.given} claims {page.imagewidth} x {page.imagelength} px; copy it again")
        if int(np.prod(page.chunks[:2], dtype=object)) > MAX_CHUNK_PX:
            raise SlideUnsupported(
                f"{location.given} holds {page.chunks[1]} x {page.chunks[0]} px in one piece, too much to decode for "
                "every region; convert it to a tiled pyramid or push the pixels"
            )


def _check_complete(pages: Sequence[Any], size_bytes: int, location: Location) -> None:
    """Refuse a file that ends before its pixels do: decoders fill the rest with grey or black, without an error."""
    end = max(
        (
            offset + count
            for page in pages
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        ),
        default=0,
    )
    if 0 <= size_bytes < end:
        raise SlideUnreadable(
            f"{location.given} is truncated: it has {size_bytes} bytes, and its pixels end at {end}; copy it again"
        )


@dataclass(frozen=True, slots=True)
class _MissingTiles:
    """Tiles for which a sparse file has no data; tiffslide gives them black.

    Attributes:
        mask: bool ``(rows, columns)`` of the tiles.
        width, height: of a tile in level px.
    """

    mask: NDArray[np.bool_]
    width: int
    height: int

    @classmethod
    def of(cls, page: Any) -> _MissingTiles | None:
        height, width = int(page.chunks[0]), int(page.chunks[1])
        columns, rows = -(-page.imagewidth // width), -(-page.imagelength // height)
        present = np.zeros(rows * columns, bool)
        filled = [
            offset > 0 and count > 0 for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        ]
        present[: len(filled)] = filled[: rows * columns]
        return None if present.all() else cls(~present.reshape(rows, columns), width, height)

    def within(self, region: Region) -> Iterator[tuple[slice, slice]]:
        """Where in ``region`` (level px) tiles are missing."""
        rows = slice(region.y // self.height, -(-region.bottom // self.height))
        columns = slice(region.x // self.width, -(-region.right // self.width))
        for row, column in np.argwhere(self.mask[rows, columns]):
            y, x = (row + rows.start) * self.height - region.y, (column + columns.start) * self.width - region.x
            yield slice(max(0, y), max(0, y + self.height)), slice(max(0, x), max(0, x + self.width))


def _painted(pixels: NDArray[np.uint8], region: Region, missing: _MissingTiles | None) -> NDArray[np.uint8]:
    holes = list(missing.within(region)) if missing is not None else []
    if not holes:
        return pixels
    painted = pixels.copy()
    for hole in holes:
        painted[hole] = WHITE
    return painted


def _bounds(properties: Any, extent: Region) -> Region | None:
    """``bounds-*`` where all four are there; clipped to the slide, for they are rounded."""
    names = (
        tiffslide.PROPERTY_NAME_BOUNDS_X,
        tiffslide.PROPERTY_NAME_BOUNDS_Y,
        tiffslide.PROPERTY_NAME_BOUNDS_WIDTH,
        tiffslide.PROPERTY_NAME_BOUNDS_HEIGHT,
    )
    values = [properties.get(name) for name in names]
    if any(value is None for value in values):
        return None
    return Region(*(int(value) for value in values)).intersection(extent)


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
