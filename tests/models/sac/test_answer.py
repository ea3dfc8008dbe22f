"""Points of the canvas reach the decoder of a backbone of any size, with and without prompts, frozen or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qupath_sam.models.sac.answer import semantic_logits
from qupath_sam.models.sac.prompts import NO_POINTS, Points, PromptOptions
from qupath_sam.networks.canvas import CanvasClick, CanvasPrompts
from qupath_sam.networks.lora import Projections, add_lora
from qupath_sam.networks.prompt_generator import PromptGenerator
from qupath_sam.training.forward import network_prompts
from qupath_sam.training.sac.trainer import SacSettings, SacTrainer
from qupath_sam.training.settings import Length
from tests.training.networks import DiscCrops, small_network

CLICKS = CanvasClick(60.0, 40.5, True), CanvasClick(10.0, 200.0, False)


@torch.no_grad()
def test_points_lie_where_clicks_of_training_lie() -> None:
    network = small_network()
    embedding = torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(0))
    position = network.prompt_encoder.get_dense_pe()
    xy = np.array([(each.x + 0.5, each.y + 0.5) for each in CLICKS], np.float32)
    points = Points(xy, np.array([each.positive for each in CLICKS]))
    asked, _, _ = network_prompts([CanvasPrompts(CLICKS)], network, torch.device("cpu"))
    expected = network.decode(embedding, asked, None, None, dense_position=position).logits[:, :1]
    torch.testing.assert_close(semantic_logits(network, embedding, points, dense_position=position), expected)


@pytest.mark.parametrize("count", [0, 3, 60])
@torch.no_grad()
def test_a_decoder_made_for_inference_answers_the_same(count: int) -> None:
    network = small_network()
    embedding = torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(0))
    position = network.prompt_encoder.get_dense_pe()
    random = np.random.default_rng(0)
    points = Points(random.uniform(0, 256, (count, 2)).astype(np.float32), random.random(count) < 0.5)
    points = points if count else NO_POINTS
    before = semantic_logits(network, embedding, points, dense_position=position)
    network.freeze_decoder()
    after = semantic_logits(network, embedding, points, dense_position=position)
    torch.testing.assert_close(after, before, atol=2e-3, rtol=1e-3)


def test_a_vision_transformer_at_1024_px_learns_too() -> None:
    network = small_network().requires_grad_(False)
    add_lora(network.image_encoder, projections=Projections.QUERIES_AND_VALUES)
    network.mask_decoder.requires_grad_(True)  # type: ignore[attr-defined]
    settings = SacSettings(Length(steps=2), prompts=PromptOptions(sure=0.0, ruled_out=1.0))
    trainer = SacTrainer(
        network, PromptGenerator(), DiscCrops(pixels=True), settings, normalise=lambda image: image / 255
    )
    before = {name: each.detach().clone() for name, each in trainer.trained.items()}
    first, second = trainer.run()
    assert first.points > 0
    assert second.loss != first.loss
    moved = [name for name, each in trainer.trained.items() if not torch.equal(before[name], each)]
    assert {name.split(".")[0] for name in moved} == {"image_encoder", "mask_decoder", "generator"}
