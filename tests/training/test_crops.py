"""Which squares a run is shown, and what of the tiles is in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from qupath_sam.datasets.kinds import Kind
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.options import Target, WindowChoice
from qupath_sam.training.crops import CropPlan, make_crop, plan_crops
from qupath_sam.training.data import TrainingData, TrainingTile

NO_COLOURS = np.zeros((0, 2, 3))


GLAND = np.s_[20:70, 30:90]
NUCLEUS = np.s_[300:320, 200:220]


def _tile(
    dataset: str,
    number: int,
    *,
    height: int = 96,
    width: int = 128,
    object_at: tuple[slice, slice] = GLAND,
    kind: Kind = Kind.NUCLEUS,
) -> TrainingTile:
    labels = np.zeros((height, width), np.int32)
    labels[object_at] = 1
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
    return TrainingTile(tile, 60, Target.INSTANCES, kind=kind)


def test_a_small_data_set_is_shown_as_often_as_a_large_one() -> None:
    data = TrainingData((*(_tile("many", i) for i in range(12)), *(_tile("few", i) for i in range(3))))
    plans = plan_crops(data, 48, seed=1)
    counts = Counter(plan.tile for plan in plans)
    assert [counts[i] for i in range(12)] == [2] * 12
    assert [counts[i] for i in range(12, 15)] == [8] * 3
    assert plans == plan_crops(data, 48, seed=1) != plan_crops(data, 48, seed=2)
    assert len({plan.seed for plan in plans}) == len(plans)


def test_each_kind_of_object_is_shown_as_often_as_any_other() -> None:
    nuclei = [_tile(name, i) for name in ("one", "two", "three") for i in range(4)]
    data = TrainingData((*nuclei, _tile("tumour", 0, kind=Kind.REGION)))
    counts = Counter(plan.tile for plan in plan_crops(data, 48, seed=1))
    assert counts[12] == 24
    assert [sum(counts[i] for i in range(start, start + 4)) for start in (0, 4, 8)] == [8, 8, 8]


@pytest.mark.parametrize("augmented", [False, True])
def test_labels_are_as_fine_as_the_image(augmented: bool) -> None:
    data = TrainingData((_tile("one", 0, height=512, width=640, object_at=np.s_[100:420, 100:500]),))
    crops = [
        make_crop(data, CropPlan(0, seed), input_size=1024, colours=NO_COLOURS, augmented=augmented)
        for seed in range(4)
    ]
    assert all(crop.pixels.shape[:2] == crop.labels.shape == (1024, 1024) for crop in crops)
    finer = [np.any(crop.labels[::4, ::4].repeat(4, 0).repeat(4, 1) != crop.labels) for crop in crops]
    assert any(finer)


@pytest.mark.parametrize("seed", range(40))
def test_a_crop_shows_the_object_where_its_label_is(seed: int) -> None:
    data = TrainingData((_tile("one", 0),))
    crop = make_crop(data, CropPlan(0, seed), input_size=256, colours=NO_COLOURS, augmented=False)
    assert crop.pixels.shape == (256, 256, 3)
    assert crop.labels.shape == (256, 256)
    # Off the edges, where scaling mixes.
    dark = crop.pixels[..., 1] < 70
    light = crop.pixels[..., 1] > 190
    assert (crop.labels[dark] == 1).all()
    assert (crop.labels[light] == 0).all()


def test_some_crops_reach_beyond_the_tile_and_are_white_there() -> None:
    data = TrainingData((_tile("one", 0),))
    crops = [
        make_crop(data, CropPlan(0, seed), input_size=256, colours=NO_COLOURS, augmented=False) for seed in range(60)
    ]
    beyond = [crop for crop in crops if (crop.pixels[-1, -1] == 255).all()]
    assert 2 <= len(beyond) <= 20
    for crop in beyond:
        assert crop.targets == (1,)
        assert (crop.labels[(crop.pixels == 255).all(axis=-1)] == 0).all()


def test_small_objects_are_looked_at_as_closely_as_the_engine_does() -> None:
    data = TrainingData((_tile("one", 0, height=512, width=640, object_at=NUCLEUS),))
    crops = [
        make_crop(data, CropPlan(0, seed), input_size=256, colours=NO_COLOURS, augmented=False) for seed in range(80)
    ]
    filled = [max(np.ptp(axis) + 1 for axis in np.nonzero(crop.labels)) / 256 for crop in crops if crop.targets]
    close = [share for share in filled if share > 0.14]  # a random square is a third of the tile or more
    assert 12 <= len(close) <= 40
    assert max(close) <= 0.33  # the smallest square is 64 px


def test_large_tiles_are_also_shown_pixel_for_pixel() -> None:
    column = np.arange(512) % 256
    pixels = np.stack([np.broadcast_to(column, (512, 512))] * 3, axis=-1).astype(np.uint8)
    each = _tile("one", 0)
    tile = replace(each.tile, read_pixels=lambda: pixels, read_labels=lambda: np.ones((512, 512), np.int32))
    data = TrainingData((replace(each, tile=tile),))
    crops = [
        make_crop(data, CropPlan(0, seed), input_size=256, colours=NO_COLOURS, augmented=False) for seed in range(60)
    ]
    own_scale = [crop for crop in crops if (np.diff(crop.pixels[..., 0], axis=1) == 1).all()]  # modulo 256
    assert 4 <= len(own_scale) <= 25


@pytest.mark.parametrize(("crop", "side"), [(None, 512), (256, 256)])
def test_in_the_papers_windows_a_crop_is_what_the_protocol_shows(crop: int | None, side: int) -> None:
    data = TrainingData(
        (replace(_tile("one", 0, height=512, width=640, object_at=np.s_[100:420, 100:500]), crop=crop),)
    )
    for seed in range(20):
        crop = make_crop(
            data, CropPlan(0, seed), input_size=side, colours=NO_COLOURS, augmented=False, window=WindowChoice.IMAGE
        )
        # Not scaled: no colour that the tile has not.
        assert set(np.unique(crop.pixels[..., 1])) <= {60, 200}


@pytest.mark.parametrize("number", [1, 65_535, 2**31 - 1, -1])
def test_an_object_may_bear_any_number(number: int) -> None:
    each = _tile("one", 0, height=512, width=640, object_at=NUCLEUS)
    numbered = replace(each.tile, read_labels=lambda: each.tile.read_labels() * np.int32(number))
    one, other = (
        [
            make_crop(TrainingData((tile,)), CropPlan(0, seed), input_size=256, colours=NO_COLOURS, augmented=False)
            for seed in range(12)
        ]
        for tile in (each, replace(each, tile=numbered))
    )
    assert any(crop.targets for crop in one)
    for crop, same in zip(one, other, strict=True):
        assert (crop.pixels == same.pixels).all()
        assert same.targets == tuple(number for _ in crop.targets)


@pytest.mark.parametrize("window", WindowChoice)
@pytest.mark.parametrize(
    ("height", "width", "object_at"),
    [
        (30, 40, np.s_[3:20, 3:20]),
        (1, 1, np.s_[:, :]),
        (1, 300, np.s_[:, 3:90]),
        (700, 40, np.s_[300:500, 3:20]),
        (512, 512, np.s_[511:, 511:]),
        (512, 512, np.s_[:0, :0]),
    ],
    ids=["smaller than any square", "one pixel", "a row", "a strip", "an object of one pixel", "no object"],
)
def test_tiles_of_any_shape_have_crops(
    height: int, width: int, object_at: tuple[slice, slice], window: WindowChoice
) -> None:
    data = TrainingData((replace(_tile("one", 0, height=height, width=width, object_at=object_at), crop=256),))
    for seed in range(12):
        crop = make_crop(data, CropPlan(0, seed), input_size=256, colours=NO_COLOURS, window=window)
        assert crop.pixels.shape == (256, 256, 3)
        assert set(crop.targets) <= {1}


def test_a_crop_without_a_large_enough_object_has_no_target() -> None:
    data = TrainingData((replace(_tile("one", 0), min_area=10_000),))
    crops = [make_crop(data, CropPlan(0, seed), input_size=256, colours=NO_COLOURS) for seed in range(4)]
    assert all(crop.labels.any() for crop in crops)
    assert not any(crop.targets for crop in crops)
