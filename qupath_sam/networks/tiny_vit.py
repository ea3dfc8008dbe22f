"""TinyViT, the image encoder of MobileSAM and LiteMedSAM, with the parameter names of their original checkpoints.

Sources: TinyViT, Wu et al. 2022 (arXiv 2207.10666, Microsoft, MIT licence); its use in SAM's place with a neck and a
last stage that keeps its resolution, Zhang et al. 2023, MobileSAM (arXiv 2306.14289, Apache-2.0); the variant without
striding in its stem, LiteMedSAM (bowang-lab/MedSAM, Apache-2.0). The text is our own; only the structure is theirs.

Maps are ``(batch, channels, height, width)`` throughout, so that memory in channels-last order costs no copy.
Stochastic depth and dropout are left out: both models were released with a rate of zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qupath_sam.networks.sam_parts import LayerNorm2d

EMBED_DIMS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOW_SIZES = (7, 7, 14, 7)
EXPANSION = 4
OUTPUT_CHANNELS = 256

#: Names and channels of the early maps that `TinyViT.forward_features` gives beside the embedding.
EARLY_MAPS = {"stage0": EMBED_DIMS[0], "stage1": EMBED_DIMS[1]}


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm (children ``c`` and ``bn``), then GELU where ``gelu`` is set."""

    c: nn.Conv2d
    bn: nn.BatchNorm2d

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        gelu: bool = False,
    ) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(outputs))
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        x = self.bn(self.c(x))
        return F.gelu(x) if self.gelu else x


