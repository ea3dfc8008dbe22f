"""Low-rank adaptation of an image encoder's attention (Hu et al. 2021, "LoRA", arXiv 2106.09685).

The encoder stays frozen, and the projections to queries, keys and values get a trainable product of two thin matrices
added to them; or those to queries and values alone, each with a product of its own, as Segment Any Cell (Na et al.
2024, arXiv 2401.13220) and SAMed do for SAM. A checkpoint holds the sum of both
(`training.checkpoint.network_state`): a plain encoder of the same names, shapes and speed.
"""

from __future__ import annotations

import enum
import math

import torch
from torch import Tensor, nn

from qupath_sam.networks.tiny_vit import WindowAttention

#: Name of the layers that are adapted, in SAM's ViT (``blocks.N.attn.qkv``) and in TinyViT alike.
ADAPTED = "qkv"


class Projections(enum.Enum):
    """Which projections of an attention layer are adapted."""

    ALL = "all"
    """Queries, keys and values, by one product."""
    QUERIES_AND_VALUES = "queries and values"
    """Each by a product of its own; keys stay as they are."""


class LowRankLinear(nn.Module):
    """A frozen linear layer plus ``scale * up @ down``; it starts out equal to the frozen one.

    Args:
        linear: taken over and frozen.
        rank: of the product.
        scale: factor of the product (the paper's alpha / r).
        learnt: bool ``(outputs, rank)``, entries of ``up`` that are trained; the others stay 0. None trains all.
    """

    learnt: Tensor | None

    def __init__(self, linear: nn.Linear, *, rank: int, scale: float, learnt: Tensor | None = None) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scale = scale
        like = linear.weight
        self.down = nn.Parameter(torch.empty(rank, linear.in_features, device=like.device, dtype=like.dtype))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank, device=like.device, dtype=like.dtype))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.register_buffer("learnt", None if learnt is None else learnt.to(like), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_features)`` to ``(..., out_features)``."""
        # What is masked gets no gradient, and so stays 0.
        up = self.up if self.learnt is None else self.up * self.learnt
        adapted: Tensor = self.linear(x) + self.scale * (x @ self.down.T @ up.T)
        return adapted


def add_lora(
    encoder: nn.Module, *, rank: int = 4, alpha: float = 4.0, projections: Projections = Projections.ALL
) -> list[LowRankLinear]:
    """Freeze an encoder and adapt the projections of all its attention layers, in place.

    Args:
        encoder: a `TinyViT`, or SAM's vision transformer.
        rank: of each product.
        alpha: over ``rank``, the factor of the product.
        projections: which are adapted.

    Raises:
        ValueError: the encoder has no such layer.
    """
    encoder.requires_grad_(False)
    adapted = []
    for module in list(encoder.modules()):
        layer = getattr(module, ADAPTED, None)
        if isinstance(layer, nn.Linear):
            if projections is Projections.ALL:
                adapter = LowRankLinear(layer, rank=rank, scale=alpha / rank)
            else:
                learnt = _of_queries_and_values(module, layer, rank)
                adapter = LowRankLinear(layer, rank=2 * rank, scale=alpha / rank, learnt=learnt)
            setattr(module, ADAPTED, adapter)
            adapted.append(adapter)
    if not adapted:
        raise ValueError(f"{type(encoder).__name__} has no linear layer named {ADAPTED!r} to adapt")
    return adapted


def _of_queries_and_values(module: nn.Module, layer: nn.Linear, rank: int) -> Tensor:
    """Mark two products side by side: bool ``(outputs, 2 * rank)``, the first for queries, the second for values."""
    # TinyViT's outputs go head by head, each with query, key and value; those of SAM's ViT are three blocks.
    heads = module.heads if isinstance(module, WindowAttention) else 1
    kinds = torch.arange(3, device=layer.weight.device)[None, :, None]
    of_row = kinds.expand(heads, 3, layer.out_features // (3 * heads)).reshape(-1, 1)
    first = torch.arange(2 * rank, device=layer.weight.device)[None] < rank
    learnt: Tensor = ((of_row == 0) & first) | ((of_row == 2) & ~first)
    return learnt
