"""The three maps of labels, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.networks.dense_head import BORDER, CENTRE, FOREGROUND
from qupath_sam.training.dense.targets import dense_targets


def test_a_bar_of_three_by_five() -> None:
    labels = np.zeros((7, 9), np.int32)
    labels[2:5, 2:7] = 3
    maps = dense_targets(labels)
    assert (maps[FOREGROUND] == (labels > 0)).all()
    assert (maps[:, labels == 0] == 0).all()
    # The inner row is two pixels from the background, its ends one: the middle of the deepest ones is the bar's own.
    assert maps[CENTRE, 3, 4] == 1
    farthest = np.hypot(1, 2)
    assert maps[CENTRE, 2, 2] == pytest.approx(0, abs=1e-6)
    assert maps[CENTRE, 3, 2] == pytest.approx(1 - 2 / farthest)
    assert maps[BORDER, 3, 3:6].tolist() == [1, 1, 1]
    assert maps[BORDER, 2, 2:7] == pytest.approx(0.5)


def test_objects_that_touch_have_a_border_between_them() -> None:
    labels = np.zeros((9, 14), np.int32)
    labels[2:7, 2:7], labels[2:7, 7:12] = 1, 2
    border = dense_targets(labels)[BORDER]
    assert border[4, 4] == border[4, 9] == 1
    assert border[4, 6] == border[4, 7] == pytest.approx(1 / 3)


def test_the_edge_of_a_crop_is_no_border() -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[2:7, :3] = 1
    border = dense_targets(labels)[BORDER]
    assert border[4, 0] == 1
    assert border[4, 2] < border[4, 1] < 1


def test_a_crop_that_is_all_object() -> None:
    maps = dense_targets(np.full((5, 5), 7))
    assert (maps[FOREGROUND] == 1).all()
    assert (maps[BORDER] == 1).all()
    assert maps[CENTRE, 2, 2] == 1
    assert maps[CENTRE, 0, 0] == 0


def test_two_places_of_one_label_are_two_objects() -> None:
    """As where a crop mirrors its tile."""
    labels = np.zeros((9, 20), np.int32)
    labels[2:7, 2:7] = labels[2:7, 13:18] = 1
    maps = dense_targets(labels)
    assert maps[CENTRE, 4, 4] == maps[CENTRE, 4, 15] == 1


def test_a_small_object_reaches_as_high_as_a_large_one() -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[5:35, 5:35], labels[10, 50] = 1, 2
    maps = dense_targets(labels)
    assert maps[CENTRE, 10, 50] == maps[BORDER, 10, 50] == 1


def test_labels_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        dense_targets(np.array([[0, -1]]))