class Stem(nn.Module):
    """RGB to the first map: at a quarter of the size (MobileSAM) or at full size (LiteMedSAM)."""

    def __init__(self, channels: int, *, strided: bool) -> None:
        super().__init__()
        kernel, stride, padding = (3, 2, 1) if strided else (1, 1, 0)
        self.seq = nn.Sequential(
            ConvNorm(3, channels // 2, kernel, stride=stride, padding=padding, gelu=True),
            nn.Identity(),  # keeps the next one's number, which is part of its parameters' names
            ConvNorm(channels // 2, channels, kernel, stride=stride, padding=padding),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map RGB ``(B, 3, H, W)`` to ``(B, channels, H, W)``, or to a quarter of the size."""
        x: Tensor = self.seq(image)
        return x


class InvertedBottleneck(nn.Module):
    """MBConv: widen, filter each channel, narrow; with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels * EXPANSION
        self.conv1 = ConvNorm(channels, hidden, gelu=True)
        self.conv2 = ConvNorm(hidden, hidden, 3, padding=1, groups=hidden, gelu=True)
        self.conv3 = ConvNorm(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to the same."""
        return F.gelu(x + self.conv3(self.conv2(self.conv1(x))))


class PatchMerging(nn.Module):
    """Change of channels between stages, halving the resolution where ``stride`` is 2."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs, gelu=True)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride=stride, padding=1, groups=outputs, gelu=True)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        x = self.conv3(self.conv2(self.conv1(x)))
        return x


class WindowAttention(nn.Module):
    """Attention within windows, with a learned bias for each head and absolute offset (LeViT's).

    ``attention_biases`` is ``(heads, window * window)``; entry ``dy * window + dx`` belongs to that offset.
    """

    frozen_bias: Tensor | None

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        # On the CPU by name: networks are built on the meta device, and no checkpoint would fill this one.
        cells = torch.cartesian_prod(torch.arange(window, device="cpu"), torch.arange(window, device="cpu"))
        offsets = (cells[:, None] - cells[None]).abs()
        self.register_buffer("bias_index", offsets[..., 0] * window + offsets[..., 1], persistent=False)
        self.register_buffer("frozen_bias", None, persistent=False)

    @torch.no_grad()
    def freeze_bias(self) -> None:
        """Spread the biases over all pairs of cells once; they must not change afterwards."""
        self.frozen_bias = self._bias()[None]

    def _bias(self) -> Tensor:
        return self.attention_biases[:, self.get_buffer("bias_index")]

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(windows, cells, channels)`` to the same."""
        windows, cells, channels = tokens.shape
        qkv = self.qkv(self.norm(tokens)).view(windows, cells, self.heads, 3, channels // self.heads)
        query, key, value = qkv.permute(3, 0, 2, 1, 4)
        if self.frozen_bias is None or (tokens.dtype == torch.bfloat16 and tokens.device.type == "cpu"):
            # On CPU in bf16 torch's fused attention takes half as long again for windows as small as these.
            bias = self._bias() if self.frozen_bias is None else self.frozen_bias
            attention = (query @ key.transpose(-2, -1) * self.scale + bias).softmax(dim=-1)
            attended = attention @ value
        else:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=self.frozen_bias)
        projected: Tensor = self.proj(attended.transpose(1, 2).reshape(windows, cells, channels))
        return projected


class FeedForward(nn.Module):
    """Norm and two linear layers; on the last axis."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, channels * EXPANSION)
        self.fc2 = nn.Linear(channels * EXPANSION, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., channels)`` to the same."""
        y: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return y


class TinyViTBlock(nn.Module):
    """Window attention, a 3 x 3 convolution of each channel, and a feed-forward layer."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(channels, heads, window)
        self.local_conv = ConvNorm(channels, channels, 3, padding=1, groups=channels)
        self.mlp = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to the same."""
        x = x + self._attend(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.local_conv(x)
        x = x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x

    def _attend(self, x: Tensor) -> Tensor:
        """Attend in windows over ``(batch, height, width, channels)``, padded with zeros to whole windows."""
        batch, height, width, channels = x.shape
        side = self.window
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.reshape(batch, rows, side, columns, side, channels).transpose(2, 3)
        x = self.attn(x.reshape(-1, side * side, channels))
        x = x.view(batch, rows, columns, side, side, channels).transpose(2, 3)
        return x.reshape(batch, rows * side, columns * side, channels)[:, :height, :width]


class Stage(nn.Module):
    """Blocks of one resolution, then the passage to the next stage (none after the last)."""

    def __init__(self, blocks: list[nn.Module], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map for the next stage, and this stage's own at its own resolution."""
        for block in self.blocks:
            x = block(x)
        return (x, x) if self.downsample is None else (self.downsample(x), x)


class TinyViT(nn.Module):
    """TinyViT-5M with SAM's neck.

    Args:
        strided_stem: True for MobileSAM (1024 px in), False for LiteMedSAM (256 px in). Both work on maps of
            256, 128, 64 and 64 cells a side.
    """

    def __init__(self, *, strided_stem: bool) -> None:
        super().__init__()
        self.patch_embed = Stem(EMBED_DIMS[0], strided=strided_stem)
        self.layers = nn.ModuleList(_stage(i) for i in range(len(DEPTHS)))
        self.neck = nn.Sequential(
            nn.Conv2d(EMBED_DIMS[-1], OUTPUT_CHANNELS, 1, bias=False),
            LayerNorm2d(OUTPUT_CHANNELS),
            nn.Conv2d(OUTPUT_CHANNELS, OUTPUT_CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(OUTPUT_CHANNELS),
        )

    def forward_features(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the embedding and the finer maps made on the way to it.

        Args:
            image: ``(B, 3, S, S)``, normalised as the model wants it.

        Returns:
            The embedding ``(B, 256, 64, 64)``, and by the names of `EARLY_MAPS`: ``stage0`` ``(B, 64, 256, 256)``
            and ``stage1`` ``(B, 128, 128, 128)``.
        """
        early: dict[str, Tensor] = {}
        x = self.patch_embed(image)
        for index, stage in enumerate(self.layers):
            x, own = stage(x)
            if f"stage{index}" in EARLY_MAPS:
                early[f"stage{index}"] = own
        return self.neck(x), early

    def forward(self, image: Tensor) -> Tensor:
        """Return the embedding alone: ``(B, 3, S, S)`` to ``(B, 256, 64, 64)``."""
        return self.forward_features(image)[0]


def _stage(index: int) -> Stage:
    channels = EMBED_DIMS[index]
    blocks: list[nn.Module] = [
        TinyViTBlock(channels, HEADS[index], WINDOW_SIZES[index]) if index else InvertedBottleneck(channels)
        for _ in range(DEPTHS[index])
    ]
    if index == len(DEPTHS) - 1:
        return Stage(blocks, None)
    # MobileSAM's last passage keeps the resolution, so that the embedding has 64 cells a side like SAM's.
    stride = 1 if index == len(DEPTHS) - 2 else 2
    return Stage(blocks, PatchMerging(channels, EMBED_DIMS[index + 1], stride=stride))
