"""A first click gets one mask from each of two decoders; what follows stays with the one that it continues."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qupath_sam.datasets.seen import groups_seen
from qupath_sam.engine.step import State, steps_of
from qupath_sam.engine.steps import run_step
from qupath_sam.engine.windows import Scales
from qupath_sam.errors import WrongWeights
from qupath_sam.models import load, registry
from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.base import MaskSet, WindowPrompts
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import MaskChoice, WindowRequest
from tests.contracts.segmenters import box, clicks, picture, with_logits


@pytest.fixture(scope="module")
def both() -> TwoDecoderSegmenter:
    segmenter = load_segmenter(DEFAULT_MODEL, device="cpu").segmenter
    assert isinstance(segmenter, TwoDecoderSegmenter)
    return segmenter


@pytest.fixture(scope="module")
def alone() -> PromptableSegmenter:
    """The second decoder as a model by itself."""
    segmenter = load_segmenter("lite_medsam_regions", device="cpu").segmenter
    assert isinstance(segmenter, PromptableSegmenter)
    return segmenter


PIXELS = picture(300, 200, seed=1)


def _equal(answer: MaskSet, place: int, expected: MaskSet) -> None:
    np.testing.assert_array_equal(answer.masks[place], expected.masks[0])
    np.testing.assert_array_equal(answer.logits[place], expected.logits[0])
    assert answer.scores[place] == expected.scores[0]


@pytest.mark.parametrize("point", [(60, 60), (150, 100), (20, 250)])
def test_a_first_click_gets_each_decoders_mask_the_surer_one_first(
    both: TwoDecoderSegmenter, alone: PromptableSegmenter, point: tuple[int, int]
) -> None:
    prompt = replace(clicks(point), refine_all=True)
    (answer,) = both.decode(both.embed(PIXELS), [prompt], several_masks=True)
    (first,) = both.first.decode(both.embed(PIXELS), [prompt], several_masks=True)
    (second,) = alone.decode(alone.embed(PIXELS), [prompt], several_masks=True)
    assert sorted(answer.decoders) == [0, 1]
    assert answer.scores[0] >= answer.scores[1]
    _equal(answer, answer.decoders.index(0), first)
    _equal(answer, answer.decoders.index(1), second)


def test_the_head_refines_the_surer_mask_alone_where_one_is_shown(both: TwoDecoderSegmenter) -> None:
    embedding = both.embed(PIXELS)
    (shown,) = both.decode(embedding, [clicks((60, 60))], several_masks=True)
    (all_,) = both.decode(embedding, [replace(clicks((60, 60)), refine_all=True)], several_masks=True)
    np.testing.assert_array_equal(shown.logits[0], all_.logits[0])
    assert not np.array_equal(shown.logits[1], all_.logits[1])


def test_several_objects_get_the_answers_that_each_gets_by_itself(both: TwoDecoderSegmenter) -> None:
    embedding = both.embed(PIXELS)
    prompts = [clicks((60, 60)), box(40, 40, 90, 90), clicks((150, 100)), replace(clicks((20, 30)), decoder=1)]
    together = both.decode(embedding, prompts, several_masks=True)
    for prompt, answer in zip(prompts, together, strict=True):
        (single,) = both.decode(embedding, [prompt], several_masks=True)
        assert answer.decoders == single.decoders
        np.testing.assert_array_equal(answer.masks, single.masks)


@pytest.mark.parametrize("number", [0, 1])
def test_later_clicks_stay_with_the_decoder_of_the_mask_that_they_continue(
    both: TwoDecoderSegmenter, alone: PromptableSegmenter, number: int
) -> None:
    embedding = both.embed(PIXELS)
    (answer,) = both.decode(embedding, [clicks((60, 60))], several_masks=True)
    place = answer.decoders.index(number)
    next_ = replace(clicks((60, 60), (90, 70)), logits=answer.logits[place], decoder=answer.decoder_of(place))
    (given,) = both.decode(embedding, [next_])
    own, image = (alone, alone.embed(PIXELS)) if number else (both.first, embedding)
    (expected,) = own.decode(image, [next_])
    assert given.decoders == (number,)
    _equal(given, 0, expected)


def test_the_second_head_projects_an_embedding_once_while_a_person_clicks_in_its_window(
    both: TwoDecoderSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = both.second.network.refinement_head
    assert head is not None
    project, calls = head.project, []
    monkeypatch.setattr(head, "project", lambda image: calls.append(image) or project(image))
    for _ in range(2):
        embedding = both.embed(PIXELS)
        for _ in range(3):
            both.decode(embedding, [replace(clicks((60, 60)), decoder=1)])
    assert len(calls) == 2


def test_a_box_goes_to_the_first_decoder_and_an_outline_to_the_second(both: TwoDecoderSegmenter) -> None:
    embedding = both.embed(PIXELS)
    square = np.full((256, 256), -6, np.float32)
    square[60:120, 50:110] = 6
    prompts = [box(40, 40, 90, 90), replace(box(60, 40, 120, 130), logits=square)]
    answers = both.decode(embedding, prompts)
    assert [answer.decoders for answer in answers] == [(0,), (1,)]


def test_the_steps_name_the_decoder_of_the_chosen_mask() -> None:
    asked: list[WindowPrompts] = []
    logits = np.full((2, 256, 256), -4, np.float32)
    logits[0, 100:140, 100:140] = logits[1, 90:200, 90:200] = 4
    window_masks = logits > 0

    def run(from_mask: int | None) -> None:
        asked.clear()
        prompts = ObjectPrompts((Click.at(120, 120), replace(Click.at(125, 125), from_mask=from_mask)))
        scales = Scales.of(extent=Region(0, 0, 256, 256), mpp=None, input_size=256, default_mpp=1.0)
        window = WindowRequest(Region(0, 0, 256, 256))
        state: State | None = None
        for last in (1, 2):
            step = run_step(steps_of(prompts)[:last], state, scales=scales, request=window, choice=MaskChoice.ALL)
            wanted = next(step)
            asked.append(wanted.prompts)
            count = 2 if wanted.several_masks else 1
            decoders = (1, 0) if wanted.several_masks else (wanted.prompts.decoder or 0,)
            scores = np.linspace(0.9, 0.5, count, dtype=np.float32)
            with pytest.raises(StopIteration) as done:
                step.send(MaskSet(window_masks[:count], scores, logits[:count], decoders))
            state = done.value.value

    run(None)
    assert [prompt.decoder for prompt in asked] == [None, 1]
    run(1)
    assert [prompt.decoder for prompt in asked] == [None, 0]


def test_what_either_decoder_has_seen_counts_as_seen() -> None:
    store = ModelStore()
    default = store.find(DEFAULT_MODEL)
    second = groups_seen(store.find(default.first_clicks_with), store)
    assert {name for name, _ in second} > {"camelyon_tiles"}
    assert second <= groups_seen(default, store)


def test_a_decoder_for_another_encoder_is_refused() -> None:
    store = ModelStore()
    spec = store.find(DEFAULT_MODEL)
    weights = load.load_weights(spec, store)
    with pytest.raises(WrongWeights, match=r"no decoder for the encoder of lite_medsam_histology; install"):
        load._second_decoder(spec, store, replace(weights, sha256="0" * 64))


def test_both_decoders_are_packaged_with_the_default() -> None:
    second = registry.BUILT_IN[registry.BUILT_IN[DEFAULT_MODEL].first_clicks_with]
    assert isinstance(second.weights, registry.PackagedWeights)
    assert second.weights.package == "qupath_sam"


def test_the_rule_for_outlines_is_the_second_decoders(both: TwoDecoderSegmenter) -> None:
    assert (both.first.click_rules.outlines, both.second.click_rules.outlines) == (False, True)
    rows, columns = np.indices((256, 256))
    outline = np.where(np.hypot(rows - 90, columns - 70) < 40, 6, -6).astype(np.float32)
    embedding, prompt = both.embed(PIXELS), with_logits(box(30, 50, 110, 130), outline)
    (answer,) = both.decode(embedding, [prompt])
    (draft,) = both.second.decode(embedding, [prompt])
    assert answer.decoders == (1,)
    np.testing.assert_array_equal(answer.logits, draft.logits)
