"""What each layout reads as, beside what was written and what OpenSlide and tifffile themselves make of it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from qupath_sam.slides import open_slide
from qupath_sam.slides.base import SlideReader
from qupath_sam.types.regions import Region, Window
from tests.contracts.layouts import Layout, close_to


@dataclass(frozen=True)
class Agreement:
    """With whom a reader agrees about a file, for each thing compared.

    Attributes:
        read_by: the library that reads it here.
        size, pixel_size, first_px, colour: names of those that agree; "written" is what the file was made of.
        disagrees: "THING with WHOM" of those that do not.
    """

    read_by: str
    size: tuple[str, ...]
    pixel_size: tuple[str, ...]
    first_px: tuple[str, ...]
    colour: tuple[str, ...]
    disagrees: tuple[str, ...]


@dataclass(frozen=True)
class _Reference:
    """What another reader makes of the file; None for what it does not say."""

    name: str
    size: tuple[int, int]
    mpp: float | None
    says_mpp: bool
    pixels: NDArray[np.uint8] | None


def agreement(layout: Layout, folder: Path) -> Agreement:
    """Write a layout, read it, and compare."""
    path = layout.write(folder)
    with closing(open_slide(path, rendering=layout.rendering)) as reader:
        pixels = _whole(reader)
        size, mpp, library = (reader.info.width, reader.info.height), reader.info.mpp, reader.info.reader.split()[0]
        openslide = _by_openslide(path, layout, reader)
    expected = layout.expected()
    written = _Reference("written", (expected.shape[1], expected.shape[0]), layout.mpp, True, expected)
    references = [written, *(other for other in (openslide, _by_tifffile(path, layout)) if other is not None)]
    agree: dict[str, list[str]] = {thing: [] for thing in ("size", "pixel_size", "first_px", "colour")}
    disagree = []
    for other in references:
        found = {"size": size == other.size}
        if other.says_mpp:
            found["pixel_size"] = close_to(mpp, other.mpp)
        if other.pixels is not None and size == other.size:
            off = np.abs(pixels.astype(int) - other.pixels)
            # Two decoders of one JPEG are nearer to each other than to what was encoded.
            limit = layout.tolerance if other is written else min(layout.tolerance, 2)
            found["first_px"], found["colour"] = bool(off[0, 0].max() <= limit), bool(off.max() <= limit)
        for thing, same in found.items():
            if same:
                agree[thing].append(other.name)
            else:
                disagree.append(f"{thing} with {other.name}")
    return Agreement(library, *(tuple(agree[thing]) for thing in agree), tuple(disagree))


def _whole(reader: SlideReader, downsample: float = 1.0) -> NDArray[np.uint8]:
    return reader.read(Window.of(Region(0, 0, reader.info.width, reader.info.height), downsample))


def _by_openslide(path: Path, layout: Layout, ours: SlideReader) -> _Reference | None:
    """OpenSlide's own size, pixel size and px, cropped to its bounds as QuPath does; None where it cannot read it."""
    import openslide

    if layout.differs_from_openslide or path.is_dir():
        return None
    try:
        slide = openslide.OpenSlide(path)
    except openslide.OpenSlideError:
        return None
    with slide:
        names = ("x", "y", "width", "height")
        bounds = [slide.properties.get(f"openslide.bounds-{name}") for name in names]
        x, y, width, height = (
            (0, 0, *slide.dimensions) if None in bounds or not _is_cropped(path) else map(int, map(str, bounds))
        )
        stated = slide.properties.get("openslide.mpp-x")
        # Its answer to a file that states none is not the tags' either; QuPath shows px then.
        says = stated is not None and 0.05 <= float(stated) <= 50
        pixels = _on_white(np.asarray(slide.read_region((x, y), 0, (width, height))))
        return _Reference("OpenSlide", (width, height), float(stated) if says else None, says, pixels)


def _is_cropped(path: Path) -> bool:
    # OpenSlide 4.0.1 has bounds of sparse generic TIFFs as well; the releases that QuPath ships have not.
    return path.suffix in (".scn", ".mrxs")


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rgb = rgba[:, :, :3].copy()
    rgb[rgba[:, :, 3] == 0] = 255
    return rgb


def _by_tifffile(path: Path, layout: Layout) -> _Reference | None:
    """tifffile's own array of the largest series, where it is 8-bit RGB with nothing missing."""
    if path.suffix not in (".tif", ".tiff", ".svs", ".qptiff"):
        return None
    with tifffile.TiffFile(path) as tiff:
        try:
            found = tiff.series
        except ValueError:
            return None  # Philips with decimal commas
        series: Any = max(found, key=lambda one: one.shape[one.axes.index("Y")] * one.shape[one.axes.index("X")])
        page = series.keyframe
        plain = series.axes in ("YXS", "SYX") and page.samplesperpixel == 3 and page.dtype == np.uint8
        if not plain or page.compression in (33003, 34712) or 0 in page.databytecounts or "MedScan" in page.software:
            return None
        array = series.asarray()
    pixels = array if series.axes == "YXS" else array.transpose(1, 2, 0)
    return _Reference("tifffile", (pixels.shape[1], pixels.shape[0]), None, False, pixels)
