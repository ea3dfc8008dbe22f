"""LoRA: nothing at first, the same when merged, a plain encoder afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from qupath_sam.models.adapters.lite_medsam import build_lite_medsam
from qupath_sam.networks.lora import LowRankLinear, Projections, add_lora
from qupath_sam.networks.network import PromptableNetwork
from qupath_sam.networks.tiny_vit import TinyViTBlock
from qupath_sam.training.checkpoint import network_state
from tests.training.networks import small_network


def vit_block() -> tuple[nn.Module, torch.Tensor]:
    block = small_network().image_encoder.blocks[0]
    assert isinstance(block, nn.Module)
    return block, torch.randn(1, 14, 14, 32)


def tiny_vit_block() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(1)
    return TinyViTBlock(32, 2, 7).eval(), torch.randn(1, 32, 14, 14)


@pytest.mark.parametrize("make", [vit_block, tiny_vit_block])
@torch.no_grad()
def test_the_adapted_layer_is_the_frozen_one_plus_a_product(make) -> None:
    block, x = make()
    plain = block(x)
    weight = next(layer for name, layer in block.named_modules() if name.endswith("qkv")).weight.clone()
    (adapter,) = add_lora(block, rank=3, alpha=6.0)
    torch.testing.assert_close(block(x), plain, msg="it starts with no change at all")
    adapter.up.normal_(0, 0.3)
    adapted = block(x)
    assert (adapted - plain).abs().max() > 1e-2
    assert torch.equal(adapter.linear.weight, weight)
    adapter.linear.weight += 2.0 * adapter.up @ adapter.down
    adapter.up.zero_()
    torch.testing.assert_close(block(x), adapted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("make", "heads"), [(vit_block, 1), (tiny_vit_block, 2)])
def test_keys_stay_frozen_where_queries_and_values_are_adapted(make, heads: int) -> None:
    block, x = make()
    (adapter,) = add_lora(block, rank=3, projections=Projections.QUERIES_AND_VALUES)
    plain = block(x).detach()
    optimizer = torch.optim.AdamW([adapter.down, adapter.up], lr=0.1)
    for _ in range(2):  # nothing reaches `down` before `up` has moved
        optimizer.zero_grad()
        block(x).square().sum().backward()
        optimizer.step()
    change = (adapter.up @ adapter.down).detach().view(heads, 3, -1, adapter.down.shape[1])
    assert not change[:, 1].any(), "rows of keys"
    assert change[:, 0].any()
    assert change[:, 2].any()
    # Each has a product of its own: none of the two matrices is shared.
    up = adapter.up.detach().view(heads, 3, -1, 6)
    assert not up[:, 0, :, 3:].any()
    assert not up[:, 2, :, :3].any()
    adapted = block(x).detach()
    assert (adapted - plain).abs().max() > 1e-2
    with torch.no_grad():
        adapter.linear.weight += adapter.scale * adapter.up @ adapter.down
        adapter.up.zero_()
        torch.testing.assert_close(block(x), adapted, atol=1e-4, rtol=1e-4)


def test_all_attention_of_the_default_encoder_is_adapted() -> None:
    with torch.device("meta"):
        network = build_lite_medsam()
    adapters = add_lora(network.image_encoder, rank=4)
    assert len(adapters) == 2 + 6 + 2
    assert {name for name, p in network.image_encoder.named_parameters() if p.requires_grad} == {
        f"{name}.{part}"
        for name, module in network.image_encoder.named_modules()
        if isinstance(module, LowRankLinear)
        for part in ("down", "up")
    }


def test_a_network_is_saved_merged_and_with_averages() -> None:
    network: PromptableNetwork = small_network()
    keys = set(network.state_dict())
    adapter = add_lora(network.image_encoder, rank=2, alpha=2.0)[0]
    average = torch.full_like(adapter.up, 0.1)
    state = network_state(network, {"image_encoder.blocks.0.attn.qkv.up": average})
    assert set(state) == keys
    expected = adapter.linear.weight + average @ adapter.down
    torch.testing.assert_close(state["image_encoder.blocks.0.attn.qkv.weight"], expected.detach())


def test_an_encoder_without_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="qkv"):
        add_lora(nn.Sequential(nn.Linear(2, 2)))
