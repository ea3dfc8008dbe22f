"""The two halves of an encoder make the whole, and the late one is what its name says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from qupath_sam.errors import InvalidRequest
from qupath_sam.models.adapters.sam import INPUT_SIZE, vision_transformer
from qupath_sam.networks.stages import Late, early_map, late_map, late_modules
from qupath_sam.networks.tiny_vit import TinyViT
from tests.models.networks import seeded


@pytest.mark.parametrize("cut", Late)
@pytest.mark.parametrize("kind", ["tiny_vit", "vit"])
@torch.no_grad()
def test_both_parts_are_the_encoder(kind: str, cut: Late) -> None:
    if kind == "tiny_vit":
        encoder, size = seeded(TinyViT(strided_stem=False)), 256
    else:
        encoder, size = seeded(vision_transformer(channels=32, depth=4, heads=1, global_blocks=(1, 3))), INPUT_SIZE
    encoder.eval()
    image = torch.rand(1, 3, size, size)
    early = early_map(encoder, image, cut)
    assert early.shape[-2:] == (64, 64)
    torch.testing.assert_close(late_map(encoder, early, cut), encoder(image))

    late = {id(parameter) for module in late_modules(encoder, cut) for parameter in module.parameters()}
    for module in late_modules(encoder, cut):
        for parameter in module.parameters():
            parameter.zero_()
    assert not late_map(encoder, early, cut).any()
    torch.testing.assert_close(early_map(encoder, image, cut), early)
    assert 0 < len(late) < len(list(encoder.parameters()))


@torch.no_grad()
def test_the_last_stage_is_less_than_the_late_half() -> None:
    encoder = TinyViT(strided_stem=False)
    half, last = ({id(p) for m in late_modules(encoder, cut) for p in m.parameters()} for cut in Late)
    assert last < half


def test_another_encoder_has_no_halves() -> None:
    with pytest.raises(InvalidRequest, match="LoRA"):
        late_modules(nn.Identity())
