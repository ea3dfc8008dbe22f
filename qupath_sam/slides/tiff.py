"""TIFF in all its slide dialects (SVS, NDPI, SCN, Philips, QPTIFF, OME-TIFF, ImageJ, generic), by tifffile."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from qupath_sam.errors import SlideUnreadable, SlideUnsupported
from qupath_sam.slides import pixel_size
from qupath_sam.slides.base import Level, SlideInfo
from qupath_sam.slides.failures import decoding
from qupath_sam.slides.fingerprint import fingerprint
from qupath_sam.slides.location import Location
from qupath_sam.slides.pixel_size import PixelSize
from qupath_sam.slides.pyramid import levels_of, plausible_mpp
from qupath_sam.slides.raster import RasterReader, rasters_of
from qupath_sam.slides.rendering import Rendering
from qupath_sam.slides.resampling import WHITE, Raster, read_scaled
from qupath_sam.slides.silence import warnings_silenced
from qupath_sam.slides.source import Stamp, open_binary, stamp
from qupath_sam.slides.tiff_colours import Shown, samples_wanted, shown
from qupath_sam.slides.tiff_layout import Layout, layout_of, ome_image
from qupath_sam.slides.tiles import FileBytes, LevelPixels, Tiles, chunk_size
from qupath_sam.types.regions import Region

MAX_CHUNK_PX = 2**27
"""Largest tile or strip to decode at once; a flat image saved as one strip is one chunk."""
MAX_SIDE = 2**24
_PHILIPS_SPACING = re.compile(r'(Name="DICOM_PIXEL_SPACING"[^>]*>)([^<]*)')
_READER = f"tifffile {version('tifffile')}"


class OverlappingTiles(SlideUnsupported):
    """A TIFF whose tiles overlap, which OpenSlide alone stitches."""


class TiffReader(RasterReader):
    """Reads with tifffile.

    Attributes:
        bounds: the part that QuPath's OpenSlide reader crops to (Leica SCN); None for most slides.
    """

    bounds: Region | None

    def __init__(
        self,
        location: Location,
        *,
        at: Stamp | None = None,
        rendering: Rendering | None = None,
        z: int = 0,
        t: int = 0,
    ) -> None:
        """Open a slide.

        Args:
            at: its stamp where the caller has just taken it.
            rendering: how to show what is not 8-bit RGB; None shows all channels, each by its own range.
            z, t: plane of a stack.

        Raises:
            SlideNotFound, SlideUnreadable: see `qupath_sam.slides.source.stamp`; or no TIFF, or a broken one.
            SlideUnsupported: pixels that are neither colours nor channels, or laid out in a way that is not known.
            OverlappingTiles: OpenSlide has to read it.
            InvalidRequest: a channel or plane that it has not.
        """
        found = at or stamp(location)
        stream = open_binary(location)
        try:
            opened = _open(stream, location, found, rendering or Rendering(), z, t)
        except BaseException:
            stream.close()
            raise
        rasters: list[Raster] = []

        def read_level(index: int, region: Region) -> NDArray[np.uint8]:
            with decoding(location.given):
                return _read(opened, rasters, index, region)

        def release() -> None:
            opened.tiff.close()
            stream.close()

        width, height = opened.levels[0].width, opened.levels[0].height
        info = SlideInfo(
            width=width,
            height=height,
            levels=opened.levels,
            mpp=opened.mpp,
            mpp_remark=opened.mpp_remark,
            fingerprint=fingerprint(
                found.resolved, found.size_bytes, found.version, _READER, z, t, rendering, opened.shown.how
            ),
            reader=f"{_READER} ({opened.shown.how})" if opened.shown.how else _READER,
            extent=Region(0, 0, width, height),
            remarks=opened.remarks,
            channels=tuple(channel.name for channel in opened.layout.channels),
            depth=opened.layout.depth,
            times=opened.layout.times,
            rendering=opened.shown.how,
            piece_bytes=opened.piece_bytes,
        )
        self.bounds = opened.pixels[0].bounds if opened.layout.is_composed else None
        rasters += rasters_of(opened.levels, read_level)
        super().__init__(info, rasters, name=location.given, release=release)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What opening finds out.

    Attributes:
        pixels: of each level, as stored.
        mpp, mpp_remark, remarks, piece_bytes: as in `SlideInfo`.
    """

    tiff: tifffile.TiffFile
    layout: Layout
    levels: tuple[Level, ...]
    pixels: tuple[LevelPixels, ...]
    shown: Shown
    mpp: float | None
    mpp_remark: str
    remarks: tuple[str, ...]
    piece_bytes: int


