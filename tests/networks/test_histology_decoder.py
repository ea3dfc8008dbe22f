"""The modified mask decoder of Kim et al. 2023, sec. 2.3."""

from __future__ import annotations

import pytest
import torch

from qupath_sam.models.registry import BUILT_IN
from qupath_sam.models.spec import CLICK_FAMILIES, TRANSFORMERS_FAMILIES, Family
from qupath_sam.models.weights.checkpoints import build_network, expected_shapes
from qupath_sam.networks import histology_decoder
from qupath_sam.networks.histology_decoder import (
    ADDED_PARTS,
    ConvBlock,
    HistologyMaskDecoder,
    InstanceNorm,
    UpConvBlock,
    attention,
)
from qupath_sam.networks.mask_decoder import FEATURE_CHANNELS, SamMaskDecoder
from qupath_sam.networks.network import DecoderKind, Parts
from qupath_sam.training.build import build_training_network

HISTOLOGY = Parts(DecoderKind.HISTOLOGY)
FAMILIES = sorted(
    {spec.family for spec in BUILT_IN.values()} - {Family.FAKE, *CLICK_FAMILIES, *TRANSFORMERS_FAMILIES},
    key=lambda family: family.value,
)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.value)
def test_fits_every_backbone_of_the_registry(family: Family) -> None:
    """Only shapes: on the meta device nothing is computed."""
    with torch.device("meta"):
        network = build_network(family, HISTOLOGY)
        network.load_state_dict(dict(network.state_dict()))
        sparse, place = torch.zeros(2, 5, 256), torch.zeros(1, 256, 64, 64)
        decoded = network.mask_decoder.decode(place, sparse, torch.zeros(2, 256, 64, 64), dense_position=place)
    assert decoded.logits.shape == (2, 1, 256, 256)
    assert decoded.scores.shape == (2, 1)
    assert decoded.features.shape == (2, FEATURE_CHANNELS, 256, 256)
    assert network.gives_one_mask
    assert Parts.of(expected_shapes(family, HISTOLOGY)) == HISTOLOGY


def test_blocks_halve_channels_and_double_resolution() -> None:
    x = torch.randn(1, 16, 8, 8)
    assert ConvBlock(16)(x).shape == (1, 8, 8, 8)
    assert UpConvBlock(16)(x).shape == (1, 8, 16, 16)


@pytest.mark.parametrize("images", [1, 2])
def test_instance_norm_is_torchs(images: int) -> None:
    torch.manual_seed(0)
    ours, torchs = InstanceNorm(16, affine=True), torch.nn.InstanceNorm2d(16, affine=True)
    torch.nn.init.normal_(ours.weight)
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(images, 16, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    for training in (True, False):
        ours.train(training)
        torchs.train(training)
        torch.testing.assert_close(ours(x), torchs(x))
    (gradient,), (expected,) = (torch.autograd.grad(norm(x).square().sum(), x) for norm in (ours, torchs))
    torch.testing.assert_close(gradient, expected)


def test_one_image_stays_channels_last() -> None:
    """What makes the blocks fast on a CPU: no copy between two layers."""
    x = torch.randn(1, 16, 8, 8).to(memory_format=torch.channels_last)
    assert InstanceNorm(16, affine=True)(x).is_contiguous(memory_format=torch.channels_last)


def test_attention_is_torchs_and_has_no_number_that_processors_are_slow_with() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(1, 64, 32) * scale for scale in (8, 8, 1)]
    ours, torchs = ([each.clone().requires_grad_() for each in inputs] for _ in range(2))
    smallest = torch.finfo(torch.float32).tiny
    plain = (inputs[0] @ inputs[1].transpose(1, 2) * 32**-0.5).softmax(-1)
    assert ((plain > 0) & (plain < smallest)).any(), "else this shows nothing"
    assert histology_decoder._weights(inputs[0], inputs[1]).min() >= smallest

    torch.testing.assert_close(attention(*ours), torch.nn.functional.scaled_dot_product_attention(*torchs))
    (attention(*ours) ** 2).sum().backward()
    (torch.nn.functional.scaled_dot_product_attention(*torchs) ** 2).sum().backward()
    for own, expected in zip(ours, torchs, strict=True):
        torch.testing.assert_close(own.grad, expected.grad, rtol=2e-3, atol=2e-3)


def test_size_is_that_of_the_rebuilt_paper() -> None:
    """The notes rebuilt it from the text with 1.55 M parameters more, and SAM's upscaling taken away."""
    added = sum(p.numel() for name, p in HistologyMaskDecoder().named_parameters() if name.startswith(ADDED_PARTS))
    assert added == pytest.approx(1.55e6, rel=0.01)


@torch.no_grad()
def test_every_cell_can_move_every_pixel() -> None:
    """Global attention and transformer: a change in one corner of the embedding is felt in the other."""
    torch.manual_seed(0)
    decoder = HistologyMaskDecoder().eval()
    embedding, dense, place = torch.randn(1, 256, 64, 64), torch.zeros(1, 256, 64, 64), torch.randn(1, 256, 64, 64)
    sparse = torch.randn(1, 2, 256)
    before = decoder.decode(embedding, sparse, dense, dense_position=place).logits
    embedding[:, :, 0, 0] += 10
    after = decoder.decode(embedding, sparse, dense, dense_position=place).logits
    assert (after - before)[0, 0, -64:, -64:].abs().max() > 0


def test_starts_from_sams_transformer_tokens_and_iou_head() -> None:
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in build_network(Family.LITE_MEDSAM).state_dict().items()}
    tensors = {key: torch.randn(shape) if len(shape) else torch.tensor(0) for key, shape in shapes.items()}
    network = build_training_network(tensors, Family.LITE_MEDSAM, HISTOLOGY, seed=0)
    state = network.state_dict()
    shared = [key for key in state if key in tensors]
    assert all(torch.equal(state[key], tensors[key]) for key in shared)
    assert {key.split(".")[1] for key in tensors.keys() - state.keys()} == {
        "output_upscaling",
        "output_hypernetworks_mlps",
    }
    again = build_training_network(tensors, Family.LITE_MEDSAM, HISTOLOGY, seed=0).state_dict()
    assert all(torch.equal(state[key], again[key]) for key in state), "what is random follows from the seed"


@torch.no_grad()
def test_sams_decoder_answers_as_the_original_does() -> None:
    torch.manual_seed(0)
    decoder = SamMaskDecoder().eval()
    embedding, dense, place = (torch.randn(1, 256, 64, 64) for _ in range(3))
    sparse = torch.randn(1, 3, 256)
    decoded = decoder.decode(embedding, sparse, dense, dense_position=place)
    logits, scores = decoder.predict_masks(embedding, place, sparse, dense)
    torch.testing.assert_close(decoded.logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(decoded.scores, scores)
