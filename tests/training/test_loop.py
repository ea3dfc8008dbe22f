"""The loop's arithmetic: batches, and the order of the data."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from qupath_sam.errors import InvalidRequest
from qupath_sam.networks.canvas import CanvasClick, CanvasPrompts
from qupath_sam.networks.mask_decoder import Decoded
from qupath_sam.networks.network import DecoderKind, Parts
from qupath_sam.networks.stages import Late
from qupath_sam.training import forward
from qupath_sam.training.embeddings import EncodedCrop
from qupath_sam.training.forward import network_prompts
from qupath_sam.training.loop import Trainer
from qupath_sam.training.losses import dice_loss, normalised_focal_loss
from qupath_sam.training.scenarios import LoraSettings, Scenario, Trainable, prepare_scenario
from qupath_sam.training.settings import Length, TrainingSettings
from tests.training.networks import ONE_CLICK, DiscCrops, EarlyCrops, small_network

CPU = torch.device("cpu")


def trainer(crops, **settings) -> Trainer:
    network = small_network()
    prepare_scenario(network, Scenario.SAM_MD.parts, LoraSettings())
    chosen = TrainingSettings(**{"length": Length(steps=1), "mix": ONE_CLICK, "accumulate": 2, **settings})
    return Trainer(network, crops, chosen, normalise=lambda image: image)


@pytest.mark.parametrize("decoder", list(DecoderKind))
@torch.no_grad()
def test_prompts_of_several_images_share_a_batch_without_knowing_each_other(decoder: DecoderKind) -> None:
    network = small_network(Parts(decoder))
    place = network.prompt_encoder.get_dense_pe()
    embeddings = torch.cat([DiscCrops()[i].embedding.float() for i in range(2)])
    prompts = [
        CanvasPrompts(
            (CanvasClick(100 + 40 * i, 90, True), CanvasClick(30, 30 + i, False)), 1, previous=torch.randn(256, 256)
        )
        for i in range(2)
    ]
    together = network.decode(embeddings, *network_prompts(prompts, network, CPU), dense_position=place)
    for i in range(2):
        own = network_prompts(prompts[i : i + 1], network, CPU)
        alone = network.decode(embeddings[i : i + 1], *own, dense_position=place)
        torch.testing.assert_close(together.logits[i : i + 1], alone.logits, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(together.scores[i : i + 1], alone.scores, atol=1e-4, rtol=1e-4)


def test_a_click_on_the_crop_is_the_same_place_for_the_model() -> None:
    """The middle of the crop's last pixel is 2 px from the edge of a square of 1024; SAM adds one half itself."""
    points, boxes, masks = network_prompts(
        [CanvasPrompts((CanvasClick(255, 0, True),), 1, box=(0, 0, 256, 128))], small_network(), CPU
    )
    assert points is not None
    assert boxes is not None
    assert masks is None
    assert (points[0] + 0.5).tolist() == [[[1022.0, 2.0]]]
    assert (boxes + 0.5).tolist() == [[0.0, 0.0, 1024.0, 512.0]]


def test_an_epoch_draws_every_crop_once() -> None:
    running = trainer(DiscCrops(5))
    drawn = [running.pool.begin().crop for _ in range(15)]
    assert [sorted(drawn[i : i + 5]) for i in (0, 5, 10)] == [list(range(i, i + 5)) for i in (0, 5, 10)]
    orders = {tuple(crop % 5 for crop in drawn[i : i + 5]) for i in (0, 5, 10)}
    assert len(orders) > 1


@pytest.mark.parametrize(("batch", "accumulate"), [(2, 1), (1, 2)])
def test_a_step_takes_one_answer_of_every_session(batch: int, accumulate: int) -> None:
    running = trainer(DiscCrops(2), batch=batch, accumulate=accumulate)
    report = running.step()
    assert (report.prompts, report.step) == (2, 1)
    assert report.first_iou is not None
    assert report.later_iou is None
    assert running.share_done == 1


def test_crops_without_objects_end_in_an_error() -> None:
    class Nothing(DiscCrops):
        def __getitem__(self, index: int) -> EncodedCrop:
            crop = super().__getitem__(index)
            return EncodedCrop(crop.image, crop.labels, (), crop.embedding)

    with pytest.raises(InvalidRequest, match="large enough"):
        trainer(Nothing()).step()


def test_a_run_needs_an_end() -> None:
    with pytest.raises(InvalidRequest, match="--epochs"):
        Length()


