"""MedSAM: SAM's ViT-B fine-tuned on medical images with boxes (Ma et al. 2024, Nature Communications 15:654).

Its network is SAM's, its input is not: the window is stretched to the square, and its values are spread over 0..1.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.adapters.sam import INPUT_SIZE
from qupath_sam.models.frame import ModelFrame


class MedSamSegmenter(PromptableSegmenter):
    """The `Segmenter` of MedSAM's ViT-B."""

    preprocessing: ClassVar[str] = "medsam-1"

    def frame(self, window_size: tuple[int, int]) -> ModelFrame:
        """Return a frame in which the window fills the square."""
        return ModelFrame.stretched(window_size, INPUT_SIZE)

    @staticmethod
    def normalise(image: Tensor) -> Tensor:
        """Map the darkest value to 0, the brightest to 1; an even window to 0, as MedSAM's own inference does."""
        darkest, brightest = image.aminmax()
        return (image - darkest) / (brightest - darkest).clamp(min=1e-8)
