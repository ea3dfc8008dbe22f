"""Low-rank adaptation of an image encoder's attention (Hu et al. 2021, "LoRA", arXiv 2106.09685).

As Segment Any Cell (Na et al. 2024) and SAMed do for SAM: the encoder stays frozen, and the projections to queries,
keys and values get a trainable product of two thin matrices added to them. A checkpoint holds the sum of both
(`training.checkpoint.network_state`): a plain encoder of the same names, shapes and speed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Name of the layers that are adapted, in SAM's ViT (``blocks.N.attn.qkv``) and in TinyViT alike.
ADAPTED = "qkv"


class LowRankLinear(nn.Module):
    """A frozen linear layer plus ``scale * up @ down``; it starts out equal to the frozen one.

    Args:
        linear: taken over and frozen.
        rank: of the product.
        scale: factor of the product (the paper's alpha / r).
    """

    def __init__(self, linear: nn.Linear, *, rank: int, scale: float) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scale = scale
        like = linear.weight
        self.down = nn.Parameter(torch.empty(rank, linear.in_features, device=like.device, dtype=like.dtype))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank, device=like.device, dtype=like.dtype))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_features)`` to ``(..., out_features)``."""
        adapted: Tensor = self.linear(x) + self.scale * (x @ self.down.T @ self.up.T)
        return adapted


def add_lora(encoder: nn.Module, *, rank: int = 4, alpha: float = 4.0) -> list[LowRankLinear]:
    """Freeze an encoder and adapt the query, key and value projections of all its attention layers, in place.

    Raises:
        ValueError: the encoder has no such layer.
    """
    encoder.requires_grad_(False)
    adapted = []
    for module in list(encoder.modules()):
        layer = getattr(module, ADAPTED, None)
        if isinstance(layer, nn.Linear):
            adapter = LowRankLinear(layer, rank=rank, scale=alpha / rank)
            setattr(module, ADAPTED, adapter)
            adapted.append(adapter)
    if not adapted:
        raise ValueError(f"{type(encoder).__name__} has no linear layer named {ADAPTED!r} to adapt")
    return adapted
