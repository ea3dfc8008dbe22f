"""LiteMedSAM: TinyViT at 256 px, distilled from MedSAM (Ma et al. 2024, Nature Communications 15:654; Apache-2.0).

The window is stretched to the model's square and divided by 255, as its training did.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.frame import ModelFrame
from qupath_sam.networks.network import Parts, PromptableNetwork
from qupath_sam.networks.tiny_vit import TinyViT

INPUT_SIZE = 256


def build_lite_medsam(parts: Parts | None = None, *, encoder: nn.Module | None = None) -> PromptableNetwork:
    """Build the network without its weights; ``encoder`` stands in for its image encoder."""
    encoder = TinyViT(strided_stem=False) if encoder is None else encoder
    return PromptableNetwork(encoder, input_size=INPUT_SIZE, parts=parts)


class LiteMedSamSegmenter(PromptableSegmenter):
    """The `Segmenter` of LiteMedSAM and its fine-tuned descendants."""

    preprocessing: ClassVar[str] = "lite_medsam-1"

    def frame(self, window_size: tuple[int, int]) -> ModelFrame:
        """Return a frame in which the window fills the square."""
        return ModelFrame.stretched(window_size, INPUT_SIZE)

    @staticmethod
    def normalise(image: Tensor) -> Tensor:
        """Scale pixels to 0..1."""
        return image / 255
