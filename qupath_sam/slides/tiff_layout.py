"""Which images of a TIFF are the slide, and how they are arranged: levels, planes, channels, scanned areas."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

import tifffile

from qupath_sam.errors import SlideUnreadable, SlideUnsupported
from qupath_sam.slides.location import Location
from qupath_sam.slides.pixel_size import NO_PIXEL_SIZE, PixelSize, number
from qupath_sam.slides.rendering import RGB_CHANNELS, Channel, default_channels
from qupath_sam.slides.tiles import FileBytes, LevelPixels, Piece, Tiles

COMPARABLE = 4
"""An image of at least this part of the slide's px is no label or macro image: it is worth a remark."""

_TRUE_COLOUR = {tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR}
_NDPI_FOCAL_PLANE = 65424
_ROWS_AND_COLUMNS = {"Y", "X", "S"}


@dataclass(frozen=True, slots=True)
class PlacedSeries:
    """A series of tifffile, and its top-left corner on each level, in level px."""

    series: Any
    corners: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the slide lies in its file.

    Attributes:
        placed: the series that make it up; one, but for Leica's scanned areas.
        index: of the first of them, in the file.
        sizes: width and height of each level, level 0 first.
        channels: as a viewer lists them; three of an RGB image.
        is_true_colour: whether px are colours (RGB, YCbCr, a palette) and not channels.
        depth, times: planes of a stack.
        is_composed: whether there are scanned areas.
        remark: which of several images is taken, or "".
        pixel_size: where the layout itself says it (Leica).
        z_order: position in the file of plane 0, 1, ...
    """

    placed: tuple[PlacedSeries, ...]
    index: int
    sizes: tuple[tuple[int, int], ...]
    channels: tuple[Channel, ...]
    is_true_colour: bool
    depth: int
    times: int
    is_composed: bool
    remark: str
    pixel_size: PixelSize = NO_PIXEL_SIZE
    z_order: tuple[int, ...] = (0,)

    @property
    def first_page(self) -> Any:
        """A page of level 0: it stands for all as to type, bits and photometric interpretation."""
        return self.placed[0].series.keyframe

    def level_pixels(
        self, source: FileBytes, chosen: Sequence[int], z: int, t: int, location: Location
    ) -> tuple[LevelPixels, ...]:
        """Return the px of each level, of one plane.

        Args:
            chosen: channels by index; of true colours, the samples.

        Raises:
            SlideUnreadable: the file lacks a page of this plane.
        """
        levels = []
        for level, (width, height) in enumerate(self.sizes):
            pieces = []
            for placed in self.placed:
                x, y = placed.corners[level]
                parts = tuple(_parts(placed.series.levels[level], source, chosen, self.z_order[z], t, location))
                pieces.append(Piece(x, y, parts))
            levels.append(LevelPixels(width, height, tuple(pieces)))
        return tuple(levels)


def layout_of(tiff: tifffile.TiffFile, location: Location) -> Layout:
    """Return how the slide lies in an open TIFF.

    Raises:
        SlideUnsupported: axes that are none of an image, or pixels that lie in other files.
    """
    if tiff.is_scn:
        return _leica(tiff, location)
    index, remark = _largest(tiff.series)
    series = tiff.series[index]
    _check_in_this_file(tiff, index, location)
    sizes = tuple((_size_of(level)[0], _size_of(level)[1]) for level in series.levels)
    placed = (PlacedSeries(series, ((0, 0),) * len(sizes)),)
    return _layout(tiff, location, placed, index, sizes, composed=False, remark=remark)


def _layout(
    tiff: tifffile.TiffFile,
    location: Location,
    placed: tuple[PlacedSeries, ...],
    index: int,
    sizes: tuple[tuple[int, int], ...],
    *,
    composed: bool,
    remark: str,
) -> Layout:
    series = placed[0].series
    lead = _leading_axes(series, location)
    key = series.keyframe
    palette = key.photometric == tifffile.PHOTOMETRIC.PALETTE
    enough = key.samplesperpixel >= 3 or palette
    true_colour = lead.get("C", 1) == 1 and enough and (palette or key.photometric in _TRUE_COLOUR)
    count = lead.get("C", 1) * key.samplesperpixel
    channels = RGB_CHANNELS if true_colour else _named_channels(tiff, index, series, count)
    planes = {axis: size for axis, size in lead.items() if axis != "C"}
    depth = planes.get("Z", 1)
    return Layout(
        placed=placed,
        index=index,
        sizes=sizes,
        channels=channels,
        is_true_colour=true_colour,
        depth=depth,
        times=math.prod(size for axis, size in planes.items() if axis != "Z"),
        is_composed=composed,
        remark=remark,
        z_order=_focal_planes(series, location) if tiff.is_ndpi and depth > 1 else tuple(range(depth)),
    )


def _focal_planes(series: Any, location: Location) -> tuple[int, ...]:
    """Return Hamamatsu's planes, the one in focus first: OpenSlide, and so QuPath, shows that one alone."""
    offsets = [series[index].tags.valueof(_NDPI_FOCAL_PLANE) for index in range(len(series))]
    if not all(isinstance(offset, int) for offset in offsets) or 0 not in offsets:
        raise SlideUnsupported(
            f"{location.given} holds {len(offsets)} focal planes and does not say which is in focus; push the pixels"
        )
    return tuple(sorted(range(len(offsets)), key=lambda index: abs(offsets[index])))


