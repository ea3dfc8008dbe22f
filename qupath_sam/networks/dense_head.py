"""A light dense head on a frozen encoder: three maps of all objects of a window for the price of one pass.

The maps are those of micro-sam's automatic instance segmentation (Archit et al. 2025, Nature Methods 22:579, "AIS"):
foreground, distance to the object's centre, distance to its border. Ours are proximities, so the background is 0 in
all three. The embedding has one cell for 4 x 4 px, too few for a nucleus of 16 px, so the head sees the pixels too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qupath_sam.networks.network import EMBEDDING_CHANNELS, EMBEDDING_SIZE

#: The maps in their order.
FOREGROUND, CENTRE, BORDER = 0, 1, 2
MAPS = 3
#: Side of the image and of the maps, px: four for a cell of the embedding.
DENSE_SIZE = 4 * EMBEDDING_SIZE

#: Channels at a scale of 1/2, 1/4 and 1/8.
_WIDTHS = (32, 64, 96)
_EMBEDDING_PLANES = 64
_GROUP_CHANNELS = 8


class DenseHead(nn.Module):
    """Pixels and embedding of a window to its three maps: a U-Net with the embedding at a quarter of the size.

    Its finest features have half the resolution, and each gives the four pixels that it stands for.
    """

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth = _WIDTHS
        self.emb_proj = nn.Sequential(
            nn.Conv2d(EMBEDDING_CHANNELS, _EMBEDDING_PLANES, 1, bias=False), _norm(_EMBEDDING_PLANES), nn.GELU()
        )
        self.stem = nn.Sequential(nn.Conv2d(3, half, 4, 2, 1, bias=False), _norm(half), nn.GELU())
        self.enc1 = _conv(half, half)
        self.enc2 = nn.Sequential(_conv(half, quarter, stride=2), _conv(quarter, quarter))
        self.fuse = nn.Sequential(_conv(quarter + _EMBEDDING_PLANES, quarter), _conv(quarter, quarter))
        self.context = nn.Sequential(_conv(quarter, eighth, stride=2), _conv(eighth, eighth))
        self.lat2, self.dec2 = nn.Conv2d(eighth, quarter, 1), _conv(quarter, quarter)
        self.lat1, self.dec1 = nn.Conv2d(quarter, half, 1), nn.Sequential(_conv(half, half), _conv(half, half))
        self.out = nn.Sequential(nn.Conv2d(half, 4 * MAPS, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, image: Tensor, embedding: Tensor) -> Tensor:
        """Return the logits of the maps, fp32 ``(B, 3, 256, 256)``; sigmoid makes them 0..1.

        Args:
            image: RGB ``(B, 3, 256, 256)`` in 0..255 of any dtype. Its brightness and contrast are taken out, image by
                image: many fluorescence images use a tenth of the range.
            embedding: ``(B, 256, 64, 64)``, of the head's own dtype outside of autocast.
        """
        e1 = self.enc1(self.stem(_standardised(image.float())))
        e2 = self.enc2(e1)
        e2 = self.fuse(torch.cat([e2, self.emb_proj(embedding)], 1))
        x = self.dec2(e2 + _doubled(self.lat2(self.context(e2))))
        x = self.dec1(e1 + _doubled(self.lat1(x)))
        logits: Tensor = self.out(x)
        return logits


def _standardised(image: Tensor) -> Tensor:
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    spread = image.std(dim=(1, 2, 3), keepdim=True)
    return (image - mean) / (spread + 1.0)


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), _norm(outputs), nn.GELU())


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // _GROUP_CHANNELS, channels)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
