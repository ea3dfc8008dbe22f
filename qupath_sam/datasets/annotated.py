"""Annotations of whole slides as a data set: every annotation one object, in a tile cut from its slide.

A tile is a square at one scale, its corner on a grid of a quarter of its side, so that an object lies somewhere in its
middle half and not always in the very middle. Objects of a scale that lie wholly in one tile share it; where
annotations overlap, each is scored in a tile of its own, for a pixel can belong to several of them. What of other
annotations reaches into a tile is background there, as a neighbour is in any data set, and an object where it is whole.

Scales: unless the caller names one, each object gets the finest downsample of 1, 2, 4, ... at which it fills no more
than half of its tile. At a named scale the tile grows instead.

Regions (`Target.REGION`): tiles are the papers' patches (`qupath_sam.datasets.patches`), 400 px at 2 um/px
unless another scale is named, and all annotations of the classes together are what is to be found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qupath_sam.datasets.annotations import Area, area_of
from qupath_sam.datasets.base import Dataset, LeftOut
from qupath_sam.datasets.kinds import Kind
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.options import Target
from qupath_sam.datasets.painting import paint
from qupath_sam.datasets.patches import MPP_AT_X1, Cut, patches
from qupath_sam.errors import InvalidRequest, SlideError, SlideUnsupported
from qupath_sam.slides.base import SlideInfo
from qupath_sam.slides.location import PathMap
from qupath_sam.slides.open import SlideSource, open_slide
from qupath_sam.types.regions import Region, Window

#: Side of a tile, px; at a named scale a tile grows to no more than the other.
TILE_PX, MOST_TILE_PX = 512, 4096
#: An object fills no more than this share of its tile.
_OBJECT_SHARE = 0.5
#: um per px of patches for regions.
_REGION_MPP = 2.0


@dataclass(frozen=True, slots=True)
class AnnotationChoices:
    """Which annotations are objects, and at which scale they are shown.

    Attributes:
        classes: to take, with those derived from them ("Tumor" takes "Tumor: Positive"), "Unclassified" for none.
            Empty takes every annotation but those of classes that QuPath ignores, whose names end in ``*``.
        target: each annotation, or all of a patch as one region; None means each.
        mpp, downsample: um per px or level-0 px per px of all tiles; at most one.
    """

    classes: tuple[str, ...] = ()
    target: Target | None = None
    mpp: float | None = None
    downsample: float | None = None

    def __post_init__(self) -> None:
        if self.mpp is not None and self.downsample is not None:
            raise InvalidRequest("give --mpp or --downsample, not both")
        if not all(value > 0 for value in (self.mpp, self.downsample) if value is not None):
            raise InvalidRequest("--mpp and --downsample are positive numbers; give another")

    def wants(self, path_class: str | None) -> bool:
        """Return whether annotations of a class (None: of none) are objects."""
        name = path_class or "Unclassified"
        if not self.classes:
            return not name.endswith("*")
        return any(name == wanted or name.startswith(f"{wanted}: ") for wanted in self.classes)

    def scale(self, mpp: float | None) -> float | None:
        """Return the level-0 px per tile px that the caller names for an image of that pixel size, or None.

        Raises:
            SlideUnsupported: the image has no pixel size, or not such small pixels.
        """
        downsample = self.downsample
        if self.mpp is not None:
            if mpp is None:
                raise SlideUnsupported("it has no pixel size; set it in QuPath, or give --downsample")
            downsample = self.mpp / mpp
        if downsample is not None and downsample < 0.99:
            raise SlideUnsupported(f"its pixels would be enlarged {1 / downsample:.2g} times; ask for a coarser scale")
        return downsample


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a person has drawn: a shape (level-0 px), its class and its plane."""

    geometry: BaseGeometry
    path_class: str | None
    z: int = 0
    t: int = 0


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image and its annotations.

    Attributes:
        name: unique in the data set.
        group: patient, or the image itself.
        source: what `qupath_sam.slides.open.open_slide` opens.
        annotations: of all classes.
        path_map: from the folders in ``source`` to this machine's.
    """

    name: str
    group: str
    source: SlideSource
    annotations: Sequence[Annotation]
    path_map: PathMap = field(default_factory=PathMap)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Scale and size of a tile: level-0 px per px, and px of its side."""

    downsample: float
    side: int


