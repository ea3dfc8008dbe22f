"""What a dense head proposes, which of it the decoder is asked about, and what is made of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from qupath_sam.engine.automatic.objects import DenseObject, dense_objects
from qupath_sam.engine.automatic.proposer import AutomaticProposer
from qupath_sam.engine.automatic.strategy import StrategyOptions, better_mask, is_doubtful, prompts_of
from qupath_sam.engine.logits import OUTLINE_LOGIT
from qupath_sam.engine.region.proposals import Tile
from qupath_sam.models.base import Capabilities, Embedding, MaskSet, WindowPrompts
from qupath_sam.training.dense.targets import dense_targets
from qupath_sam.types.choices import Effort, ObjectKind
from qupath_sam.types.regions import Region, Window
from tests.engine.test_watershed import discs

TAKES_ALL = Capabilities(input_size=256, mask_count=1)
OPTIONS = StrategyOptions()


def objects(*places: tuple[float, float, float], size: int = 96) -> list[DenseObject]:
    return dense_objects(dense_targets(discs(*places, size=size)))


def test_an_object_knows_where_it_is() -> None:
    (found,) = objects((30, 50, 12))
    assert found.at == (38, 18)
    assert found.box == (38, 18, 62, 42)
    assert found.area == pytest.approx(np.pi * 144, rel=0.02)
    assert np.hypot(found.point[0] - 50, found.point[1] - 30) < 1.5
    assert found.score == pytest.approx(1)
    assert found.touching == 0
    assert found.solidity > 0.93


def test_objects_that_touch_say_so() -> None:
    alone, one, other = objects((15, 15, 9), (60, 40, 14), (60, 66, 14))
    assert alone.touching == 0
    assert min(one.touching, other.touching) > 0.1


def test_a_score_falls_with_the_chances_inside_and_with_what_is_left_outside() -> None:
    maps = dense_targets(discs((48, 48, 15)))
    (sure,) = dense_objects(maps)
    (unsure,) = dense_objects(np.stack([maps[0] * 0.7, maps[1], maps[2]]))
    rows, columns = np.indices((96, 96)) + 0.5
    wider = np.maximum(maps[0], 0.45 * (np.hypot(rows - 48, columns - 48) < 19))
    (too_small,) = dense_objects(np.stack([wider, maps[1], maps[2]]))
    assert sure.score == pytest.approx(1)
    assert unsure.score == pytest.approx(0.7)
    assert 0.7 < too_small.score < 0.9


def test_a_bent_shape_is_not_solid_and_a_hole_is_filled() -> None:
    truth = np.zeros((64, 64), np.int32)
    truth[10:50, 10:18] = truth[42:50, 10:50] = 1
    (bent,) = dense_objects(dense_targets(truth))
    assert bent.solidity < 0.6
    ring = discs((32, 32, 20), size=64)
    ring[30:34, 30:34] = 0
    maps = dense_targets(discs((32, 32, 20), size=64))
    maps[0] *= ring
    (filled,) = dense_objects(maps)
    assert filled.mask[filled.mask.shape[0] // 2, filled.mask.shape[1] // 2]


@pytest.mark.parametrize(
    ("change", "doubtful"),
    [({}, False), ({"score": 0.7}, True), ({"touching": 0.3}, True), ({"solidity": 0.6}, True)],
    ids=["right already", "low score", "touching", "odd shape"],
)
def test_the_strategy_discriminates(change: dict[str, Any], doubtful: bool) -> None:
    (sure,) = objects((48, 48, 15))
    assert is_doubtful(replace(sure, **change), OPTIONS) is doubtful


def test_one_object_is_one_positive_point_its_box_and_its_mask() -> None:
    (found,) = objects((30, 50, 12))
    prompts = prompts_of(found, (96, 96), TAKES_ALL, OPTIONS)
    assert prompts.labels.tolist() == [1]
    assert prompts.points[0] == pytest.approx(found.point)
    assert prompts.box is not None
    assert prompts.box[0] < found.box[0] < found.box[2] < prompts.box[2]
    assert prompts.logits is not None
    assert prompts.logits.shape == (256, 256)
    assert set(np.unique(prompts.logits)) == {-OUTLINE_LOGIT, OUTLINE_LOGIT}
    # Window px (50, 30) of 96 is px (133, 80) of 256.
    assert prompts.logits[80, 133] > 0 > prompts.logits[133, 80]


def test_a_model_is_asked_for_what_it_takes_alone() -> None:
    (found,) = objects((30, 50, 12))
    clicks_only = prompts_of(found, (96, 96), replace(TAKES_ALL, boxes=False, mask_prompt=False), OPTIONS)
    assert clicks_only.box is None
    assert clicks_only.logits is None
    boxes_only = prompts_of(found, (96, 96), replace(TAKES_ALL, points=False), OPTIONS)
    assert boxes_only.points.shape == (0, 2)


def test_a_box_ends_at_the_window() -> None:
    (found,) = objects((5, 92, 12))
    prompts = prompts_of(found, (96, 96), TAKES_ALL, OPTIONS)
    assert prompts.box is not None
    assert prompts.box[1] == 0
    assert prompts.box[2] == 96


class Answers:
    """A `TileModel` that answers with given masks, and notes what it was asked."""

    def __init__(self, answer: Callable[[WindowPrompts], np.ndarray]) -> None:
        self.asked: list[WindowPrompts] = []
        self._answer = answer

    def decode(self, prompts: Sequence[WindowPrompts], *, several_masks: bool = False) -> list[MaskSet]:
        self.asked += prompts
        logits = np.zeros((1, 256, 256), np.float32)
        return [MaskSet(self._answer(each)[None], np.array([0.99], np.float32), logits) for each in prompts]

    def run(self, job: Callable[[], Any]) -> Any:
        return job()


class SeesTruth:
    """In the place of `DenseMaps`: the maps of labels."""

    objects = ObjectKind.NUCLEI

    def __init__(self, truth: np.ndarray) -> None:
        self._truth = truth

    def __call__(self, pixels: np.ndarray, embedding: Embedding) -> np.ndarray:
        return dense_targets(self._truth)


def propose(truth: np.ndarray, model: Answers, effort: Effort) -> list[Any]:
    size = truth.shape[0]
    tile = Tile(
        window=Window(Region(0, 0, size, size), size, size),
        core=Region(0, 0, size, size),
        embedding=Embedding({}, (size, size)),
        model=model,
        mpp=None,
        read=lambda: np.zeros((size, size, 3), np.uint8),
    )
    maps = SeesTruth(truth)
    return list(AutomaticProposer(maps, TAKES_ALL, effort=effort).propose(tile))  # type: ignore[arg-type]


TOUCHING = discs((20, 20, 10), (60, 40, 14), (60, 66, 14))


def test_fast_takes_the_head_at_its_word() -> None:
    model = Answers(lambda prompts: np.zeros((96, 96), bool))
    found = propose(TOUCHING, model, Effort.FAST)
    assert len(found) == 3
    assert not model.asked


def test_best_asks_about_the_doubtful_and_takes_answers_about_the_same_object() -> None:
    def grown(prompts: WindowPrompts) -> np.ndarray:
        rows, columns = np.indices((96, 96)) + 0.5
        return np.hypot(rows - prompts.points[0, 1], columns - prompts.points[0, 0]) < 15

    model = Answers(grown)
    fast, best = propose(TOUCHING, model, Effort.FAST), propose(TOUCHING, model, Effort.BEST)
    assert len(model.asked) == 2
    assert (fast[0].mask == best[0].mask).all()
    assert all(not np.array_equal(fast[i].mask, best[i].mask) for i in (1, 2))


def test_an_answer_about_something_else_is_left() -> None:
    model = Answers(lambda prompts: np.ones((96, 96), bool))
    fast, best = propose(TOUCHING, model, Effort.FAST), propose(TOUCHING, model, Effort.BEST)
    assert len(model.asked) == 2
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(fast, best, strict=True))
    nothing = MaskSet(np.zeros((1, 96, 96), bool), np.ones(1), None)  # type: ignore[arg-type]
    assert better_mask(objects((20, 20, 10))[0], nothing, OPTIONS) is None


def test_an_answer_is_one_object_without_pinholes() -> None:
    """A box beside the point asks a decoder for all that is in it."""

    def ragged(prompts: WindowPrompts) -> np.ndarray:
        rows, columns = np.indices((96, 96)) + 0.5
        x, y = prompts.points[0]
        mask = np.hypot(rows - y, columns - x) < 15
        mask[int(y) + 3, int(x) + 3] = False
        mask[0, 0] = True
        return mask

    best = propose(TOUCHING, Answers(ragged), Effort.BEST)
    for proposal in best[1:]:
        assert ndimage.label(proposal.mask)[1] == 1
        assert np.array_equal(ndimage.binary_fill_holes(proposal.mask), proposal.mask)
        assert proposal.at != (0, 0)


def test_maps_are_seen_over_tiles_of_other_sizes() -> None:
    truth = discs((40, 40, 20), size=96)
    tile = Tile(
        window=Window(Region(0, 0, 96, 96), 96, 96),
        core=Region(0, 0, 96, 96),
        embedding=Embedding({}, (96, 96)),
        model=Answers(lambda prompts: truth > 0),
        mpp=None,
        read=lambda: np.zeros((96, 96, 3), np.uint8),
    )
    small = SeesTruth(truth[::2, ::2])
    (found,) = AutomaticProposer(small, TAKES_ALL, effort=Effort.FAST).propose(tile)  # type: ignore[arg-type]
    left, top = found.at
    whole = np.zeros((96, 96), bool)
    whole[top : top + found.mask.shape[0], left : left + found.mask.shape[1]] = found.mask
    assert np.count_nonzero(whole & (truth > 0)) / np.count_nonzero(whole | (truth > 0)) > 0.9
