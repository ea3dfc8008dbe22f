"""The auto-prompt generator of Segment Any Cell (Na et al. 2024, arXiv 2401.13220): from the image to where cells are.

The paper names a network with the parameters theta_u that sees the image itself, not the embedding; we take it for a
U-Net (Ronneberger et al. 2015). Its depth and widths are published nowhere and are our choice, as is group norm:
batches are small.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qupath_sam.networks.canvas import CANVAS_SIZE

#: Channels at the full resolution of the canvas, at 1/2, 1/4 and 1/8.
_WIDTHS = (16, 32, 64, 96)
_GROUP_CHANNELS = 8


class PromptGenerator(nn.Module):
    """A small U-Net: RGB to one map of cells, both `CANVAS_SIZE` px a side."""

    def __init__(self) -> None:
        super().__init__()
        first, *deeper = _WIDTHS
        self.stem = _pair(3, first)
        self.down = nn.ModuleList(_pair(above, below) for above, below in zip(_WIDTHS, deeper, strict=False))
        self.up = nn.ModuleList(
            _pair(below + above, above) for above, below in zip(_WIDTHS[-2::-1], deeper[::-1], strict=True)
        )
        self.out = nn.Conv2d(first, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(B, 1, 256, 256)`` of cells.

        Args:
            image: RGB ``(B, 3, S, S)`` in 0..255 of any dtype and size. Its brightness and contrast are taken out,
                image by image: many fluorescence images use a tenth of the range.
        """
        image = image.float()
        if image.shape[-1] != CANVAS_SIZE:
            image = F.interpolate(image, size=(CANVAS_SIZE, CANVAS_SIZE), mode="bilinear", antialias=True)
        mean, spread = (f(image, dim=(1, 2, 3), keepdim=True) for f in (torch.mean, torch.std))
        maps = [self.stem((image - mean) / (spread + 1.0))]
        for level in self.down:
            maps.append(level(F.max_pool2d(maps[-1], 2)))
        x = maps.pop()
        for level in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = level(torch.cat([x, maps.pop()], 1))
        logits: Tensor = self.out(x)
        return logits


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_conv(inputs, outputs), *_conv(outputs, outputs))


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(outputs // _GROUP_CHANNELS, outputs),
        nn.ReLU(inplace=True),
    )
