"""Opening a slide: the reader that suits it, cropped and turned as QuPath shows it, and checked against its size."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from qupath_sam.errors import OutOfMemory, QupathSamError, SlideMismatch, SlideUnreadable, SlideUnsupported
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.builder import ReaderProvider, SlideRecipe
from qupath_sam.slides.containers import check_not_elsewhere
from qupath_sam.slides.location import Location, PathMap, parse_location
from qupath_sam.slides.memory import DecodeMemory
from qupath_sam.slides.permissions import EVERY_PATH, Permissions
from qupath_sam.slides.rendering import Rendering
from qupath_sam.slides.source import Stamp, is_zarr, open_binary, stamp
from qupath_sam.slides.wrapped import CalibratedReader, CroppedReader, OrientedReader
from qupath_sam.types.regions import Region

log = logging.getLogger(__name__)

SlideSource = str | os.PathLike[str] | Location | SlideRecipe
"""What a slide is asked for by: a path or URI, or QuPath's builder as `qupath_sam.slides.builder` reads it."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_IMAGE = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")


def open_slide(
    source: SlideSource,
    *,
    expected_size: tuple[int, int] | None = None,
    path_map: PathMap | None = None,
    permissions: Permissions = EVERY_PATH,
    z: int = 0,
    t: int = 0,
    rendering: Rendering | None = None,
) -> SlideReader:
    """Open a slide in QuPath's frame.

    A plain path is opened as QuPath's OpenSlide reader would: cropped to ``bounds-*`` where the slide has them.

    Args:
        expected_size: level-0 width and height that the caller believes in; a recipe's own is checked as well.
        path_map: from the client's folders to this machine's.
        permissions: what may be opened; by default every path and no URL.
        z, t: plane of a stack.
        rendering: how to show what is not 8-bit RGB; None shows all channels, each by its own range.

    Raises:
        SlideNotFound: nothing there, not visible from here, or outside of what may be opened.
        SlideUnreadable: a folder, an empty, truncated or broken file, or no image at all.
        SlideMismatch: it opens, but with another size than expected.
        SlideUnsupported: neither colours nor channels, a plane that it has not, a URL that may not be opened, or a
            reader that is not installed.
        InvalidRequest: the path or URI itself is wrong, or a channel that the image has not.
    """
    location = locate(source, path_map, permissions)
    return open_located(location, stamp(location), source, expected_size=expected_size, z=z, t=t, rendering=rendering)


def locate(source: SlideSource, path_map: PathMap | None, permissions: Permissions = EVERY_PATH) -> Location:
    """Return the file or URL behind ``source``, where it may be opened.

    Raises:
        InvalidRequest, SlideUnsupported: as `qupath_sam.slides.location.parse_location`.
        SlideNotFound: as `qupath_sam.slides.permissions.Permissions.check`.
    """
    if not isinstance(source, Location):
        text = source.uri if isinstance(source, SlideRecipe) else source
        source = parse_location(text, path_map, urls=permissions.urls)
    return permissions.check(source)


def open_located(
    location: Location,
    found: Stamp,
    source: SlideSource,
    *,
    expected_size: tuple[int, int] | None,
    z: int = 0,
    t: int = 0,
    rendering: Rendering | None = None,
    memory: DecodeMemory | None = None,
    hold: Callable[[int], None] = lambda held_bytes: None,
) -> SlideReader:
    """Open as `open_slide` for a caller that has looked at the file.

    Args:
        memory: bounds what is decoded at once.
        hold: is called with the bytes that the open slide will keep, before it is decoded.
    """
    recipe = source if isinstance(source, SlideRecipe) else None
    with _every_error_mapped(location):
        reader, bounds = _reader(location, found, z, t, rendering, memory, hold)
    try:
        if recipe is not None and rendering is None:
            _check_nothing_guessed(reader, location)
        if bounds is not None:
            reader = _within_bounds(reader, bounds, recipe, location)
        if recipe is not None:
            reader = _wrapped(reader, recipe, location)
        check_size(reader, expected_size, location)
    except BaseException:
        reader.close()
        raise
    return reader


def check_size(reader: SlideReader, expected: tuple[int, int] | None, location: Location) -> None:
    """Refuse a reader whose level 0 has another size than the client believes in.

    Raises:
        SlideMismatch: naming both sizes and what usually explains them.
    """
    info = reader.info
    found = info.width, info.height
    if expected is None or tuple(expected) == found:
        return
    if found == (expected[1], expected[0]):
        hint = "the sides are swapped: is the image rotated in QuPath? Send its server builder"
    elif found[0] > expected[0] and found[1] > expected[1]:
        hint = "QuPath shows a part of it (a crop, OpenSlide's bounds, another series) or it is another file"
    else:
        hint = "it is another file, series or rotation"
    raise SlideMismatch(
        f"{location.given} has {found[0]} x {found[1]} px here and {expected[0]} x {expected[1]} px in the client: "
        f"{hint}; send the image's server builder, or push the pixels"
    )


def _check_nothing_guessed(reader: SlideReader, location: Location) -> None:
    """Refuse to show an image of QuPath otherwise than QuPath does, which knows its own settings."""
    if reader.info.rendering:
        raise SlideUnsupported(
            f"{location.given} is not 8-bit RGB, and how it looks depends on QuPath's channel settings; send a "
            "rendering, or push the pixels as rendered"
        )


