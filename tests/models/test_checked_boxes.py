"""A box alone gets the tuned model's answer, but the untuned one's where they differ and that one is surer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qupath_sam.errors import WeightsMissing
from qupath_sam.models import load
from qupath_sam.models.adapters import box_checker
from qupath_sam.models.adapters.box_checker import BOX_AGREEMENT, SURER
from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.base import Segmenter, WindowPrompts
from qupath_sam.models.load import LoadedModel, load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.models.spec import ModelSpec
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.types.masks import intersection_over_union
from tests.contracts.segmenters import box, clicks, picture

DEFAULT = ModelStore().find(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def default() -> LoadedModel:
    return load_segmenter(DEFAULT_MODEL, device="cpu")


@pytest.fixture(scope="module")
def untuned(default: LoadedModel) -> LoadedModel:
    return load_segmenter(default.spec.boxes_checked_by, device="cpu")


def _answers(default: LoadedModel, untuned: LoadedModel, pixels: NDArray[np.uint8], prompt: WindowPrompts, monkeypatch):
    """The tuned model's own answer, the untuned one's, and what is given."""
    (given,) = default.segmenter.decode(default.segmenter.embed(pixels), [prompt])
    (theirs,) = untuned.segmenter.decode(untuned.segmenter.embed(pixels), [prompt])
    with monkeypatch.context() as patch:
        patch.setattr(box_checker, "BOX_AGREEMENT", -1.0)
        (own,) = default.segmenter.decode(default.segmenter.embed(pixels), [prompt])
    return own, theirs, given


@pytest.mark.parametrize("size", [(256, 256), (300, 200)])
@pytest.mark.parametrize("seed", range(3))
def test_the_own_answer_is_given_unless_the_other_differs_and_is_surer(
    default: LoadedModel, untuned: LoadedModel, size: tuple[int, int], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = picture(*size, seed=seed)
    random = np.random.default_rng(seed)
    x, y = random.uniform(20, 100, 2).tolist()
    own, theirs, given = _answers(default, untuned, pixels, box(x, y, x + 80, y + 70), monkeypatch)
    agree = intersection_over_union(own.masks[0], theirs.masks[0]) >= BOX_AGREEMENT
    expected = own if agree or theirs.scores[0] <= own.scores[0] + SURER else theirs
    np.testing.assert_array_equal(given.logits, expected.logits)
    np.testing.assert_array_equal(given.masks, expected.masks)


def test_what_was_never_trained_on_is_outlined(default: LoadedModel) -> None:
    rows, columns = np.mgrid[:256, :256]
    disc = np.hypot(rows + 0.5 - 128, columns + 0.5 - 128) < 50
    noise = np.random.default_rng(0).integers(0, 25, (256, 256, 3))
    pixels = (np.where(disc[..., None], (40, 200, 60), (10, 10, 15)) + noise).astype(np.uint8)
    (answer,) = default.segmenter.decode(default.segmenter.embed(pixels), [box(78, 78, 178, 178)])
    assert intersection_over_union(answer.masks[0], disc) > 0.9


def test_boxes_and_clicks_in_one_call_come_back_in_their_order(default: LoadedModel) -> None:
    embedding = default.segmenter.embed(picture(256, 256))
    prompts = [clicks((128, 128)), box(60, 60, 150, 140), clicks((20, 20)), box(90, 90, 140, 140)]
    together = default.segmenter.decode(embedding, prompts)
    for prompt, answer in zip(prompts, together, strict=True):
        (alone,) = default.segmenter.decode(embedding, [prompt])
        np.testing.assert_array_equal(answer.logits, alone.logits)


def test_a_second_window_is_not_checked_by_the_first(default: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_checker, "BOX_AGREEMENT", 2.0)  # always the other model's
    monkeypatch.setattr(box_checker, "SURER", -2.0)
    first, second = (default.segmenter.embed(picture(256, 256, seed=seed)) for seed in (0, 1))
    prompt = box(60, 60, 150, 140)
    before, between, after = (default.segmenter.decode(each, [prompt])[0] for each in (first, second, first))
    assert not np.array_equal(before.logits, between.logits)
    np.testing.assert_array_equal(before.logits, after.logits)


def test_a_box_with_a_click_is_not_checked(default: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = default.segmenter.embed(picture(256, 256))
    prompt = replace(clicks((100, 100)), box=(60, 60, 150, 140))
    (checked,) = default.segmenter.decode(embedding, [prompt])
    monkeypatch.setattr(box_checker, "BOX_AGREEMENT", 2.0)
    monkeypatch.setattr(box_checker, "SURER", -2.0)
    (again,) = default.segmenter.decode(embedding, [prompt])
    np.testing.assert_array_equal(checked.logits, again.logits)


def test_a_model_of_another_kind_checks_no_boxes(untuned: LoadedModel, default: LoadedModel) -> None:
    segmenter: Segmenter = untuned.segmenter
    assert isinstance(segmenter, PromptableSegmenter)
    assert isinstance(default.segmenter, TwoDecoderSegmenter)
    first = default.segmenter.first
    segmenter.check_boxes_with(lambda: first)
    with pytest.raises(ValueError, match="same family"):
        segmenter.decode(segmenter.embed(picture(256, 256)), [box(60, 60, 150, 140)])


def test_the_other_model_is_loaded_by_the_first_box(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load_weights = load.load_weights

    def counted(spec: ModelSpec, store: ModelStore) -> load.Weights:
        loaded.append(spec.name)
        return load_weights(spec, store)

    monkeypatch.setattr(load, "load_weights", counted)
    default = load_segmenter(DEFAULT_MODEL, device="cpu")
    embedding = default.segmenter.embed(picture(256, 256))
    default.segmenter.decode(embedding, [clicks((128, 128))])
    before = loaded.count(default.spec.boxes_checked_by)
    for _ in range(2):
        default.segmenter.decode(embedding, [box(60, 60, 150, 140)])
        assert loaded.count(default.spec.boxes_checked_by) == before + 1


def test_a_model_whose_box_checker_is_not_here_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    where = ModelStore.weights_path

    def missing(self: ModelStore, spec: ModelSpec) -> Path:
        if spec.name == DEFAULT.boxes_checked_by:
            raise WeightsMissing("install qupath-sam again")
        return where(self, spec)

    monkeypatch.setattr(ModelStore, "weights_path", missing)
    with pytest.raises(WeightsMissing):
        load_segmenter(DEFAULT_MODEL, device="cpu")
