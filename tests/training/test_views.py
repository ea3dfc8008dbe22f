"""Which squares a run is shown, and what of the tiles is in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from qupath_sam.evaluation.objects import Tile
from qupath_sam.evaluation.options import Target
from qupath_sam.training.data import TrainingData, TrainingTile
from qupath_sam.training.views import ViewPlan, make_view, plan_views

NO_COLOURS = np.zeros((0, 2, 3))


def _tile(dataset: str, number: int, *, height: int = 96, width: int = 128) -> TrainingTile:
    labels = np.zeros((height, width), np.int32)
    labels[20:70, 30:90] = 1
    pixels = np.full((height, width, 3), 200, np.uint8)
    pixels[labels == 1] = (120, 60, 160)
    tile = Tile(
        dataset=dataset,
        image_id=str(number),
        group=str(number),
        split="train",
        mpp=None,
        read_pixels=lambda: pixels,
        read_labels=lambda: labels,
    )
    return TrainingTile(tile, 60, Target.INSTANCES)


def test_a_small_data_set_is_shown_as_often_as_a_large_one() -> None:
    data = TrainingData((*(_tile("many", i) for i in range(12)), *(_tile("few", i) for i in range(3))))
    plans = plan_views(data, 48, seed=1)
    counts = Counter(plan.tile for plan in plans)
    assert [counts[i] for i in range(12)] == [2] * 12
    assert [counts[i] for i in range(12, 15)] == [8] * 3
    assert plans == plan_views(data, 48, seed=1) != plan_views(data, 48, seed=2)
    assert len({plan.seed for plan in plans}) == len(plans)


@pytest.mark.parametrize("seed", range(40))
def test_a_view_shows_the_object_where_its_label_is(seed: int) -> None:
    data = TrainingData((_tile("one", 0),))
    view = make_view(data, ViewPlan(0, seed), input_size=256, colours=NO_COLOURS, augmented=False)
    assert view.pixels.shape == (256, 256, 3)
    assert view.labels.shape == (256, 256)
    # Off the edges, where scaling mixes.
    dark = view.pixels[..., 1] < 70
    light = view.pixels[..., 1] > 190
    assert (view.labels[dark] == 1).all()
    assert (view.labels[light] == 0).all()


def test_some_views_reach_beyond_the_tile_and_are_white_there() -> None:
    data = TrainingData((_tile("one", 0),))
    views = [
        make_view(data, ViewPlan(0, seed), input_size=256, colours=NO_COLOURS, augmented=False) for seed in range(60)
    ]
    beyond = [view for view in views if (view.pixels[-1, -1] == 255).all()]
    assert 2 <= len(beyond) <= 20
    for view in beyond:
        assert view.targets == (1,)
        assert (view.labels[(view.pixels == 255).all(axis=-1)] == 0).all()


def test_a_view_without_a_large_enough_object_has_no_target() -> None:
    data = TrainingData((replace(_tile("one", 0), min_area=10_000),))
    views = [make_view(data, ViewPlan(0, seed), input_size=256, colours=NO_COLOURS) for seed in range(4)]
    assert all(view.labels.any() for view in views)
    assert not any(view.targets for view in views)
