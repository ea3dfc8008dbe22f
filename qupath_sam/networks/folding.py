"""TinyViT made ready for inference: batch norm and GELU folded into convolutions, attention biases spread out."""

from __future__ import annotations

from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qupath_sam.networks.tiny_vit import ConvNorm, WindowAttention


def freeze_for_inference(encoder: nn.Module) -> None:
    """Fold every `ConvNorm` and spread every attention bias, in place. The result cannot be trained."""
    for module in encoder.modules():
        if isinstance(module, WindowAttention):
            module.freeze_bias()
        for name, child in module.named_children():
            if isinstance(child, ConvNorm):
                setattr(module, name, _folded(child))


def _folded(block: ConvNorm) -> nn.Module:
    conv = nn.utils.fuse_conv_bn_eval(block.c.eval(), block.bn.eval())
    return ConvGelu(conv) if block.gelu else conv


class ConvGelu(nn.Module):
    """Convolution and GELU in one pass over memory where oneDNN can: twice as fast on CPU as one after the other."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` as the convolution does, then GELU; one call of oneDNN on a CPU that has it."""
        conv = self.conv
        if x.device.type != "cpu" or not _fuses():
            return F.gelu(conv(x))
        fused = torch.ops.mkldnn._convolution_pointwise(
            x, conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups, "gelu", [], "none"
        )
        return cast("Tensor", fused)


@cache
def _fuses() -> bool:
    # The operator that torch's own compiler uses for this; it has no public name, and may be gone one day.
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
