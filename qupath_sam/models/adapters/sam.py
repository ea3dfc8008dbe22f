"""Segment Anything with its vision transformers B, L and H (Kirillov et al. 2023, arXiv 2304.02643; Apache-2.0).

Also MedSAM, micro-sam and PathoSAM, which keep the architecture. The window's longer side is scaled to 1024 px, pixels
are normalised per channel, and the rest of the square is zero.
"""

from __future__ import annotations

import enum
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.frame import ModelFrame
from qupath_sam.networks.network import EMBEDDING_CHANNELS, Parts, PromptableNetwork
from qupath_sam.networks.sam_parts import ImageEncoderViT

INPUT_SIZE = 1024
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


class VitSize(enum.Enum):
    """Channels, blocks, heads, and which blocks attend to the whole image."""

    B = (768, 12, 12, (2, 5, 8, 11))
    L = (1024, 24, 16, (5, 11, 17, 23))
    H = (1280, 32, 16, (7, 15, 23, 31))


def build_sam(size: VitSize, parts: Parts | None = None, *, encoder: nn.Module | None = None) -> PromptableNetwork:
    """Build the network without its weights; ``encoder`` stands in for its image encoder."""
    if encoder is None:
        channels, depth, heads, global_blocks = size.value
        encoder = vision_transformer(channels=channels, depth=depth, heads=heads, global_blocks=global_blocks)
    return PromptableNetwork(encoder, input_size=INPUT_SIZE, parts=parts)


def vision_transformer(*, channels: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> nn.Module:
    """Return SAM's image encoder at 1024 px."""
    encoder: nn.Module = ImageEncoderViT(
        depth=depth,
        embed_dim=channels,
        img_size=INPUT_SIZE,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=heads,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=global_blocks,
        window_size=14,
        out_chans=EMBEDDING_CHANNELS,
    )
    return encoder


class SamSegmenter(PromptableSegmenter):
    """The `Segmenter` of all models that take SAM's input."""

    preprocessing: ClassVar[str] = "sam-1"

    def frame(self, window_size: tuple[int, int]) -> ModelFrame:
        """Return a frame in which the longer side fills the square."""
        return ModelFrame.padded(window_size, INPUT_SIZE)

    @staticmethod
    def normalise(image: Tensor) -> Tensor:
        """Normalise each channel; afterwards zero, the padding, is the mean colour."""
        mean = torch.tensor(PIXEL_MEAN, device=image.device).view(3, 1, 1)
        std = torch.tensor(PIXEL_STD, device=image.device).view(3, 1, 1)
        return (image - mean) / std