def _largest(series: Sequence[Any]) -> tuple[int, str]:
    """Return the image with the largest level 0, the first of equals, and what to say of it where there are others."""
    areas = [math.prod(_size_of(one)) for one in series]
    if not areas:
        raise SlideUnsupported("the file holds no image; convert it to a tiled TIFF")
    index = areas.index(max(areas))
    others = sum(area * COMPARABLE >= areas[index] for area in areas) - 1
    if index == 0 and others == 0:
        return 0, ""
    width, height = _size_of(series[index])
    return index, (
        f"the file holds {len(areas)} images: number {index + 1}, the largest ({width} x {height} px), "
        "is the slide here; compare its size with what your viewer shows"
    )


def _size_of(series: Any) -> tuple[int, int]:
    axes, shape = series.axes, series.shape
    if "X" not in axes or "Y" not in axes:
        return 0, 0
    return int(shape[axes.index("X")]), int(shape[axes.index("Y")])


def _leading_axes(series: Any, location: Location) -> dict[str, int]:
    """Return the axes that run over pages, with their sizes: C, Z, T and one more under another name."""
    page_axes = series.keyframe.axes
    axes, shape = series.axes, series.shape
    count = len(axes) - len(page_axes)
    if count < 0 or axes[count:] != page_axes or not set(page_axes) <= _ROWS_AND_COLUMNS or len(set(axes)) < len(axes):
        raise SlideUnsupported(
            f"{location.given} is laid out along the axes {axes} ({page_axes} a page), which cannot be read here; "
            "convert it to OME-TIFF or push the pixels"
        )
    return {axis: int(size) for axis, size in zip(axes[:count], shape[:count], strict=True)}


def _parts(level: Any, source: FileBytes, chosen: Sequence[int], z: int, t: int, location: Location) -> Iterator[Tiles]:
    """Yield the pages of a level that hold the chosen channels, in their order.

    Neighbours in one page are read at once.
    """
    lead = _leading_axes(level, location)
    per_page = level.keyframe.samplesperpixel
    runs: list[tuple[int, list[int]]] = []
    for channel in chosen:
        page, sample = divmod(channel, per_page)
        if runs and runs[-1][0] == page:
            runs[-1][1].append(sample)
        else:
            runs.append((page, [sample]))
    for channel_page, samples in runs:
        index = _page_index(lead, channel_page, z, t)
        try:
            page = level[index]
        except IndexError:
            page = None
        if page is None:
            raise SlideUnreadable(
                f"{location.given} lacks the page of channel {channel_page + 1}, z={z}, t={t}; convert it to OME-TIFF "
                "with all its planes in one file"
            )
        yield Tiles(page, source, samples)


def _page_index(lead: dict[str, int], channel: int, z: int, t: int) -> int:
    """Return the position of a page among those of its level.

    Axes that are neither C nor Z count as time, the last of them fastest.
    """
    index, rest = 0, t
    places: dict[str, int] = {}
    for axis, size in reversed(lead.items()):
        if axis == "C":
            places[axis] = channel
        elif axis == "Z":
            places[axis] = z
        else:
            rest, places[axis] = divmod(rest, size)
    for axis, size in lead.items():
        index = index * size + places[axis]
    return index


