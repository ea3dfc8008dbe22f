"""How a window lies in the square that a model sees: coordinates and logits from one to the other and back.

Two frames, both measured on pixel edges with the origin at the top left: *window* px, and *model* px of a square of
``input_size``. The window fills the square's top left part, all of it where the model stretches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.models.base import LOW_RES_SIZE

#: Logit given to the padding beside a window in a mask prompt: surely not the object.
PADDING_LOGIT = -10.0
#: Name of the canvas in an embedding: the window in the model's square, RGB, uint8 ``(1, 3, input_size, input_size)``.
#: Embeddings on disk have it, so it stays.
CANVAS_RGB = "view"


@dataclass(frozen=True, slots=True)
class ModelFrame:
    """The place of one window in a model's input.

    Attributes:
        window_size: ``(height, width)`` in window px.
        content_size: ``(height, width)`` in model px that the window covers, from the top left.
        input_size: side of the model's square, px.
    """

    window_size: tuple[int, int]
    content_size: tuple[int, int]
    input_size: int

    @classmethod
    def stretched(cls, window_size: tuple[int, int], input_size: int) -> ModelFrame:
        """Return a frame in which the window fills the whole square, whatever its aspect (LiteMedSAM)."""
        return cls(window_size, (input_size, input_size), input_size)

    @classmethod
    def padded(cls, window_size: tuple[int, int], input_size: int) -> ModelFrame:
        """Return a frame: the longer side fills the square, the rest is padding (SAM's ``ResizeLongestSide``)."""
        scale = input_size / max(window_size)
        height, width = (max(1, int(side * scale + 0.5)) for side in window_size)
        return cls(window_size, (height, width), input_size)

    @property
    def fills_square(self) -> bool:
        """Whether there is no padding."""
        return self.content_size == (self.input_size, self.input_size)

    def to_model(self, xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map points ``(N, 2)``, x then y, from window px to model px."""
        height, width = self.window_size
        content_height, content_width = self.content_size
        return xy * np.array([content_width / width, content_height / height], np.float32)

    def fill_up(self, image: Tensor) -> Tensor:
        """Pad ``(B, C, h, w)`` of the content's size with zeros on the right and below, to the model's square."""
        height, width = self.content_size
        return F.pad(image, (0, self.input_size - width, 0, self.input_size - height))

    def logits_over_window(self, logits: Tensor) -> Tensor:
        """Map ``(M, 256, 256)`` over the model's square to as many over the window, interpolated bilinearly."""
        if self.fills_square:
            return logits
        height, width = self._content_fraction()
        # In grid_sample's frame the square runs from -1 to 1; the content is its first part.
        theta = torch.tensor([[width, 0, width - 1], [0, height, height - 1]], device=logits.device)
        return _resample(logits, theta)

    def logits_over_square(self, logits: Tensor) -> Tensor:
        """Invert `logits_over_window`; the padding is set to `PADDING_LOGIT`."""
        if self.fills_square:
            return logits
        height, width = self._content_fraction()
        theta = torch.tensor([[1 / width, 0, 1 / width - 1], [0, 1 / height, 1 / height - 1]], device=logits.device)
        square = _resample(logits, theta)
        # A cell belongs to the window when its centre does; at least one always has to.
        rows = max(1, round(height * LOW_RES_SIZE))
        columns = max(1, round(width * LOW_RES_SIZE))
        square[:, rows:, :] = PADDING_LOGIT
        square[:, :, columns:] = PADDING_LOGIT
        return square

    def _content_fraction(self) -> tuple[float, float]:
        height, width = self.content_size
        return height / self.input_size, width / self.input_size


def masks_over_window(logits: Tensor, window_size: tuple[int, int]) -> Tensor:
    """Map logits ``(M, 256, 256)`` to bool masks ``(M, height, width)`` over a window: bilinear, above zero."""
    if logits.shape[1:] == window_size:
        # What the interpolation would give, bit by bit.
        return logits > 0
    upsampled = F.interpolate(logits[None], size=window_size, mode="bilinear", align_corners=False)
    return upsampled[0] > 0


def _resample(logits: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta[None].to(logits.dtype), [1, 1, LOW_RES_SIZE, LOW_RES_SIZE], align_corners=False)
    return F.grid_sample(logits[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
