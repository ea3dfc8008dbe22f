"""SegFormer (Xie et al. 2021, arXiv 2105.15203) as FocalClick uses it: clicks join after the first stage.

Written from the paper; the keys are those of FocalClick's checkpoints.
"""

from __future__ import annotations

import enum

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Channels of a head, and by how many px keys and values are pooled, in each of the four stages.
_HEADS, _POOLING = (1, 2, 5, 8), (8, 4, 2, 1)
#: Channels of the clicks' map: previous mask, positive and negative clicks.
_CLICK_CHANNELS = 3


class SegFormerSize(enum.Enum):
    """Channels and blocks of the four stages, and channels of the decoder."""

    B0 = ((32, 64, 160, 256), (2, 2, 2, 2), 256)
    B3 = ((64, 128, 320, 512), (3, 4, 18, 3), 512)

    @property
    def decoder_channels(self) -> int:
        """Channels of the features that the logits come from."""
        return self.value[2]


class SegFormer(nn.Module):
    """Encoder and decoder."""

    def __init__(self, size: SegFormerSize) -> None:
        super().__init__()
        channels, depths, decoder_channels = size.value
        self.backbone = MixTransformer(channels, depths)
        self.decode_head = AllMlpHead(channels, decoder_channels)

    def forward(self, image: Tensor, clicked: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, 1, h, w)`` and features ``(B, decoder_channels, h, w)``, a quarter of the image's size.

        Args:
            image: normalised RGB ``(B, 3, H, W)``.
            clicked: ``(B, 3, H, W)``: previous mask, positive and negative clicks.
        """
        logits, features = self.decode_head(self.backbone(image, clicked))
        return logits, features


class MixTransformer(nn.Module):
    """Four stages of 4, 8, 16 and 32 px."""

    def __init__(self, channels: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        before = (3, *channels[:-1])
        for i in range(4):
            patches = OverlapPatches(before[i], channels[i], size=7 if i == 0 else 3, stride=4 if i == 0 else 2)
            blocks = nn.ModuleList(MixBlock(channels[i], _HEADS[i], _POOLING[i]) for _ in range(depths[i]))
            self.add_module(f"patch_embed{i + 1}", patches)
            self.add_module(f"block{i + 1}", blocks)
            self.add_module(f"norm{i + 1}", nn.LayerNorm(channels[i], eps=1e-6))
        self.patch_embed_side1 = OverlapPatches(_CLICK_CHANNELS, channels[0], size=7, stride=4)

    def forward(self, image: Tensor, clicked: Tensor) -> list[Tensor]:
        """Map an image ``(B, 3, H, W)`` and embedded clicks to four maps, at 1/4, 1/8, 1/16 and 1/32 of its size."""
        maps = []
        x = image
        for i in range(1, 5):
            tokens, size = self.get_submodule(f"patch_embed{i}")(x)
            for block in self.get_submodule(f"block{i}").children():
                tokens = block(tokens, size)
            x = _as_map(self.get_submodule(f"norm{i}")(tokens), size)
            maps.append(x)
            if i == 1:
                # What goes on knows of the clicks; what the decoder gets of this stage does not.
                x = x + _as_map(*self.patch_embed_side1(clicked))
        return maps


class OverlapPatches(nn.Module):
    """A map to tokens ``(B, N, C)`` of patches that overlap, and their rows and columns."""

    def __init__(self, before: int, after: int, *, size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(before, after, size, stride=stride, padding=size // 2)
        self.norm = nn.LayerNorm(after)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Map ``(B, before, H, W)`` to tokens ``(B, N, after)``, and to their rows and columns."""
        patches = self.proj(x)
        height, width = patches.shape[-2:]
        return self.norm(patches.flatten(2).transpose(1, 2)), (height, width)


class MixBlock(nn.Module):
    """Attention to pooled tokens, then a perceptron that sees its neighbours."""

    def __init__(self, channels: int, heads: int, pooling: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = PooledAttention(channels, heads, pooling)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MixPerceptron(channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Map tokens ``(B, N, channels)`` of ``size`` (rows, columns) to the same."""
        tokens = tokens + self.attn(self.norm1(tokens), size)
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens), size)
        return mixed


class PooledAttention(nn.Module):
    """Attention whose keys and values come from a map that a convolution makes smaller."""

    def __init__(self, channels: int, heads: int, pooling: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        self.pools = pooling > 1
        if self.pools:
            self.sr = nn.Conv2d(channels, channels, pooling, stride=pooling)
            self.norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Map tokens ``(B, N, channels)`` of ``size`` (rows, columns) to the same."""
        seen = tokens
        if self.pools:
            x = _as_map(tokens, size)
            # A map smaller than one cell is pooled whole; the authors only know larger ones.
            short = [max(0, side - have) for side, have in zip(self.sr.kernel_size, size, strict=True)]
            x = F.pad(x, (0, short[1], 0, short[0]))
            seen = self.norm(self.sr(x).flatten(2).transpose(1, 2))
        key, value = self.kv(seen).chunk(2, dim=-1)
        attended = F.scaled_dot_product_attention(self._split(self.q(tokens)), self._split(key), self._split(value))
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


class MixPerceptron(nn.Module):
    """A perceptron with a depthwise 3 x 3 convolution in the middle, which tells where a token is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.dwconv = nn.Module()
        self.dwconv.dwconv = nn.Conv2d(4 * channels, 4 * channels, 3, padding=1, groups=4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Map tokens ``(B, N, channels)`` of ``size`` (rows, columns) to the same."""
        x = self.dwconv.get_submodule("dwconv")(_as_map(self.fc1(tokens), size))
        mixed: Tensor = self.fc2(F.gelu(x.flatten(2).transpose(1, 2)))
        return mixed


class AllMlpHead(nn.Module):
    """A linear layer for each stage, upsampling to the first stage's size, and one linear layer that joins them."""

    def __init__(self, channels: tuple[int, ...], decoder_channels: int) -> None:
        super().__init__()
        for i, before in enumerate(channels, start=1):
            linear = nn.Module()
            linear.proj = nn.Linear(before, decoder_channels)
            self.add_module(f"linear_c{i}", linear)
        self.linear_fuse = nn.Module()
        self.linear_fuse.conv = nn.Conv2d(4 * decoder_channels, decoder_channels, 1, bias=False)
        self.linear_fuse.bn = nn.BatchNorm2d(decoder_channels)
        self.linear_pred = nn.Conv2d(decoder_channels, 1, 1)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Map the four stages' maps to logits ``(B, 1, h, w)`` and the features that they are made of."""
        size = maps[0].shape[-2:]
        parts = []
        for i, each in enumerate(maps, start=1):
            tokens = self.get_submodule(f"linear_c{i}.proj")(each.flatten(2).transpose(1, 2))
            part = _as_map(tokens, (each.shape[-2], each.shape[-1]))
            parts.append(part if i == 1 else F.interpolate(part, size=size, mode="bilinear", align_corners=False))
        x = self.get_submodule("linear_fuse.conv")(torch.cat(parts[::-1], dim=1))
        features = F.relu(self.get_submodule("linear_fuse.bn")(x))
        return self.linear_pred(features), features


def _as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Map ``(B, N, C)`` to ``(B, C, rows, columns)``."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *size)