def _leica(tiff: tifffile.TiffFile, location: Location) -> Layout:
    """Return Leica's scanned areas, placed as tiffslide reads them from the SCN's XML."""
    from tiffslide import tiffslide

    stream = tiff.filehandle
    slide = tiffslide.TiffSlide(stream, tifffile_options={"name": location.name})
    properties = slide.properties
    composition = properties["tiffslide.series-composition"]
    sizes = tuple((int(width), int(height)) for width, height in slide.level_dimensions)
    placed = tuple(
        PlacedSeries(tiff.series[index], tuple((int(x), int(y)) for y, x, _ in offsets))
        for index, offsets in composition["located_series"].items()
    )
    index = int(properties["tiffslide.series-index"])
    across, down = (
        number(properties.get(name)) for name in (tiffslide.PROPERTY_NAME_MPP_X, tiffslide.PROPERTY_NAME_MPP_Y)
    )
    layout = _layout(tiff, location, placed, index, sizes, composed=True, remark="")
    return replace(layout, pixel_size=PixelSize(across, down))


def ome_image(tiff: tifffile.TiffFile, index: int) -> ElementTree.Element | None:
    """Return the ``Pixels`` element of the OME image of a series; None where there is none that can be parsed."""
    if not tiff.is_ome or tiff.ome_metadata is None:
        return None
    try:
        root = ElementTree.fromstring(tiff.ome_metadata)
    except (ElementTree.ParseError, ValueError):
        return None
    images = [pixels for pixels in root.iter() if _tag(pixels) == "Pixels"]
    return images[index] if index < len(images) else None


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _check_in_this_file(tiff: tifffile.TiffFile, index: int, location: Location) -> None:
    """Refuse an OME-TIFF whose planes lie in several files: no file is opened because another names it."""
    pixels = ome_image(tiff, index)
    if pixels is None or tiff.ome_metadata is None:
        return
    own = ElementTree.fromstring(tiff.ome_metadata).get("UUID", "")
    files = {uuid.get("FileName", "?") for uuid in pixels.iter() if _tag(uuid) == "UUID" and (uuid.text or "") != own}
    if own and files:
        named = ", ".join(sorted(files)[:3])
        raise SlideUnsupported(
            f"{location.given} is one of several files of one image, whose pixels lie also in {named}; "
            "convert it to one OME-TIFF or push the pixels"
        )


def _named_channels(tiff: tifffile.TiffFile, index: int, series: Any, count: int) -> tuple[Channel, ...]:
    """Return channels with the names and colours that OME-XML, PerkinElmer's XML or ImageJ's description give them."""
    defaults = default_channels(count)
    if series.kind == "ome":
        found = _ome_channels(ome_image(tiff, index))
    elif tiff.is_qpi:
        found = [_qpi_channel(series[page].description) for page in range(min(count, len(series)))]
    elif tiff.is_imagej:
        labels = (tiff.imagej_metadata or {}).get("Labels") or []
        found = [(str(label), None) for label in labels] if len(labels) == count else []
    else:
        found = []
    if len(found) != count:
        return defaults
    return tuple(
        Channel(name or default.name, default.color if color is None else color)
        for (name, color), default in zip(found, defaults, strict=True)
    )


def _ome_channels(pixels: ElementTree.Element | None) -> list[tuple[str, int | None]]:
    found: list[tuple[str, int | None]] = []
    for channel in pixels if pixels is not None else ():
        if _tag(channel) != "Channel":
            continue
        name, samples = channel.get("Name", ""), int(channel.get("SamplesPerPixel", "1"))
        found += [(name if samples == 1 else f"{name} {i + 1}".strip(), _ome_color(channel)) for i in range(samples)]
    return found


def _ome_color(channel: ElementTree.Element) -> int | None:
    """Return a colour of OME, a signed 32-bit RGBA; -1, opaque white, stands for no colour."""
    try:
        packed = int(channel.get("Color", ""))
    except ValueError:
        return None
    return None if packed == -1 else (packed & 0xFFFFFFFF) >> 8


def _qpi_channel(description: str) -> tuple[str, int | None]:
    try:
        root = ElementTree.fromstring(description.encode("utf-8"))
    except (ElementTree.ParseError, ValueError):
        return "", None
    parts = [part.strip() for part in (root.findtext("Color") or "").split(",")]
    color = None
    if len(parts) == 3 and all(part.isdigit() and int(part) < 256 for part in parts):
        red, green, blue = map(int, parts)
        color = red << 16 | green << 8 | blue
    return (root.findtext("Name") or "").strip(), color