def _reader(
    location: Location,
    found: Stamp,
    z: int,
    t: int,
    rendering: Rendering | None,
    memory: DecodeMemory | None,
    hold: Callable[[int], None],
) -> tuple[SlideReader, Region | None]:
    """Return the reader for a file by its name and first bytes, and the bounds to which QuPath crops it."""
    # Imported here: each pulls in its own decoder, and one slide needs one of them.
    from qupath_sam.slides import openslide

    check_not_elsewhere(location)
    if is_zarr(location):
        from qupath_sam.slides.ome_zarr import OmeZarrReader

        return OmeZarrReader(location, at=found, rendering=rendering, z=z, t=t), None
    with open_binary(location) as stream:
        head = stream.read(openslide.HEAD_BYTES)
    if os.path.splitext(location.name)[1].lower() in openslide.SUFFIXES or openslide.knows_content(head):
        return _by_openslide(location, found, z, t, rendering)
    if head.startswith(_TIFF):
        from qupath_sam.slides.tiff import OverlappingTiles, TiffReader

        try:
            by_tifffile = TiffReader(location, at=found, rendering=rendering, z=z, t=t)
        except OverlappingTiles:
            if location.is_url or not openslide.is_installed():
                raise
            return _by_openslide(location, found, z, t, rendering)
        return by_tifffile, by_tifffile.bounds
    _check_single_plane(location, z, t)
    if head.startswith(_IMAGE):
        from qupath_sam.slides.image import ImageReader

        pixels = _pixels_of_image(location)
        hold(3 * pixels)
        # As stored, as RGBA and as RGB.
        with memory.reserving(11 * pixels) if memory is not None else nullcontext():
            return ImageReader(location, at=found, rendering=rendering), None
    raise SlideUnreadable(f"{location.given} is no TIFF, PNG, JPEG or BMP; if QuPath opens it, push the pixels")


def _pixels_of_image(location: Location) -> int:
    """Return the number of px of a plain image by its header; 0 where it has none."""
    from PIL import Image

    try:
        with open_binary(location) as stream, Image.open(stream) as image:
            return min(image.width * image.height, Image.MAX_IMAGE_PIXELS or 0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return 0  # the reader says what is wrong with it


def _by_openslide(
    location: Location, found: Stamp, z: int, t: int, rendering: Rendering | None
) -> tuple[SlideReader, Region | None]:
    from qupath_sam.slides.openslide import OpenSlideReader

    _check_single_plane(location, z, t)
    if rendering is not None:
        raise SlideUnsupported(
            f"{location.given} is read by OpenSlide, which gives colours and no channels; leave channels and "
            "range out, or push the pixels"
        )
    reader = OpenSlideReader(location, at=found)
    return reader, reader.bounds


def _check_single_plane(location: Location, z: int, t: int) -> None:
    if (z, t) != (0, 0):
        raise SlideUnsupported(
            f"{location.given} has no plane z={z}, t={t} that can be read here; push the pixels of the plane"
        )


@contextmanager
def _every_error_mapped(location: Location) -> Iterator[None]:
    """Raise `SlideUnreadable` for every error of a decoder; messages name the path as the client wrote it."""
    try:
        yield
    except QupathSamError as error:
        message = str(error)
        for path in (os.path.realpath(location.path), location.target):
            if not location.is_url and path != location.given and len(path) > 1:
                message = message.replace(path, location.given)
        if message == str(error):
            raise
        raise type(error)(message) from error
    except MemoryError as error:
        raise OutOfMemory(f"no memory left to open {location.given}; close other slides, or push the pixels") from error
    except Exception as error:
        log.warning("a reader failed on a file", exc_info=True)
        raise SlideUnreadable(
            f"{location.given} cannot be read ({type(error).__name__}); see that it opens in QuPath, or push the pixels"
        ) from error


def _within_bounds(reader: SlideReader, bounds: Region, recipe: SlideRecipe | None, location: Location) -> SlideReader:
    """Return the slide in the frame of QuPath's reader, cropped to its bounds."""
    if recipe is not None and recipe.provider is not ReaderProvider.OPENSLIDE:
        raise SlideUnsupported(
            f"{location.given} holds several scanned areas, which QuPath's {recipe.provider.value} shows one by one; "
            "open it with OpenSlide in QuPath, or push the pixels"
        )
    return _cropped(reader, bounds) if recipe is None or recipe.crops_to_bounds else reader


def _wrapped(reader: SlideReader, recipe: SlideRecipe, location: Location) -> SlideReader:
    check_size(reader, recipe.file_size, location)
    for wrapper in recipe.wrappers:
        reader = _cropped(reader, wrapper) if isinstance(wrapper, Region) else OrientedReader(reader, wrapper)
    check_size(reader, recipe.size, location)
    return CalibratedReader(reader, recipe.mpp) if recipe.mpp is not None else reader


def _cropped(reader: SlideReader, crop: Region) -> SlideReader:
    whole = crop.bounds == (0, 0, reader.info.width, reader.info.height)
    return reader if whole else CroppedReader(reader, crop)
