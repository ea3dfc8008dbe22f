"""Runs over data sets: shared encodings, resuming, nothing stale, nothing seen in training."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file
from shapely.geometry import box

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.options import FirstPrompt, Part, Target, WindowChoice
from qupath_sam.datasets.seen import check_unseen, groups_seen
from qupath_sam.errors import InvalidRequest, UnsupportedPrompt, WrongWeights
from qupath_sam.evaluation.cases import replay, success_and_failure
from qupath_sam.evaluation.protocol import Protocol
from qupath_sam.evaluation.results import ObjectResult, ResultStore
from qupath_sam.evaluation.run import Choices, Evaluation, describe
from qupath_sam.models.base import LOW_RES_SIZE, Capabilities, MaskSet
from qupath_sam.models.registry import BUILT_IN
from qupath_sam.models.spec import LocalWeights
from qupath_sam.models.weights.store import ModelStore
from tests.evaluation.pictures import painted, tile, two_discs
from tests.evaluation.segmenters import AnsweringSegmenter, loaded, nothing, red, squares

SHORT = Protocol(max_clicks=5, jitter_runs=1, jitter_clicks=2)


def dataset(*, name: str = "set", tiles: int = 2) -> Dataset:
    made = tuple(
        tile(np.roll(two_discs(), number, axis=0), image_id=f"{number}", group=f"case{number}", dataset=name)
        for number in range(tiles)
    )
    return Dataset(name, made)


def run(segmenter, data, *, store=None, protocol=SHORT, sha256="0" * 64, **choices):
    model = loaded(segmenter, sha256=sha256)
    with Evaluation(model, protocol=protocol, choices=Choices(**choices), store=store) as evaluation:
        return evaluation.run(data)


def test_every_object_of_every_tile_once_and_an_image_is_encoded_once() -> None:
    segmenter = AnsweringSegmenter(squares)
    results = run(segmenter, [dataset(), dataset(name="other", tiles=1)])
    assert [(r.dataset, r.object_id) for r in results] == [
        *(("set", "0#1"), ("set", "0#2"), ("set", "1#1"), ("set", "1#2")),
        *(("other", "0#1"), ("other", "0#2")),
    ]
    assert segmenter.embedded == 3 + 1, "three images and the warm-up"
    assert all(len(r.iou) == 5 and r.seconds > 0 for r in results)


def test_reading_and_encoding_are_told_of_every_object_of_an_image() -> None:
    slow = dataset(tiles=1)
    pixels = slow.tiles[0].read_pixels()

    def read() -> np.ndarray:
        for _ in range(200):
            np.sort(np.random.default_rng(0).random(10000))
        return pixels

    slow = replace(slow, tiles=(replace(slow.tiles[0], read_pixels=read),))
    first, second = run(AnsweringSegmenter(red), [slow])
    assert first.setup_s == second.setup_s > first.seconds + second.seconds
    assert first.workers == 1


def test_a_run_that_is_repeated_computes_nothing(tmp_path) -> None:
    first = ResultStore(tmp_path)
    results = run(AnsweringSegmenter(squares), [dataset()], store=first)
    first.close()
    again = AnsweringSegmenter(squares)
    second = ResultStore(tmp_path)
    assert run(again, [dataset()], store=second) == results
    second.close()
    assert again.embedded == 0


def test_a_run_that_was_stopped_goes_on(tmp_path) -> None:
    store = ResultStore(tmp_path)
    run(AnsweringSegmenter(squares), [dataset(tiles=1)], store=store)
    rest = AnsweringSegmenter(squares)
    results = run(rest, [dataset(tiles=3)], store=store)
    store.close()
    assert len(results) == 6
    assert rest.embedded == 1 + 2


def test_what_others_have_scored_is_kept_while_tiles_are_still_read(tmp_path) -> None:
    """As after Ctrl-C, or a tile that cannot be read."""

    def broken() -> np.ndarray:
        raise InvalidRequest("no such tile")

    data = dataset(tiles=3)
    data = replace(data, tiles=(*data.tiles[:2], replace(data.tiles[2], read_pixels=broken)))
    model, store = loaded(AnsweringSegmenter(squares)), ResultStore(tmp_path)
    with Evaluation(model, protocol=SHORT, choices=Choices(), store=store) as evaluation:

        def submit(tile, selection, object_ids) -> Future[list[ObjectResult]]:
            done: Future[list[ObjectResult]] = Future()
            done.set_result(list(evaluation.score(selection.view(tile), object_ids, reading_s=0)))
            return done

        with pytest.raises(InvalidRequest, match="no such tile"):
            evaluation.run([data], submit=submit)
    store.close()
    assert len(store) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "1" * 64},
        {"protocol": replace(SHORT, max_clicks=6)},
        {"protocol": replace(SHORT, seed=1)},
        {"crop": 60},
        {"target": Target.REGION},
        {"window": WindowChoice.AUTO},
    ],
    ids=str,
)
def test_nothing_stale_is_used(tmp_path, change) -> None:
    store = ResultStore(tmp_path)
    run(AnsweringSegmenter(squares), [dataset(tiles=1)], store=store)
    before = len(store)
    run(AnsweringSegmenter(squares), [dataset(tiles=1)], store=store, **change)
    store.close()
    assert len(store) > before


def test_region_mode_has_one_object_a_tile() -> None:
    results = run(AnsweringSegmenter(red), [dataset()], target=Target.REGION)
    assert [r.object_id for r in results] == ["0#region", "1#region"]
    assert all(r.iou[-1] == 1 for r in results)


def test_the_engines_own_windows_answer_in_the_images_pixels() -> None:
    results = run(AnsweringSegmenter(red), [dataset()], window=WindowChoice.AUTO, target=Target.REGION)
    assert all(r.iou[0] > 0.97 for r in results)
    assert all(r.box_iou is not None and r.box_iou > 0.97 for r in results)


class _TwoMasks(AnsweringSegmenter):
    """Is surest of the clicked px and what is right of it, and less sure of what is red."""

    def decode(self, embedding, prompts, *, several_masks=False):
        answers = super().decode(embedding, prompts, several_masks=several_masks)
        if not several_masks:
            return answers
        both = []
        for prompt, found in zip(prompts, answers, strict=True):
            half = found.masks.copy()
            half[0, :, : int(prompt.points[0, 0])] = False
            logits = found.logits.copy()
            logits[0, :, : int(prompt.points[0, 0] * LOW_RES_SIZE / half.shape[2])] = -5
            scores = np.array([0.9, 0.6], np.float32)
            masks, logits = np.concatenate([half, found.masks]), np.concatenate([logits, found.logits])
            both.append(MaskSet(masks, scores, logits))
        return both


@pytest.mark.parametrize("window", WindowChoice)
def test_all_masks_that_a_person_could_choose_from_count_for_the_best_of_the_first_click(window: WindowChoice) -> None:
    segmenter = _TwoMasks(red, capabilities=Capabilities(input_size=256, mask_count=2))
    (result,) = run(segmenter, [dataset(tiles=1)], window=window, target=Target.REGION, protocol=Protocol(max_clicks=1))
    assert result.iou[0] < 0.8
    assert result.first_best_iou > 0.97


def test_the_whole_image_protocol_crops_and_the_engines_own_windows_do_not() -> None:
    data = dataset()
    assert Choices(window=WindowChoice.IMAGE).selection(data).crop == 256
    assert Choices(window=WindowChoice.AUTO).selection(data).crop is None
    assert Choices(window=WindowChoice.IMAGE, crop=0).selection(data).crop is None
    assert Choices(window=WindowChoice.AUTO, crop=100).selection(data).crop == 100
    described = describe([data], Choices(min_area=7), split="validation")
    assert json.loads(json.dumps(described))["datasets"]["set"]["min_area"] == 7


@pytest.mark.parametrize("window", list(WindowChoice))
@pytest.mark.parametrize("takes", [("boxes",), ("mask_prompt",), ("boxes", "mask_prompt")], ids=str)
def test_of_an_outline_a_model_is_told_what_it_takes(takes, window) -> None:
    can = Capabilities(input_size=256, mask_count=1, boxes="boxes" in takes, mask_prompt="mask_prompt" in takes)
    segmenter = AnsweringSegmenter(red, capabilities=can)
    model = loaded(segmenter)
    pixels = painted(two_discs())
    with Evaluation(model, protocol=SHORT, choices=Choices(window=window)) as evaluation:
        mask = evaluation.prompt(pixels, None).from_outline(box(8, 8, 56, 56))
    assert ((mask > 0) != (two_discs() > 0)).mean() < 0.01
    assert segmenter.asked
    assert {(p.box is not None, p.logits is not None) for p, _ in segmenter.asked} == {(can.boxes, can.mask_prompt)}


def test_a_model_without_clicks_is_refused() -> None:
    boxes_only = Capabilities(input_size=256, mask_count=1, points=False)
    with pytest.raises(UnsupportedPrompt, match="takes no clicks"):
        run(AnsweringSegmenter(red, capabilities=boxes_only), [dataset()])


def test_cases_are_a_success_and_a_failure_and_can_be_replayed() -> None:
    def red_above(pixels, prompt):
        mask = red(pixels, prompt)
        mask[40:] = False
        return mask

    data = [dataset()]
    model = loaded(AnsweringSegmenter(red_above))
    with Evaluation(model, protocol=SHORT, choices=Choices()) as evaluation:
        chosen = success_and_failure(evaluation.run(data))
        assert [kind for kind, _ in chosen] == ["success", "failure", "bad first click"]
        case = replay(evaluation, data, chosen[1][1], title="model, failure", protocol=SHORT)
    assert chosen[0][1].iou[-1] > 0.9 > chosen[1][1].iou[-1]
    assert sorted(case.run.masks) == [1, 5]
    assert case.run.iou == chosen[1][1].iou
    good = run(AnsweringSegmenter(red), data, target=Target.REGION)
    assert [kind for kind, _ in success_and_failure(good)] == ["success"]
    lost = success_and_failure(run(AnsweringSegmenter(nothing), data))
    assert [kind for kind, _ in lost] == ["failure", "bad first click"]
    assert lost[0][1].object_id != lost[1][1].object_id


def test_a_bad_first_click_is_drawn_though_later_ones_mend_it() -> None:
    one = run(AnsweringSegmenter(red), [dataset()])[0]
    good = (0.95,) * len(one.iou)
    many = [replace(one, object_id=f"{n}", iou=good) for n in range(5)]
    many.append(replace(one, object_id="bad", iou=(0.2, *good[1:])))
    assert [(kind, each.object_id) for kind, each in success_and_failure(many)][-1] == ("bad first click", "bad")


def test_useless_and_perfect_results() -> None:
    assert all(r.iou == (0.0,) * 5 for r in run(AnsweringSegmenter(nothing), [dataset()]))
    assert all(r.iou == (1.0,) * 5 for r in run(AnsweringSegmenter(red), [dataset()], target=Target.REGION))


def checkpoint(path, entry) -> LocalWeights:
    save_file({"a": np.zeros(1, np.float32)}, path, metadata={"qupath_sam": json.dumps(entry)})
    return LocalWeights(str(path), path.stat().st_size, "0" * 64)


def test_groups_a_checkpoint_has_seen(tmp_path) -> None:
    entry = {"format": "full", "groups_seen": {"set": ["case1", "case7"], "other": ["p"]}}
    spec = replace(BUILT_IN["lite_medsam"], weights=checkpoint(tmp_path / "tuned.safetensors", entry))
    seen = groups_seen(spec, ModelStore(tmp_path))
    assert seen == {("set", "case1"), ("set", "case7"), ("other", "p")}
    with pytest.raises(InvalidRequest, match=r"trained on 1 group.*case1"):
        check_unseen("tuned", seen, [dataset()])
    check_unseen("tuned", seen, [dataset(tiles=1)])
    with pytest.raises(InvalidRequest, match=r"case1.*--namesakes"):
        check_unseen("tuned", seen, [dataset(name="a copy under another name")])


def test_namesakes_are_others_in_a_data_set_of_another_name_alone() -> None:
    seen = [("set", "case1")]
    check_unseen("tuned", seen, [dataset(name="another laboratory's")], namesakes=True)
    with pytest.raises(InvalidRequest, match="case1") as refused:
        check_unseen("tuned", seen, [dataset(name="set")], namesakes=True)
    assert "--namesakes" not in str(refused.value), "where it would not help it is no advice"


def test_models_of_others_say_nothing_of_groups_and_broken_metadata_is_an_error(tmp_path) -> None:
    assert groups_seen(BUILT_IN["fake"], ModelStore(tmp_path)) == frozenset()
    assert groups_seen(BUILT_IN["lite_medsam"], ModelStore(tmp_path)) == frozenset()
    spec = replace(BUILT_IN["lite_medsam"], weights=checkpoint(tmp_path / "odd.safetensors", {"groups_seen": 7}))
    with pytest.raises(WrongWeights, match="metadata"):
        groups_seen(spec, ModelStore(tmp_path))


@pytest.mark.parametrize("window", list(WindowChoice))
def test_with_keep_parts_the_other_parts_stay(window: WindowChoice) -> None:
    """The model answers every click with both discs."""
    segmenter = AnsweringSegmenter(red)
    kept = run(segmenter, [dataset(tiles=1)], window=window, keep_parts=True)
    assert all(prompt.keep_parts for prompt, _ in segmenter.asked[1:])
    assert [each.first_parts for each in kept] == [2, 2]
    plain = AnsweringSegmenter(red)
    run(plain, [dataset(tiles=1)], window=window)
    assert not any(prompt.keep_parts for prompt, _ in plain.asked)


def test_what_changes_answers_is_part_of_a_results_key_and_of_the_report(tmp_path) -> None:
    store = ResultStore(tmp_path)
    data = [dataset(tiles=1)]
    stroke = replace(SHORT, first=FirstPrompt.STROKE)
    for number, (protocol, choices) in enumerate([(SHORT, {}), (SHORT, {"keep_parts": True}), (stroke, {})], start=1):
        run(AnsweringSegmenter(squares), data, store=store, protocol=protocol, **choices)
        assert len(store) == 2 * number
    store.close()
    described = describe(data, Choices(keep_parts=True, without=(Part.WHITE_RULE,)), split=None)
    assert (described["keep_parts"], described["without"]) == (True, ["white-rule"])
    assert json.loads(json.dumps(stroke.as_json()))["first"] == "stroke"


@pytest.mark.parametrize("part", list(Part))
def test_a_part_that_a_model_has_not_cannot_be_left_out(part: Part) -> None:
    with pytest.raises(InvalidRequest, match=f"--without {part.value}: 'fake' has no such part"):
        run(AnsweringSegmenter(red), [dataset()], without=(part,))