def _open(stream: Any, location: Location, found: Stamp, rendering: Rendering, z: int, t: int) -> _Opened:
    with decoding(location.given), warnings_silenced():
        # _multifile: an OME-TIFF names other files, and none is opened because a file says so.
        tiff = tifffile.TiffFile(stream, name=location.name, _multifile=False)
        _check_no_overlaps(tiff, location)
        _mend_decimal_commas(tiff)
        layout = layout_of(tiff, location)
        _check_plane(layout, z, t, location)
        wanted = samples_wanted(layout, rendering, location)
        _check_sizes(layout, location)
        pixels = layout.level_pixels(FileBytes(stream), wanted, z, t, location)
        parts = [part for level in pixels for piece in level.pieces for part in piece.parts]
        _check_alike(parts, location)
        _check_complete(tiff, parts, found.size_bytes, location)
        size = _pixel_size(tiff, layout)
        mpp, mpp_remark = plausible_mpp(size.across, size.down)
        how = shown(layout, rendering, pixels)
        planes = layout.depth * layout.times
        stack = f"plane z={z}, t={t} of a stack of {layout.depth} x {layout.times} is read" if planes > 1 else ""
        remarks = tuple(remark for remark in (layout.remark, stack, size.remark, how.remark) if remark)
        piece_bytes = _piece_bytes(layout)
        return _Opened(tiff, layout, levels_of(layout.sizes), pixels, how, mpp, mpp_remark, remarks, piece_bytes)


def _read(opened: _Opened, rasters: Sequence[Raster], index: int, region: Region) -> NDArray[np.uint8]:
    """Read RGB of a region in level px.

    Tiles that this level alone lacks come from the next finer one, as in OpenSlide.
    """
    stored, missing = opened.pixels[index].read(region)
    rgb = opened.shown.colours(stored)
    if missing is None:
        return rgb
    rgb = rgb.copy()
    rgb[missing] = WHITE
    for hole in opened.pixels[index].holes(region) if index else ():
        if _has_finer_data(opened, index, hole):
            scale = rasters[index].scale[0]
            patch = read_scaled(rasters[index - 1], hole.x * scale, hole.y * scale, scale, (hole.width, hole.height))
            rows = slice(hole.y - region.y, hole.bottom - region.y)
            rgb[rows, hole.x - region.x : hole.right - region.x] = patch
    return rgb


def _has_finer_data(opened: _Opened, index: int, hole: Region) -> bool:
    """Return whether any finer level has tiles where level ``index`` has a hole."""
    for finer in range(index):
        ratio = opened.levels[index].downsample / opened.levels[finer].downsample
        left, top = int(hole.x * ratio), int(hole.y * ratio)
        under = Region(left, top, max(1, int(hole.right * ratio) - left), max(1, int(hole.bottom * ratio) - top))
        if opened.pixels[finer].has_data(under):
            return True
    return False


def _check_no_overlaps(tiff: tifffile.TiffFile, location: Location) -> None:
    first = tiff.pages.first
    trestle = str(first.software).startswith("MedScan") and "OverlapsXY=" in first.description
    if not (tiff.is_bif or trestle):
        return
    vendor = "Ventana" if tiff.is_bif else "Trestle"
    raise OverlappingTiles(
        f"{location.given} is a {vendor} slide, whose tiles overlap: OpenSlide alone stitches them; pip install "
        '"qupath-sam[openslide]", or push the pixels'
    )


