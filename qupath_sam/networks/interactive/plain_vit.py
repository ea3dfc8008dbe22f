"""The plain vision transformer of SimpleClick (Liu et al. 2023, arXiv 2210.11006), with its neck and its head.

A ViT as masked autoencoders are trained, whose blocks see windows of 224 px but for every quarter of the depth's last
one; a neck makes maps of four sizes of its one map (Li et al. 2022, arXiv 2203.16527), a head joins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Side of the windows, px: that of the images of pre-training.
_WINDOW = 224
#: Outputs of the classifier that original files carry and nothing here uses.
_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class PlainVitSize:
    """Sizes that differ between the models.

    Attributes:
        image_size: side of the only square that the network takes, px.
        patch_size: side of a token, px.
        channels, depth, heads: of the transformer.
        neck_channels: of the maps of 4, 8, 16 and 32 px (for patches of 16 px).
        head_channels: of the last map before the logits.
        upsampling: how much larger the head makes the logits: 1, 2 or 4.
    """

    image_size: int
    patch_size: int
    channels: int
    depth: int
    heads: int
    neck_channels: tuple[int, int, int, int]
    head_channels: int
    upsampling: int

    @property
    def cells(self) -> int:
        """Tokens a side."""
        return self.image_size // self.patch_size


class PlainVit(nn.Module):
    """Tokens of image and clicks together to one map."""

    def __init__(self, size: PlainVitSize) -> None:
        super().__init__()
        self.cells, self.window_cells = size.cells, _WINDOW // size.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, size.cells**2 + 1, size.channels))
        self.patch_embed = PatchEmbedding(3, size)
        self.blocks = nn.Sequential(*(Block(size.channels, size.heads) for _ in range(size.depth)))
        self.fc_norm = nn.LayerNorm(size.channels, eps=1e-6)
        self.head = nn.Linear(size.channels, _CLASSES)
        self._global_every = 6 if size.depth == 12 else size.depth // 4

    def forward(self, image: Tensor, clicked: Tensor) -> Tensor:
        """Map normalised images ``(B, 3, S, S)`` and embedded clicks ``(B, cells², C)`` to ``(B, C, cells, cells)``."""
        x = self.patch_embed(image) + clicked + self.pos_embed[:, 1:]
        windowed = False
        for number, block in enumerate(self.blocks, start=1):
            wants_windows = number % self._global_every != 0
            if wants_windows != windowed:
                x = self._windows(x) if wants_windows else self._whole(x)
                windowed = wants_windows
            x = block(x)
        if windowed:
            x = self._whole(x)
        tokens: Tensor = x.transpose(1, 2)
        return tokens.reshape(len(x), -1, self.cells, self.cells)

    def _windows(self, x: Tensor) -> Tensor:
        """Map ``(B, cells², C)`` to ``(B * windows, window_cells², C)``."""
        count, side = self.cells // self.window_cells, self.window_cells
        x = x.reshape(len(x), count, side, count, side, x.shape[-1]).transpose(2, 3)
        return x.reshape(-1, side * side, x.shape[-1])

    def _whole(self, x: Tensor) -> Tensor:
        """Invert `_windows`."""
        count, side = self.cells // self.window_cells, self.window_cells
        x = x.reshape(-1, count, count, side, side, x.shape[-1]).transpose(2, 3)
        return x.reshape(x.shape[0], self.cells**2, x.shape[-1])


class PatchEmbedding(nn.Module):
    """A map to tokens ``(B, N, C)``."""

    def __init__(self, before: int, size: PlainVitSize) -> None:
        super().__init__()
        self.proj = nn.Conv2d(before, size.channels, size.patch_size, stride=size.patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, before, S, S)`` to ``(B, cells², channels)``."""
        projected: Tensor = self.proj(x)
        return projected.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Attention and a perceptron, each after a norm and round a shortcut."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(channels, 3 * channels), "proj": nn.Linear(channels, channels)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(channels, 4 * channels), "fc2": nn.Linear(4 * channels, channels)})

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, cells², channels)`` to the same."""
        projected = self.attn["qkv"](self.norm1(x))
        query, key, value = projected.reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        x = x + self.attn["proj"](attended.transpose(1, 2).flatten(2))
        perceived: Tensor = self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return x + perceived


class SimpleNeck(nn.Module):
    """One map to four, of 4, 2, 1 and 1/2 times its size."""

    def __init__(self, channels: int, outputs: Sequence[int]) -> None:
        super().__init__()
        quarter, eighth = max(2 * outputs[0], channels // 2), max(outputs[1], channels // 2)
        thirty_second = max(outputs[3], 2 * channels)
        self.down_4 = nn.Sequential(
            nn.ConvTranspose2d(channels, quarter, 2, stride=2),
            nn.GroupNorm(1, quarter),
            nn.GELU(),
            nn.ConvTranspose2d(quarter, quarter // 2, 2, stride=2),
            nn.GroupNorm(1, quarter // 2),
            *_projection(quarter // 2, outputs[0]),
        )
        self.down_8 = nn.Sequential(
            nn.ConvTranspose2d(channels, eighth, 2, stride=2),
            nn.GroupNorm(1, eighth),
            *_projection(eighth, outputs[1]),
        )
        self.down_16 = nn.Sequential(*_projection(channels, outputs[2]))
        self.down_32 = nn.Sequential(
            nn.Conv2d(channels, thirty_second, 2, stride=2),
            nn.GroupNorm(1, thirty_second),
            *_projection(thirty_second, outputs[3]),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(B, channels, cells, cells)`` to four maps, of 4, 2, 1 and 1/2 times as many cells a side."""
        return [self.down_4(x), self.down_8(x), self.down_16(x), self.down_32(x)]


class JoiningHead(nn.Module):
    """The four maps brought to the finest one's size and joined; logits ``(B, 1, h, w)``."""

    def __init__(self, size: PlainVitSize) -> None:
        super().__init__()
        self._upsampling = size.upsampling
        channels = size.head_channels * size.upsampling
        self.conv_seg = nn.Conv2d(size.head_channels, 1, 1)
        self.convs = nn.ModuleList(nn.ModuleDict({"conv": nn.Conv2d(c, channels, 1)}) for c in size.neck_channels)
        self.fusion_conv = nn.ModuleDict({"conv": nn.Conv2d(4 * channels, channels, 1)})
        self.up_conv1 = _doubling(channels)
        self.up_conv2 = _doubling(channels // 2)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map the four maps, the finest first, to logits ``(B, 1, h, w)``."""
        size = maps[0].shape[-2:]
        parts = []
        for i, each in enumerate(maps):
            part = F.relu(self.get_submodule(f"convs.{i}.conv")(each))
            parts.append(F.interpolate(part, size=size, mode="bilinear", align_corners=False))
        x = F.relu(self.fusion_conv["conv"](torch.cat(parts, dim=1)))
        if self._upsampling > 1:
            x = self.up_conv1(x)
        if self._upsampling > 2:
            x = self.up_conv2(x)
        logits: Tensor = self.conv_seg(x)
        return logits


def _projection(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 1), nn.GroupNorm(1, after), nn.GELU()


def _doubling(channels: int) -> nn.Sequential:
    half = channels // 2
    return nn.Sequential(
        nn.ConvTranspose2d(channels, half, 2, stride=2), nn.GroupNorm(1, half), *_projection(half, half)
    )
