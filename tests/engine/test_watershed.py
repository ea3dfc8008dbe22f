"""Three maps to objects: hills that touch are parted on their crest, and each seed gets what it reaches."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from qupath_sam.engine.automatic.watershed import WatershedOptions, label_objects, watershed
from qupath_sam.training.dense.targets import dense_targets


def discs(*places: tuple[float, float, float], size: int = 96) -> np.ndarray:
    rows, columns = np.indices((size, size)) + 0.5
    labels = np.zeros((size, size), np.int32)
    for value, (row, column, radius) in enumerate(places, start=1):
        labels[(np.hypot(rows - row, columns - column) < radius) & (labels == 0)] = value
    return labels


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def test_a_line_is_parted_where_it_costs_most() -> None:
    cost = np.array([[0, 0.2, 0.5, 0.9, 0.4, 0.1, 0]], np.float32)
    seeds = np.array([[1, 0, 0, 0, 0, 0, 2]])
    found = watershed(cost, seeds, np.ones_like(seeds, bool))
    assert found[0, :3].tolist() == [1, 1, 1]
    assert found[0, 4:].tolist() == [2, 2, 2]


def test_nothing_goes_through_the_background() -> None:
    inside = np.ones((5, 9), bool)
    inside[:, 4] = False
    seeds = np.zeros((5, 9), int)
    seeds[2, 1] = 1
    found = watershed(np.zeros((5, 9), np.float32), seeds, inside)
    assert (found[:, :4] == 1).all()
    assert (found[:, 4] == 0).all()
    assert (found[:, 5:] == 2).all()  # without a seed: a label of its own


def test_a_seed_of_many_pixels_stays_one() -> None:
    """Even where going through it would cost more than going round."""
    cost = np.ones((7, 7), np.float32)
    seeds = np.zeros((7, 7), int)
    seeds[3, 1:6] = 4
    assert set(watershed(cost, seeds, np.ones((7, 7), bool)).ravel().tolist()) == {4}


def test_no_foreground_is_no_object() -> None:
    assert not label_objects(np.zeros((3, 20, 20), np.float32)).any()


@pytest.mark.parametrize("noise", [0.0, 0.08])
def test_touching_discs_come_out_as_they_were(noise: float) -> None:
    truth = discs((30, 30, 14), (30, 55, 12), (60, 40, 17), (80, 80, 9), (8, 88, 9))
    maps = dense_targets(truth)
    maps = maps + np.random.default_rng(0).normal(0, noise, maps.shape) * (noise > 0)
    found = label_objects(np.clip(maps, 0, 1).astype(np.float32))
    assert found.max() == 5
    for value in range(1, 6):
        best = np.bincount(found[truth == value]).argmax()
        assert iou(found == best, truth == value) > (0.97 if not noise else 0.85)


def test_labels_have_no_gaps_and_go_by_rows() -> None:
    found = label_objects(dense_targets(discs((70, 70, 10), (20, 20, 10), (20, 60, 10))))
    firsts = [int(np.flatnonzero(found.ravel() == value)[0]) for value in range(1, found.max() + 1)]
    assert firsts == sorted(firsts)
    assert len(firsts) == 3


def test_specks_are_no_objects() -> None:
    truth = discs((30, 30, 12))
    truth[80:83, 80:83] = 2
    assert label_objects(dense_targets(truth)).max() == 1
    assert label_objects(dense_targets(truth), WatershedOptions(min_area=5, smoothing=0)).max() == 2


def test_an_object_hangs_together() -> None:
    rng = np.random.default_rng(3)
    maps = np.stack([ndimage.gaussian_filter(rng.random((96, 96)), 3) for _ in range(3)]).astype(np.float32)
    maps = (maps - maps.min()) / (maps.max() - maps.min())
    found = label_objects(maps)
    assert found.max() > 3
    for value in range(1, found.max() + 1):
        assert ndimage.label(found == value, np.ones((3, 3)))[1] == 1