def test_objects_of_one_crop_share_its_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder runs once for both, and learns what it would have learnt from each."""
    encoded: list[int] = []
    original = forward.late_map

    def counting(encoder: torch.nn.Module, early: torch.Tensor, late: Late) -> torch.Tensor:
        encoded.append(len(early))
        return original(encoder, early, late)

    monkeypatch.setattr(forward, "late_map", counting)

    same = small_network()

    def gradients(*, apart: bool) -> dict[str, torch.Tensor]:
        network = copy.deepcopy(same)
        prepare_scenario(network, frozenset({Trainable.LATE_ENCODER}), LoraSettings())
        settings = TrainingSettings(
            frozenset({Trainable.LATE_ENCODER}),
            length=Length(steps=1),
            mix=ONE_CLICK,
            accumulate=2,
            sessions_per_crop=2,
            mixed_precision=False,
        )
        running = Trainer(network, EarlyCrops(network, 1), settings, normalise=lambda image: image)
        monkeypatch.setattr(running.optimizer, "step", lambda: None)
        monkeypatch.setattr(running.optimizer, "zero_grad", lambda **_: None)
        if apart:
            monkeypatch.setattr(running.pool, "by_crop", lambda: [{0: [0]}, {0: [1]}])
        running.step()
        return {name: parameter.grad.clone() for name, parameter in running.trained.items()}

    apart, shared = gradients(apart=True), gradients(apart=False)
    assert encoded == [1, 1, 1]
    for name in apart:
        torch.testing.assert_close(apart[name], shared[name], atol=1e-6, rtol=1e-3)
    assert any(gradient.any() for gradient in apart.values())


def test_a_crop_serves_several_sessions_before_the_next_is_drawn() -> None:
    running = trainer(DiscCrops(3), sessions_per_crop=2)
    drawn = [running.pool.begin().crop for _ in range(6)]
    assert drawn[0::2] == drawn[1::2]
    assert sorted(drawn[0::2]) == [0, 1, 2]


@pytest.mark.parametrize("parts", [Parts(DecoderKind.HISTOLOGY), Parts(refinement_head=True)])
def test_what_begins_from_nothing_learns_at_a_rate_of_its_own(parts: Parts) -> None:
    network = small_network(parts)
    prepare_scenario(network, Scenario.SAM_MD.parts, LoraSettings())
    settings = TrainingSettings(length=Length(steps=1), learning_rate=1e-4, head_learning_rate=1e-3)
    running = Trainer(network, DiscCrops(), settings, normalise=lambda image: image)
    rate_of = {id(p): group["base_lr"] for group in running.optimizer.param_groups for p in group["params"]}
    known = {name for name, _ in small_network().named_parameters()}
    assert {rate_of[id(p)] for name, p in running.trained.items() if name in known} == {1e-4}
    assert {rate_of[id(p)] for name, p in running.trained.items() if name not in known} == {1e-3}


@pytest.mark.parametrize(("given", "rate"), [(None, 1e-4), (0.0, 0.0), (1e-5, 1e-5)])
def test_the_encoder_learns_at_the_rate_that_was_given(given: float | None, rate: float) -> None:
    network = small_network()
    prepare_scenario(network, Scenario.SAM_WHOLE.parts, LoraSettings())
    settings = TrainingSettings(
        trainable=Scenario.SAM_WHOLE.parts, length=Length(steps=1), learning_rate=1e-4, encoder_learning_rate=given
    )
    running = Trainer(network, DiscCrops(), settings, normalise=lambda image: image)
    rate_of = {id(p): group["base_lr"] for group in running.optimizer.param_groups for p in group["params"]}
    of_encoder = {rate_of[id(p)] for name, p in running.trained.items() if name.startswith("image_encoder.")}
    assert of_encoder == {rate}


def test_of_three_masks_the_nearest_to_the_truth_is_learnt_from_and_all_scores() -> None:
    running = trainer(DiscCrops(1), masks=3, accumulate=1, mixed_precision=False)
    asked: list[torch.Tensor] = []
    decode = running.network.decode

    def remembering(*args: object, **kwargs: object) -> Decoded:
        decoded = decode(*args, **kwargs)
        decoded.logits.retain_grad()
        decoded.scores.retain_grad()
        asked.append(decoded)
        return decoded

    running.network.decode = remembering  # type: ignore[method-assign]
    running.step()
    (decoded,) = asked
    learnt = decoded.logits.grad.abs().sum((2, 3))[0] > 0
    assert learnt.tolist().count(True) == 1
    assert not learnt[0], "the mask for unambiguous prompts is not asked"
    assert (decoded.scores.grad[0] != 0).tolist() == [False, True, True, True]
    truth = torch.from_numpy(DiscCrops(1)[0].labels == 1).float()[None, None]
    losses = [float(normalised_focal_loss(m, truth) + dice_loss(m, truth)) for m in decoded.logits.detach().split(1, 1)]
    assert losses[int(learnt.nonzero())] == min(losses[1:])


def test_later_clicks_have_one_mask() -> None:
    running = trainer(DiscCrops(1), masks=3, accumulate=1, mix=replace(ONE_CLICK, single=0), length=Length(steps=2))
    running.step()
    session = running.pool.sessions[0]
    assert session.answers == 1
    truth = torch.from_numpy(session.truth).float()[None, None]
    embedding = DiscCrops(1)[0].embedding.float()
    assert running.forward.answer([session], [DiscCrops(1)[0]], embedding, truth).decoded.logits.shape[1] == 1


@pytest.mark.parametrize("settings", [{"masks": 2}, {"masks": 3, "parts": Parts(DecoderKind.HISTOLOGY)}], ids=str)
def test_masks_that_no_decoder_gives_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="--masks"):
        TrainingSettings(**settings)  # type: ignore[arg-type]
