"""Crops: squares that are cut from tiles, augmented and shown to the model. A plan names them, to make each again.

Nuclei and glands differ in size by an order of magnitude, and the engine chooses its windows by the object's size. So a
crop is the whole tile, a square at its own scale or a random one, scaled to the model's input; or, as the engine's
windows do, it looks closer at an object, or reaches beyond a small image, white there. `WindowChoice.IMAGE` shows what
the papers' protocol shows instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from qupath_sam.datasets.kinds import Kind
from qupath_sam.datasets.options import Target, WindowChoice
from qupath_sam.networks.canvas import CANVAS_SIZE
from qupath_sam.training.augment import Labels, Pixels, augment, colour_statistics
from qupath_sam.training.data import TrainingData

#: Changes with anything that makes another crop of the same plan.
CROPS_VERSION = 5
#: Share of crops that reach beyond the tile, and the longest side of those, in sides of the tile.
_BEYOND_SHARE, _LONGEST_SHARE = 0.12, 2.0
#: Share of crops that look closer at an object, the least and the most of their side that it fills, and how far off
#: their middle it may be, in sides: windows stand on a grid.
_CLOSER_SHARE, _LEAST_FILLED, _MOST_FILLED, _OFF_CENTRE = 0.42, 0.12, 0.95, 0.25
#: Of the others, share that show as much of the tile as a square can, and of those of a larger tile than a crop, share
#: that show a square of it pixel for pixel instead.
_WHOLE_SHARE, _NATIVE_SHARE = 0.5, 0.5
_WHITE = 255
#: The smallest square that is cut, px, and the smallest as a share of the tile's shorter side.
_SMALLEST_SIDE, _SMALLEST_SHARE = 64, 0.3
#: Tiles whose look others may take on.
_COLOUR_DONORS = 60
#: Smallest target, in px of the crop: smaller ones have no outline to speak of.
_SMALLEST_TARGET = 40
#: Squares that are tried in search of one that holds an object.
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class CropPlan:
    """How to make a crop.

    Attributes:
        tile: index into the training tiles.
        seed: of everything random about it.
    """

    tile: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A crop, ready to be encoded and clicked.

    Attributes:
        pixels: uint8 ``(S, S, 3)`` RGB, S being the model's input size.
        labels: int32 ``(S, S)``; 0 is background.
        targets: labels that are large enough to be learnt from.
    """

    pixels: Pixels
    labels: NDArray[np.int32]
    targets: tuple[int, ...]


def plan_crops(data: TrainingData, count: int, *, seed: int) -> list[CropPlan]:
    """Plan ``count`` crops: each kind of object as often as any other, each data set of a kind, each of its tiles.

    One of few large tiles would hardly be seen beside one of many small ones, and tumour regions hardly beside nuclei.
    """
    random = np.random.default_rng(seed)
    of_kind: dict[Kind, dict[str, list[int]]] = {}
    for index, each in enumerate(data.tiles):
        of_kind.setdefault(each.kind, {}).setdefault(each.tile.dataset, []).append(index)
    kinds = sorted(of_kind, key=lambda kind: kind.value)
    sets: dict[Kind, list[str]] = {kind: [] for kind in kinds}
    waiting: dict[str, list[int]] = {}
    plans: list[CropPlan] = []
    while len(plans) < count:
        for place in random.permutation(len(kinds)).tolist():
            kind = kinds[place]
            if not sets[kind]:
                sets[kind] = random.permutation(sorted(of_kind[kind])).tolist()
            name = sets[kind].pop()
            if not waiting.get(name):
                waiting[name] = random.permutation(of_kind[kind][name]).tolist()
            plans.append(CropPlan(waiting[name].pop(), int(random.integers(2**31))))
    return plans[:count]


def colour_donors(data: TrainingData, *, seed: int) -> NDArray[np.float64]:
    """Return ``(N, 2, 3)``: `colour_statistics` of some of the tiles."""
    order = np.random.default_rng(seed).permutation(len(data.tiles))[:_COLOUR_DONORS]
    return np.stack([colour_statistics(data.tiles[i].tile.read_pixels()) for i in order])


def make_crop(
    data: TrainingData,
    plan: CropPlan,
    *,
    input_size: int,
    colours: NDArray[np.float64],
    augmented: bool = True,
    window: WindowChoice = WindowChoice.AUTO,
) -> Crop:
    """Make the crop of a plan; the same plan and data give the same crop.

    Args:
        data: the tiles.
        plan: of `plan_crops`.
        input_size: side of the crop, px.
        colours: see `augment`.
        augmented: whether it is.
        window: squares of all sizes, or only those of the papers' protocol.
    """
    random = np.random.default_rng(plan.seed)
    each = data.tiles[plan.tile]
    pixels, labels = each.tile.read_pixels(), each.tile.read_labels()
    if each.target is Target.REGION:
        labels = (labels != 0).astype(np.int32)
    if window is WindowChoice.IMAGE:
        pixels, labels = _papers_square(pixels, labels, random, crop=each.crop)
    else:
        pixels, labels = _square(pixels, labels, random)
    scale = CANVAS_SIZE / labels.shape[0]
    pixels = _scaled(pixels, input_size)
    labels = _scaled_labels(labels, input_size)
    if augmented:
        pixels, labels = augment(pixels, labels, random, colours=colours)
    values, areas = np.unique(labels[labels != 0], return_counts=True)
    crop_areas = areas * (CANVAS_SIZE / input_size) ** 2
    enough = max(_SMALLEST_TARGET, min(each.min_area * scale**2, 4 * each.min_area))
    targets = tuple(int(value) for value, area in zip(values, crop_areas, strict=True) if area >= enough)
    return Crop(np.array(pixels), labels.astype(np.int32), targets)


