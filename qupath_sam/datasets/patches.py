"""Patches cut from annotated slides as the papers cut them.

Kim et al. (sec. 3.1) scale slides to x5 or x10, cut them into patches of 400 x 400 px, and keep those with 20 to 80 %
tumour; all tumour of a patch is one target. Patches do not overlap, and their grid starts at the slide's corner. The
papers say neither, nor which patches of CAMELYON16 they drew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from qupath_sam.datasets.annotations import Area, area_of
from qupath_sam.datasets.base import Dataset, LeftOut
from qupath_sam.datasets.kinds import Kind
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.options import Target
from qupath_sam.datasets.painting import paint
from qupath_sam.errors import InvalidRequest
from qupath_sam.slides.open import open_slide
from qupath_sam.types.regions import Region, Window

#: um per px at "x1": x40 is 0.25 um/px, as scanners and QuPath name it.
MPP_AT_X1 = 10.0


@dataclass(frozen=True, slots=True)
class Cut:
    """How patches are cut.

    Attributes:
        magnification: "x" of the patches; x5 is 2 um/px.
        size: side of a patch, px.
        least, most: share of a patch that must be tumour.
    """

    magnification: float
    size: int = 400
    least: float = 0.2
    most: float = 0.8


@dataclass(frozen=True, slots=True)
class AnnotatedSlide:
    """A slide with its annotated area.

    Attributes:
        path: of the slide.
        group: patient or slide.
        read_area: the annotated area, level-0 px.
    """

    path: Path
    group: str
    read_area: Callable[[], Area]


def cut_slides(name: str, slides: list[AnnotatedSlide], cut: Cut, *, left_out: Iterable[LeftOut] = ()) -> Dataset:
    """Cut the patches with the wanted share of tumour; slides without one are left out, and named.

    Raises:
        InvalidRequest: there are no slides, two have one name, one has no pixel size, or none has such a patch.
        SlideError: a slide cannot be read.
    """
    if not slides:
        raise InvalidRequest(f"{name}: no slide has an annotation file of the same name; check the folder's layout")
    names = [slide.path.name for slide in slides]
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise InvalidRequest(
            f"{name}: two slides are called {', '.join(twice)}, and patches and groups go by that name; rename one, or "
            "name their folders one by one"
        )
    found = {slide.path.name: tuple(_tiles(name, slide, cut)) for slide in slides}
    tiles = tuple(tile for of_slide in found.values() for tile in of_slide)
    lacks = (
        f"no patch of {cut.size} px at x{cut.magnification:g} of which {cut.least:.0%} to {cut.most:.0%} is annotated"
    )
    if not tiles:
        raise InvalidRequest(f"{name}: there is {lacks}; check that the annotations have the format's own groups")
    empty = [LeftOut(slide, lacks) for slide, of_slide in found.items() if not of_slide]
    reasons = (*left_out, *empty)
    return Dataset(name, tiles, target=Target.REGION, min_area=1, crop=None, kind=Kind.REGION, left_out=reasons)


def _tiles(name: str, slide: AnnotatedSlide, cut: Cut) -> Iterator[Tile]:
    with closing(open_slide(slide.path)) as opened:
        info = opened.info
    if info.rendering:
        raise InvalidRequest(f"{slide.path} is not 8-bit RGB, and nothing says how it is to be shown; convert it")
    downsample = _downsample(slide.path, info.mpp, cut.magnification)
    side = round(cut.size * downsample)
    area = slide.read_area()
    for x, y, part in patches(area, extent=info.extent, side=side, cut=cut):
        window = Window(Region(x, y, side, side), cut.size, cut.size)
        yield Tile(
            dataset=name,
            image_id=f"{slide.path.name}@x{cut.magnification:g}/{x},{y}",
            group=slide.group,
            split=None,
            mpp=MPP_AT_X1 / cut.magnification,
            read_pixels=partial(_read_window, slide.path, window),
            read_labels=partial(_read_labels, part, window),
            cut_from=slide.path.name,
        )


def patches(area: Area, *, extent: Region, side: int, cut: Cut) -> Iterator[tuple[int, int, Area]]:
    """Yield the corner (level-0 px) and annotated part of every whole patch on the grid with the wanted share of area.

    Args:
        area: annotated area, level-0 px.
        extent: of the slide's pixels, level-0 px.
        side: of a patch, level-0 px.
        cut: gives the shares.
    """
    min_x, min_y, max_x, max_y = area.bounds if not area.is_empty else (0, 0, 0, 0)
    for y in range(extent.y, extent.bottom - side + 1, side):
        if y + side <= min_y or y >= max_y:
            continue
        # A row is cut out first: clipping a slide's whole annotation for every patch is slow.
        row = shapely.clip_by_rect(area, min_x, y, max_x, y + side)
        for x in range(extent.x, extent.right - side + 1, side):
            part = area_of(shapely.clip_by_rect(row, x, y, x + side, y + side))
            if cut.least <= part.area / side**2 <= cut.most:
                yield x, y, part


def _downsample(path: Path, mpp: float | None, magnification: float) -> float:
    """Return the level-0 px per patch px, by nominal magnifications: a slide of 0.243 um/px is an x40 slide."""
    if mpp is None:
        raise InvalidRequest(f"{path} states no pixel size, so x{magnification:g} means nothing; set it in the slide")
    nominal = 2.0 ** round(float(np.log2(MPP_AT_X1 / mpp / 10))) * 10
    if nominal < magnification:
        raise InvalidRequest(
            f"{path} was scanned at about x{nominal:g}; patches at x{magnification:g} would be enlarged"
        )
    return nominal / magnification


def _read_window(path: Path, window: Window) -> NDArray[np.uint8]:
    with closing(open_slide(path)) as slide:
        return slide.read(window)


def _read_labels(part: Area, window: Window) -> NDArray[np.integer]:
    region = window.region
    return paint([part], (window.height, window.width), origin=(region.x, region.y), scale=region.width / window.width)