def _mend_decimal_commas(tiff: tifffile.TiffFile) -> None:
    """Write Philips' pixel sizes with points: tifffile takes the sizes of levels from them, and knows no commas."""
    if tiff.is_philips:
        first = tiff.pages.first
        first.description = _PHILIPS_SPACING.sub(lambda found: found[1] + found[2].replace(",", "."), first.description)


def _check_plane(layout: Layout, z: int, t: int, location: Location) -> None:
    if not (0 <= z < layout.depth and 0 <= t < layout.times):
        raise SlideUnsupported(
            f"{location.given} has no plane z={z}, t={t}: it has {layout.depth} x {layout.times}, counted from 0; "
            "name one that it has, or push the pixels of the plane"
        )


def _check_sizes(layout: Layout, location: Location) -> None:
    """Refuse what a header claims and no machine can hold, before anything of that size is made."""
    for placed in layout.placed:
        for level in placed.series.levels:
            key = level.keyframe
            if max(key.imagewidth, key.imagelength) > MAX_SIDE:
                raise SlideUnreadable(f"{location.given} claims {key.imagewidth} x {key.imagelength} px; copy it again")
            width, height = chunk_size(key)
            if width * height > MAX_CHUNK_PX:
                raise SlideUnsupported(
                    f"{location.given} holds {width} x {height} px in one piece, too much to decode for every region; "
                    "convert it to a tiled pyramid or push the pixels"
                )


def _piece_bytes(layout: Layout) -> int:
    keys = [level.keyframe for placed in layout.placed for level in placed.series.levels]
    return max(int(math.prod(chunk_size(key)) * key.samplesperpixel * key.dtype.itemsize) for key in keys)


def _check_alike(parts: Sequence[Tiles], location: Location) -> None:
    if len({part.dtype for part in parts}) > 1:
        raise SlideUnsupported(
            f"{location.given} stores its levels or channels as different types of numbers; push the pixels"
        )


def _check_complete(tiff: tifffile.TiffFile, parts: Sequence[Tiles], size_bytes: int, location: Location) -> None:
    """Refuse a file that ends before its pixels or levels do.

    Decoders fill the rest of a tile with grey or black, and tifffile leaves out levels, both without an error.
    """
    end = max(max(part.end for part in parts), _next_directory(tiff))
    if 0 <= size_bytes < end:
        raise SlideUnreadable(
            f"{location.given} is truncated: it has {size_bytes} bytes and goes on at {end}; copy it again"
        )


def _next_directory(tiff: tifffile.TiffFile) -> int:
    """Return where the file says that a page follows the last one that tifffile found; 0 where none does."""
    layout, file = tiff.tiff, tiff.filehandle
    file.seek(tiff.pages[-1].offset)
    (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(tags * layout.tagsize, 1)
    (offset,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    return int(offset)


def _pixel_size(tiff: tifffile.TiffFile, layout: Layout) -> PixelSize:
    """Return the pixel size of the vendor's text, else of OME-XML, else of the tags."""
    page = layout.first_page
    tags = pixel_size.of_resolution_tags(page)
    pixels = ome_image(tiff, layout.index)
    if pixels is not None:
        return pixel_size.preferred(pixel_size.of_ome(pixels), tags, by="the OME-XML")
    stated = layout.pixel_size
    if tiff.is_svs:
        stated = pixel_size.of_aperio(tiff.pages.first.description)
    elif tiff.is_philips and tiff.philips_metadata:
        stated = pixel_size.of_philips(tiff.philips_metadata)
    elif tiff.is_imagej:
        stated = pixel_size.of_imagej(page, tiff.imagej_metadata or {})
    return stated if stated.known else tags