def annotated_dataset(
    name: str, images: Iterable[AnnotatedImage], choices: AnnotationChoices, *, left_out: Iterable[LeftOut] = ()
) -> Dataset:
    """Return the tiles of all images; one that cannot be opened is left out, and named.

    Raises:
        InvalidRequest: nothing is left.
    """
    reasons = list(left_out)
    tiles: list[Tile] = []
    for image in images:
        areas, dropped = _areas_of(image.annotations, choices)
        reasons += [LeftOut(image.name, f"{count} annotations {why}") for why, count in dropped.items()]
        if not areas:
            continue
        try:
            of_image, too_large = _tiles(name, image, areas, choices)
        except (SlideError, InvalidRequest) as error:
            reasons.append(LeftOut(image.name, f"{len(areas)} annotations: {error}"))
            continue
        if too_large:
            reasons.append(LeftOut(image.name, f"{too_large} annotations larger than {MOST_TILE_PX // 2} px there"))
        tiles += of_image
    if not tiles:
        raise InvalidRequest(
            f"{name} has no annotation {_named(choices)}{_listed(reasons)}; check --class, and the scale"
        )
    target = choices.target or Target.INSTANCES
    dataset = Dataset(name, tuple(tiles), target=target, crop=None, left_out=tuple(reasons))
    return replace(dataset, min_area=1, kind=Kind.REGION) if target is Target.REGION else dataset


def _areas_of(annotations: Iterable[Annotation], choices: AnnotationChoices) -> tuple[list[Area], Counter[str]]:
    """Return the areas of the wanted annotations, and how many are left out for what reason."""
    areas: list[Area] = []
    dropped: Counter[str] = Counter()
    for annotation in annotations:
        if not choices.wants(annotation.path_class):
            continue
        area = area_of(annotation.geometry)
        if area.is_empty:
            dropped["have no area"] += 1
        elif (annotation.z, annotation.t) != (0, 0):
            dropped["are on another plane than z 0, t 0"] += 1
        else:
            areas.append(area)
    return areas, dropped


def _tiles(
    dataset: str, image: AnnotatedImage, areas: Sequence[Area], choices: AnnotationChoices
) -> tuple[list[Tile], int]:
    """Return the tiles of an image, and how many of its annotations are too large for one."""
    with closing(open_slide(image.source, path_map=image.path_map)) as slide:
        info = slide.info
    if info.rendering:
        raise SlideUnsupported("it is not 8-bit RGB, and nothing says how it is to be shown; convert it")
    make = partial(_tile, dataset, image, info)
    if choices.target is Target.REGION:
        return [make(window, parts) for window, parts in _patches(areas, info, choices)], 0
    framed: dict[_Frame | None, list[Area]] = {}
    downsample = choices.scale(info.mpp)
    for area in areas:
        seen = area_of(shapely.clip_by_rect(area, *info.extent.bounds))
        if not seen.is_empty:
            framed.setdefault(_frame(seen, downsample), []).append(seen)
    too_large = len(framed.pop(None, []))
    tiles: list[Tile] = []
    for frame, of_frame in framed.items():
        twice: Counter[Window] = Counter()
        for window, inside in _shared(of_frame, frame, info.extent) if frame is not None else ():
            tiles.append(make(window, inside, number=twice[window]))
            twice[window] += 1
    return tiles, too_large


def _tile(
    dataset: str, image: AnnotatedImage, info: SlideInfo, window: Window, areas: Sequence[Area], *, number: int = 0
) -> Tile:
    region = window.region
    again = f" ({number + 1})" if number else ""
    return Tile(
        dataset=dataset,
        image_id=f"{image.name}@{window.downsample:g}/{region.x},{region.y}{again}",
        group=image.group,
        split=None,
        mpp=None if info.mpp is None else info.mpp * window.downsample,
        read_pixels=partial(_read_window, image.source, image.path_map, window),
        read_labels=partial(_read_labels, tuple(areas), window),
        cut_from=image.name,
    )


