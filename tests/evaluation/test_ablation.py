"""A model without one of its parts answers as if it had never had it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qupath_sam.datasets.options import Part
from qupath_sam.evaluation.ablation import without
from qupath_sam.models.base import MaskSet, WindowPrompts
from qupath_sam.models.load import LoadedModel, load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from tests.contracts.segmenters import clicks, picture, with_logits

PIXELS = picture(256, 256, seed=1)
CLICK = clicks((60, 60))


@pytest.fixture
def loaded() -> LoadedModel:
    return load_segmenter(DEFAULT_MODEL, device="cpu")


def answers(model: LoadedModel, *prompts: WindowPrompts, several: bool = False) -> list[MaskSet]:
    segmenter = model.segmenter
    return segmenter.decode(segmenter.embed(PIXELS), prompts, several_masks=several)


def answer(model: LoadedModel, prompt: WindowPrompts) -> MaskSet:
    return answers(model, prompt, several=True)[0]


def test_without_the_second_decoder_the_first_answers_alone(loaded: LoadedModel) -> None:
    assert sorted(answer(loaded, CLICK).decoders) == [0, 1]
    assert answer(without(loaded, [Part.SECOND_DECODER]), CLICK).decoders == ()


def test_without_the_head_clicks_hold_as_they_do_with_it(loaded: LoadedModel) -> None:
    refined = answer(loaded, CLICK)
    draft = answer(without(loaded, [Part.REFINEMENT_HEAD]), CLICK)
    assert draft.scores[0] == refined.scores[0]
    assert not np.array_equal(draft.logits[0], refined.logits[0])
    far = replace(with_logits(clicks((60, 60), (250, 5)), draft.logits[0]), last_click=1)
    assert answers(loaded, far)[0].masks[0][5, 250]


def test_without_the_rules_a_click_may_end_on_the_other_side(loaded: LoadedModel) -> None:
    first = answer(loaded, CLICK)
    places = [(x, y) for x in (8, 248) for y in (8, 248)]
    sessions = [
        replace(with_logits(clicks((60, 60), place), first.logits[0]), last_click=1, decoder=first.decoder_of(0))
        for place in places
    ]
    held = [each.masks[0] for each in answers(loaded, *sessions)]
    assert all(mask[y, x] for mask, (x, y) in zip(held, places, strict=True))
    bare = without(loaded, [Part.CLICK_RULES])
    free = [each.masks[0] for each in answers(bare, *sessions)]
    assert not all(mask[y, x] for mask, (x, y) in zip(free, places, strict=True))


def test_without_the_rule_for_white_more_than_white_may_go(loaded: LoadedModel) -> None:
    rules = [each.click_rules for each in (loaded.segmenter.first, loaded.segmenter.second)]  # type: ignore[attr-defined]
    assert all(each.white for each in rules)
    bare = without(loaded, [Part.WHITE_RULE]).segmenter
    for each in (bare.first, bare.second):  # type: ignore[attr-defined]
        assert not each.click_rules.white
        assert each.click_rules.clicks
        assert each.refines