def _square(pixels: Pixels, labels: Labels, random: np.random.Generator) -> tuple[Pixels, Labels]:
    """Return a square as the engine might choose it."""
    drawn = random.random()
    if drawn < _BEYOND_SHARE:
        return _beyond(pixels, labels, random)
    if drawn < _BEYOND_SHARE + _CLOSER_SHARE and labels.any():
        return _closer(pixels, labels, random)
    return _holding(pixels, labels, _side(min(labels.shape), random), random)


def _papers_square(
    pixels: Pixels, labels: Labels, random: np.random.Generator, *, crop: int | None
) -> tuple[Pixels, Labels]:
    """Return the papers' square: as much of the tile as a square shows, or a crop of the protocol's size in it."""
    shorter = min(labels.shape)
    return _holding(pixels, labels, min(crop or shorter, shorter), random)


def _holding(pixels: Pixels, labels: Labels, side: int, random: np.random.Generator) -> tuple[Pixels, Labels]:
    """Return a random square of that side; the first of a few that holds something."""
    height, width = labels.shape
    for attempt in range(_ATTEMPTS):
        y, x = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
        inside = slice(y, y + side), slice(x, x + side)
        if attempt == _ATTEMPTS - 1 or np.count_nonzero(labels[inside]) > 0.03 * side * side:
            break
    return pixels[inside], labels[inside]


def _side(shorter: int, random: np.random.Generator) -> int:
    """Return the side of a square in a tile: the tile's shorter side, the side of a crop, or any length."""
    if random.random() < _WHOLE_SHARE:
        return CANVAS_SIZE if shorter > CANVAS_SIZE and random.random() < _NATIVE_SHARE else shorter
    smallest = min(shorter, max(_SMALLEST_SIDE, round(_SMALLEST_SHARE * shorter)))
    return _log_uniform(smallest, shorter, random)


def _closer(pixels: Pixels, labels: Labels, random: np.random.Generator) -> tuple[Pixels, Labels]:
    """Return a square round one of the objects, whose size it follows."""
    values = np.unique(labels[labels != 0])  # numbers may have gaps, and be negative
    chosen = labels == values[int(random.integers(len(values)))]
    ((rows, columns),) = ndimage.find_objects(chosen.astype(np.uint8))
    extent = max(rows.stop - rows.start, columns.stop - columns.start)
    side = _log_uniform(extent / _MOST_FILLED, extent / _LEAST_FILLED, random)
    side = min(max(side, _SMALLEST_SIDE), *labels.shape)
    off = random.uniform(-_OFF_CENTRE, _OFF_CENTRE, 2) * side
    middle = np.array([rows.start + rows.stop, columns.start + columns.stop]) / 2 + off
    y, x = np.clip(np.round(middle - side / 2), 0, np.array(labels.shape) - side).astype(int)
    return pixels[y : y + side, x : x + side], labels[y : y + side, x : x + side]


def _log_uniform(least: float, most: float, random: np.random.Generator) -> int:
    return round(math.exp(random.uniform(math.log(least), math.log(most))))


def _beyond(pixels: Pixels, labels: Labels, random: np.random.Generator) -> tuple[Pixels, Labels]:
    """Return the tile at the upper left of a larger square; `augment` turns it to the other corners."""
    height, width = labels.shape
    longer = max(height, width)
    side = round(longer * math.exp(random.uniform(0, math.log(_LONGEST_SHARE))))
    around = (0, side - height), (0, side - width)
    return np.pad(pixels, (*around, (0, 0)), constant_values=_WHITE), np.pad(labels, around)


def _scaled(pixels: Pixels, size: int) -> Pixels:
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((size, size), Image.Resampling.BILINEAR))


def _scaled_labels(labels: Labels, size: int) -> NDArray[np.int32]:
    """Scale labels by the cell that holds the centre.

    The nearest neighbour of some libraries is a pixel off (ClickSEG, README).
    """
    side = labels.shape[0]
    nearest = np.minimum((np.arange(size) + 0.5) * side / size, side - 1).astype(np.intp)
    return np.ascontiguousarray(labels[np.ix_(nearest, nearest)]).astype(np.int32)