def _frame(area: Area, downsample: float | None) -> _Frame | None:
    """Return the scale and size of the tile for an object; None where it would be too large."""
    min_x, min_y, max_x, max_y = area.bounds
    longer = max(max_x - min_x, max_y - min_y)
    if downsample is None:
        exponent = max(0, int(np.ceil(np.log2(longer / (_OBJECT_SHARE * TILE_PX)))))
        return _Frame(2.0**exponent, TILE_PX)
    side = TILE_PX
    while longer / downsample > _OBJECT_SHARE * side:
        side *= 2
    return _Frame(downsample, side) if side <= MOST_TILE_PX else None


def _shared(areas: Sequence[Area], frame: _Frame, extent: Region) -> Iterator[tuple[Window, list[Area]]]:
    """Yield tiles that hold every area once, whole, and none that overlaps another."""
    tree = shapely.STRtree(areas)
    overlaps = _overlaps(areas, tree)
    waiting = dict.fromkeys(sorted(range(len(areas)), key=lambda i: (areas[i].bounds[1], areas[i].bounds[0], i)))
    while waiting:
        first = next(iter(waiting))
        window = _window_round(areas[first], frame, extent)
        taken = [first]
        for index in sorted(tree.query(shapely.box(*window.region.bounds), predicate="contains").tolist()):
            if index in waiting and index != first and not overlaps[index] & set(taken):
                taken.append(index)
        for index in taken:
            del waiting[index]
        yield window, [areas[index] for index in sorted(taken)]


def _overlaps(areas: Sequence[Area], tree: shapely.STRtree) -> list[set[int]]:
    """Return for each area the numbers of those that it shares more than a border with."""
    overlaps: list[set[int]] = [set() for _ in areas]
    array = np.asarray(areas, dtype=object)
    one, other = tree.query(array, predicate="intersects")
    apart = one < other
    one, other = one[apart], other[apart]
    common = shapely.area(shapely.intersection(array[one], array[other])) > 0
    for i, j in zip(one[common].tolist(), other[common].tolist(), strict=True):
        overlaps[i].add(j)
        overlaps[j].add(i)
    return overlaps


def _window_round(area: Area, frame: _Frame, extent: Region) -> Window:
    """Return the tile on the grid whose middle half holds the area's centre, moved inside the image where that goes."""
    side = round(frame.side * frame.downsample)
    min_x, min_y, max_x, max_y = area.bounds
    x = _corner((min_x + max_x) / 2, side, extent.x, extent.right)
    y = _corner((min_y + max_y) / 2, side, extent.y, extent.bottom)
    return Window(Region(x, y, side, side), frame.side, frame.side)


def _corner(centre: float, side: int, low: int, high: int) -> int:
    step = max(1, side // 4)
    corner = low + round((centre - side / 2 - low) / step) * step
    return max(low, min(corner, high - side))


def _patches(areas: Sequence[Area], info: SlideInfo, choices: AnnotationChoices) -> Iterator[tuple[Window, list[Area]]]:
    """Yield the papers' patches, with the part of the areas in each."""
    named = choices.scale(info.mpp)
    if named is None and info.mpp is None:
        raise SlideUnsupported("it has no pixel size; set it in QuPath, or give --downsample")
    downsample = named if named is not None else max(1.0, _REGION_MPP / (info.mpp or _REGION_MPP))
    cut = Cut(MPP_AT_X1 / _REGION_MPP)
    side = round(cut.size * downsample)
    for x, y, part in patches(area_of(shapely.union_all(areas)), extent=info.extent, side=side, cut=cut):
        yield Window(Region(x, y, side, side), cut.size, cut.size), [part]


def _read_window(source: SlideSource, path_map: PathMap, window: Window) -> NDArray[np.uint8]:
    with closing(open_slide(source, path_map=path_map)) as slide:
        return slide.read(window)


def _read_labels(areas: tuple[Area, ...], window: Window) -> NDArray[np.integer]:
    region = window.region
    scale = region.width / window.width
    return paint(areas, (window.height, window.width), origin=(region.x, region.y), scale=scale)


def _named(choices: AnnotationChoices) -> str:
    return f"of class {', '.join(choices.classes)}" if choices.classes else "of any class"


def _listed(reasons: Sequence[LeftOut]) -> str:
    shown = "; ".join(f"{each.image}: {each.reason}" for each in reasons[:3])
    return f" (left out: {shown}{', ...' if len(reasons) > 3 else ''})" if reasons else ""
