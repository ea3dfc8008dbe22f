"""Crops for the dense head: objects of the wanted size, the same crop of the same plan."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.kinds import Kind
from qupath_sam.datasets.objects import Tile
from qupath_sam.errors import InvalidRequest
from qupath_sam.models.dense_scales import DENSE_SCALES
from qupath_sam.networks.dense_head import DENSE_SIZE
from qupath_sam.training.crops import CropPlan
from qupath_sam.training.data import TrainingData, training_data
from qupath_sam.training.dense.crops import (
    DenseCrops,
    median_diameter,
    plan_dense_crops,
    stretched,
)
from qupath_sam.types.choices import ObjectKind


def grid_of_discs(size: int, diameter: int) -> np.ndarray:
    """Discs that fill half of a square."""
    step = round(1.25 * diameter)
    rows, columns = np.indices((size, size))
    inside = np.hypot(rows % step - step / 2, columns % step - step / 2) < diameter / 2
    return np.where(inside, rows // step * 1000 + columns // step + 1, 0).astype(np.int32)


def data(*, sizes: dict[str, tuple[int, int, int]], kind: Kind = Kind.NUCLEUS) -> TrainingData:
    """Data sets by name: how many tiles, their side, the diameter of their discs."""
    datasets = []
    for name, (count, side, diameter) in sizes.items():
        labels = grid_of_discs(side, diameter) if diameter else np.zeros((side, side), np.int32)
        pixels = np.where(labels[..., None] > 0, 90, 210).astype(np.uint8).repeat(3, axis=2)
        tiles = tuple(
            Tile(name, f"{i}", f"case{i}", "train", None, lambda p=pixels: p, lambda v=labels: v) for i in range(count)
        )
        datasets.append(Dataset(name, tiles, kind=kind))
    return training_data(datasets)


@pytest.mark.parametrize(
    ("objects", "diameter"),
    [
        (ObjectKind.NUCLEI, 8),
        (ObjectKind.NUCLEI, 30),
        (ObjectKind.NUCLEI, 90),
        (ObjectKind.GLANDS, 60),
        (ObjectKind.GLANDS, 150),
    ],
)
def test_objects_have_the_size_that_the_head_is_made_for(objects: ObjectKind, diameter: int) -> None:
    make = DenseCrops(data(sizes={"discs": (1, 900, diameter)}), seed=0, augmented=False, objects=objects)
    found = []
    for seed in range(12):
        crop = make(CropPlan(0, seed))
        assert crop.pixels.shape == (DENSE_SIZE, DENSE_SIZE, 3)
        assert crop.pixels.dtype == np.uint8
        # Where the label is, the object is.
        assert crop.pixels[crop.labels > 0].mean() < 110
        assert crop.pixels[crop.labels == 0].mean() > 190
        found.append(median_diameter(crop.labels))
    smallest, largest = DENSE_SCALES[objects].trained
    # The crop's edge cuts large objects.
    assert min(found) > 0.6 * smallest
    assert max(found) < 1.1 * largest
    assert max(found) > 1.5 * min(found)


def test_the_same_plan_gives_the_same_crop() -> None:
    some = data(sizes={"discs": (2, 300, 30)})
    one, other = (DenseCrops(some, seed=3, augmented=True)(CropPlan(1, 7)) for _ in range(2))
    assert (one.pixels == other.pixels).all()
    assert (one.labels == other.labels).all()


def test_sets_are_drawn_by_the_root_of_their_objects_and_each_tile_alike() -> None:
    some = data(sizes={"many": (8, 300, 10), "few": (2, 300, 20)})
    plans = plan_dense_crops(some, 2000, seed=0)
    names = [some.tiles[plan.tile].tile.dataset for plan in plans]
    objects = {
        name: sum(len(np.unique(t.tile.read_labels())) - 1 for t in some.tiles if t.tile.dataset == name)
        for name in ("many", "few")
    }
    share = names.count("many") / len(names)
    assert share == pytest.approx(objects["many"] ** 0.5 / sum(n**0.5 for n in objects.values()), abs=0.03)
    counts = np.bincount([plan.tile for plan in plans], minlength=10)
    assert np.ptp(counts[:8]) <= 1
    assert np.ptp(counts[8:]) <= 1
    assert plans == plan_dense_crops(some, 2000, seed=0)


def test_tiles_without_an_object_are_nothing_to_learn_from() -> None:
    with pytest.raises(InvalidRequest, match="labelled objects"):
        plan_dense_crops(data(sizes={"empty": (1, 100, 0)}), 3, seed=0)


def test_a_dim_image_is_stretched_and_a_black_one_stays() -> None:
    ramp = np.linspace(5, 35, 64 * 64).reshape(64, 64, 1).repeat(3, axis=2).astype(np.uint8)
    out = stretched(ramp)
    assert out.min() == 0
    assert out.max() == 255
    assert (stretched(np.zeros((8, 8, 3), np.uint8)) == 0).all()
