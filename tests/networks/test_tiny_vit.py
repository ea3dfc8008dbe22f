"""TinyViT. That it equals the authors' is tested with their weights, in test_lite_medsam.py."""

from __future__ import annotations

import copy

import pytest
import torch

from qupath_sam.models.adapters.lite_medsam import build_lite_medsam
from qupath_sam.networks.folding import ConvGelu, freeze_for_inference
from qupath_sam.networks.tiny_vit import EARLY_MAPS, TinyViT
from tests.models.networks import seeded


@pytest.fixture(scope="module")
def encoder() -> TinyViT:
    encoder = seeded(build_lite_medsam()).image_encoder
    assert isinstance(encoder, TinyViT)
    return encoder


@torch.inference_mode()
def test_freezing_changes_nothing_but_rounding(encoder: TinyViT) -> None:
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    expected, expected_maps = encoder.forward_features(image)
    frozen = copy.deepcopy(encoder)
    freeze_for_inference(frozen)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in frozen.modules())
    embedding, maps = frozen.forward_features(image)
    torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-3)
    assert {name: m.shape[1] for name, m in maps.items()} == EARLY_MAPS
    assert [tuple(m.shape[2:]) for m in maps.values()] == [(256, 256), (128, 128)]
    for name, expected_map in expected_maps.items():
        torch.testing.assert_close(maps[name], expected_map, atol=1e-3, rtol=1e-3)


def test_strided_stem_takes_1024_px_to_the_same_maps() -> None:
    with torch.device("meta"):
        encoder = TinyViT(strided_stem=True).eval()
    embedding, maps = encoder.to("meta").forward_features(torch.zeros(1, 3, 1024, 1024, device="meta"))
    assert embedding.shape == (1, 256, 64, 64)
    assert [tuple(m.shape) for m in maps.values()] == [(1, 64, 256, 256), (1, 128, 128, 128)]


def test_can_be_trained() -> None:
    encoder = TinyViT(strided_stem=False)
    encoder(torch.rand(1, 3, 64, 64)).square().mean().backward()
    without = [name for name, parameter in encoder.named_parameters() if parameter.grad is None]
    assert without == []


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 8), (3, 2, 8), (3, 2, 1)])
def test_fused_convolution_and_gelu_equals_both_in_turn(
    dtype: torch.dtype, kernel: int, stride: int, groups: int
) -> None:
    conv = torch.nn.Conv2d(8, 16, kernel, stride, kernel // 2, groups=groups).to(dtype)
    image = torch.randn(1, 8, 20, 22, generator=torch.Generator().manual_seed(0)).to(dtype)
    for layout in (torch.contiguous_format, torch.channels_last):
        expected = torch.nn.functional.gelu(conv(image))
        found = ConvGelu(conv)(image.contiguous(memory_format=layout))
        torch.testing.assert_close(found, expected, atol=1e-5 if dtype == torch.float32 else 2e-2, rtol=1e-2)
