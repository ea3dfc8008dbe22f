"""Crops for the dense head: squares in which the objects of a tile have the size that the head is made for."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.datasets.kinds import Kind
from qupath_sam.errors import InvalidRequest
from qupath_sam.models.dense_scales import DENSE_SCALES
from qupath_sam.networks.dense_head import DENSE_SIZE
from qupath_sam.training.augment import Labels, Pixels, augment, colour_statistics
from qupath_sam.training.crops import Crop, CropPlan
from qupath_sam.training.data import TrainingData, TrainingTile
from qupath_sam.types.choices import ObjectKind

#: Changes with anything that makes another crop of the same plan.
DENSE_CROPS_VERSION = 1
#: The smallest square that is cut, px, and how far a crop may reach beyond a small tile, which is mirrored there.
_SMALLEST_SIDE, _BEYOND = 48, 1.25
#: Share of bright-on-dark crops whose brightest pixels are lifted to white: scanners use a tenth of the range, or all.
_STRETCHED_SHARE = 0.5
_DONORS_A_KIND = 40
#: Squares that are tried in search of one that holds something.
_ATTEMPTS = 3


def median_diameter(labels: NDArray[np.integer]) -> float:
    """Return the median diameter (px) of circles of the objects' areas; 0 where there is none."""
    areas = np.unique(labels[labels != 0], return_counts=True)[1]
    return float(np.median(2 * np.sqrt(areas / math.pi))) if len(areas) else 0.0


def plan_dense_crops(data: TrainingData, count: int, *, seed: int) -> list[CropPlan]:
    """Plan ``count`` crops: a data set as often as the root of its number of objects says, each of its tiles alike.

    By number alone one large set would be most of what is learnt; each set alike would show one tile for a third of it.
    """
    random = np.random.default_rng(seed)
    tiles: dict[str, list[int]] = {}
    objects: dict[str, int] = {}
    for index, each in enumerate(data.tiles):
        name = each.tile.dataset
        labels = each.tile.read_labels()
        tiles.setdefault(name, []).append(index)
        objects[name] = objects.get(name, 0) + len(np.unique(labels[labels != 0]))
    names = sorted(tiles)
    weights = np.sqrt([objects[name] for name in names])
    if not weights.any():
        raise InvalidRequest("no tile has an object; a dense head learns from data sets with labelled objects")
    drawn = random.choice(len(names), size=count, p=weights / weights.sum())
    waiting: dict[str, list[int]] = {name: [] for name in names}
    plans = []
    for place in drawn.tolist():
        name = names[place]
        if not waiting[name]:
            waiting[name] = random.permutation(tiles[name]).tolist()
        plans.append(CropPlan(waiting[name].pop(), int(random.integers(2**31))))
    return plans


class DenseCrops:
    """Makes the crops of a plan.

    Args:
        data: the tiles.
        seed: of the choice of tiles whose look others of their kind take on.
        augmented: whether crops are augmented; else they differ in place and scale alone.
        objects: that the tiles label; their scale is that of `DENSE_SCALES`.
    """

    def __init__(
        self, data: TrainingData, *, seed: int, augmented: bool, objects: ObjectKind = ObjectKind.NUCLEI
    ) -> None:
        self._data = data
        self._trained = DENSE_SCALES[objects].trained
        self._augmented = augmented
        self._colours = {kind: _donors(data, kind, seed=seed) for kind in {each.kind for each in data.tiles}}
        self._read = lru_cache(maxsize=64)(_read)

    def __call__(self, plan: CropPlan) -> Crop:
        """Make the crop of a plan, 256 px a side; the same plan and data give the same crop."""
        random = np.random.default_rng(plan.seed)
        each = self._data.tiles[plan.tile]
        pixels, labels, diameter = self._read(each)
        smallest, largest = self._trained
        wanted = math.exp(random.uniform(math.log(smallest), math.log(largest)))
        side = round(DENSE_SIZE * (diameter or wanted) / wanted)
        side = min(max(side, _SMALLEST_SIDE), round(_BEYOND * min(labels.shape)))
        pixels, labels = _square(pixels, labels, side, random)
        pixels, labels = _scaled(pixels, labels)
        if self._augmented:
            if each.kind is Kind.BRIGHT_NUCLEUS and random.random() < _STRETCHED_SHARE:
                pixels = stretched(pixels)
            pixels, labels = augment(pixels, labels, random, colours=self._colours[each.kind])
        targets = tuple(int(value) for value in np.unique(labels[labels != 0]))
        return Crop(np.array(pixels), labels.astype(np.int32), targets)


def stretched(pixels: Pixels) -> Pixels:
    """Stretch black and the brightest thousandth to 0 and 255, in all channels alike."""
    low, high = np.percentile(pixels, (0.1, 99.9))
    scaled = (pixels.astype(np.float64) - low) * (255 / max(high - low, 1.0))
    whole: Pixels = np.clip(np.round(scaled), 0, 255).astype(np.uint8)
    return whole


def _read(each: TrainingTile) -> tuple[Pixels, Labels, float]:
    labels = each.tile.read_labels()
    return each.tile.read_pixels(), labels, median_diameter(labels)


def _donors(data: TrainingData, kind: Kind, *, seed: int) -> NDArray[np.float64]:
    """Return ``(N, 2, 3)``: `colour_statistics` of tiles of a kind.

    Bright nuclei in the colours of dark ones are neither.
    """
    own = [each.tile for each in data.tiles if each.kind is kind]
    chosen = np.random.default_rng(seed).permutation(len(own))[:_DONORS_A_KIND]
    return np.stack([colour_statistics(own[i].read_pixels()) for i in chosen])


def _square(pixels: Pixels, labels: Labels, side: int, random: np.random.Generator) -> tuple[Pixels, Labels]:
    """Return a random square, beyond a smaller tile mirrored; the first of a few that is not nearly empty."""
    short = [max(0, side - extent) for extent in labels.shape]
    if any(short):
        around = [(extra // 2, extra - extra // 2) for extra in short]
        pixels = np.pad(pixels, (*around, (0, 0)), mode="symmetric")
        labels = np.pad(labels, around, mode="symmetric")
    for _ in range(_ATTEMPTS):
        y, x = (int(random.integers(extent - side + 1)) for extent in labels.shape)
        inside = slice(y, y + side), slice(x, x + side)
        if np.count_nonzero(labels[inside]) > 0.02 * side * side:
            break
    return pixels[inside], labels[inside]


def _scaled(pixels: Pixels, labels: Labels) -> tuple[Pixels, Labels]:
    """Scale to the head's size; a label by the cell that holds the pixel's centre."""
    size, side = DENSE_SIZE, labels.shape[0]
    nearest = np.minimum((np.arange(size) + 0.5) * side / size, side - 1).astype(np.intp)
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image), np.ascontiguousarray(labels[np.ix_(nearest, nearest)])
