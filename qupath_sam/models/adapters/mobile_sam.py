"""MobileSAM: SAM's decoder on TinyViT at 1024 px (Zhang et al. 2023, arXiv 2306.14289; Apache-2.0)."""

from __future__ import annotations

from torch import nn

from qupath_sam.models.adapters.sam import INPUT_SIZE, SamSegmenter
from qupath_sam.networks.network import Parts, PromptableNetwork
from qupath_sam.networks.tiny_vit import TinyViT


def build_mobile_sam(parts: Parts | None = None, *, encoder: nn.Module | None = None) -> PromptableNetwork:
    """Build the network without its weights; ``encoder`` stands in for its image encoder."""
    encoder = TinyViT(strided_stem=True) if encoder is None else encoder
    return PromptableNetwork(encoder, input_size=INPUT_SIZE, parts=parts)


class MobileSamSegmenter(SamSegmenter):
    """The `Segmenter` of MobileSAM; it takes the input of SAM."""
