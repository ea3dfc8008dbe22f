"""Which objects of a tile are evaluated, and what makes an object the same object."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from qupath_sam.datasets.objects import Selection
from qupath_sam.datasets.options import Target
from qupath_sam.errors import InvalidRequest
from tests.evaluation.pictures import disc, painted, tile, two_discs


def many() -> np.ndarray:
    labels = np.zeros((100, 100), np.int32)
    for number in range(25):
        row, column = divmod(number, 5)
        labels[row * 20 : row * 20 + 4 + number % 5, column * 20 : column * 20 + 10] = number + 1
    return labels


def test_each_label_is_an_object_largest_first() -> None:
    view = Selection().view(tile(two_discs()))
    assert [o.object_id for o in view.objects] == ["a#1", "a#2"]
    assert np.array_equal(view.objects[1].mask, disc(64, 45, 45, 8))


def test_region_mode_takes_all_foreground_as_one_object() -> None:
    view = Selection(target=Target.REGION).view(tile(two_discs()))
    assert [o.object_id for o in view.objects] == ["a#region"]
    assert np.array_equal(view.objects[0].mask, two_discs() > 0)


def test_a_crop_cuts_objects_and_the_area_counts_after_it() -> None:
    selection = Selection(crop=20, min_area=60)
    view = selection.view(tile(two_discs()))
    assert view.pixels.shape == (20, 20, 3)
    assert [o.object_id for o in view.objects] == ["a#1"]
    assert view.objects[0].mask.sum() == disc(64, 20, 20, 10)[:20, :20].sum()
    assert Selection(crop=12, min_area=60).view(tile(two_discs())).objects == ()


def test_objects_are_drawn_alike_each_time_and_otherwise_by_another_seed() -> None:
    drawn = [
        {o.object_id for o in Selection(per_tile=4, seed=seed).view(tile(many())).objects} for seed in (0, 0, 1, 2)
    ]
    assert [len(d) for d in drawn] == [4] * 4
    assert drawn[0] == drawn[1]
    assert len({frozenset(d) for d in drawn}) > 1


def test_drawn_objects_and_their_digests_stay_what_they_were() -> None:
    """Kept results are found by these."""
    drawn = Selection(per_tile=4, seed=1).view(tile(many())).objects
    assert [(o.object_id, o.digest[:16]) for o in drawn] == [
        ("a#20", "f76f1f86d2a7b68a"),
        ("a#13", "0376df051dbe4186"),
        ("a#23", "3d08e5ee17cba075"),
        ("a#6", "5dad194714cd75da"),
    ]
    assert all(np.array_equal(o.mask, many() == int(o.object_id[2:])) for o in drawn)


@pytest.mark.parametrize("per_tile", [None, 2])
def test_a_view_holds_no_mask_of_every_object(per_tile) -> None:
    crowded = tile(np.kron(np.arange(256, dtype=np.uint16).reshape(16, 16), np.ones((32, 32), np.uint16)))
    crowded = replace(crowded, read_pixels=lambda: np.zeros((512, 512, 3), np.uint8))
    tracemalloc.start()
    view = Selection(per_tile=per_tile).view(crowded)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(view.objects) == (per_tile or 255)
    assert peak < 20 * 512 * 512, "20 bytes a px and not one for each of 255 objects"


def test_an_empty_tile_has_no_objects() -> None:
    empty = np.zeros((8, 8), np.uint8)
    for target in Target:
        assert Selection(target=target).view(tile(empty)).objects == ()


def test_the_digest_follows_pixels_and_mask_and_nothing_else() -> None:
    original = tile(two_discs())
    digests = [o.digest for o in Selection().view(original).objects]
    renamed = replace(original, image_id="other", group="other", dataset="other")
    assert [o.digest for o in Selection().view(renamed).objects] == digests
    darker = replace(original, read_pixels=lambda: painted(two_discs()) // 2)
    assert not set(digests) & {o.digest for o in Selection().view(darker).objects}
    assert len(set(digests)) == 2


def test_labels_of_another_size_are_refused() -> None:
    broken = replace(tile(two_discs()), read_labels=lambda: np.zeros((9, 9), np.int32))
    with pytest.raises(InvalidRequest, match="both must show the same pixels"):
        Selection().view(broken)
