"""HRNet with object-contextual representations: the backbone of RITM, and of FocalClick's larger models.

Sun et al. 2019 (arXiv 1904.04514) and Yuan et al. 2020 (arXiv 1909.11065), as RITM joins them: the clicks' features
are added after the first convolution. Branches of 4, 8, 16 and 32 px run side by side and exchange what they know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Channels after the stem, and what a bottleneck multiplies them by.
_STEM_CHANNELS, _EXPANSION = 64, 4


@dataclass(frozen=True, slots=True, eq=False)
class HighResolutionAnswer:
    """What the network makes of B images; h and w are a quarter of the image's height and width, rounded up.

    Attributes:
        logits: ``(B, 1, h, w)``.
        features: ``(B, 2 * ocr_width, h, w)`` that they come from.
        first_guess: logits ``(B, 1, h, w)`` that name the object region to the context; training holds them to the
            truth too.
    """

    logits: Tensor
    features: Tensor
    first_guess: Tensor


class HighResolutionNet(nn.Module):
    """The network up to one channel of logits at a quarter of the image's size.

    Args:
        width: channels of the finest branch; each coarser one has twice as many.
        ocr_width: channels of the keys of the context's attention; features have twice as many.
        small: two blocks a branch instead of four, and fewer modules.
    """

    def __init__(self, *, width: int, ocr_width: int, small: bool) -> None:
        super().__init__()
        blocks = 2 if small else 4
        self.conv1 = _conv3(3, _STEM_CHANNELS, stride=2)
        self.bn1 = nn.BatchNorm2d(_STEM_CHANNELS)
        self.conv2 = _conv3(_STEM_CHANNELS, _STEM_CHANNELS, stride=2)
        self.bn2 = nn.BatchNorm2d(_STEM_CHANNELS)
        wide = _STEM_CHANNELS * _EXPANSION
        self.layer1 = nn.Sequential(
            Bottleneck(_STEM_CHANNELS, _STEM_CHANNELS),
            *(Bottleneck(wide, _STEM_CHANNELS) for _ in range(blocks - 1)),
        )
        channels = [width * 2**k for k in range(4)]
        self.transition1 = _transition([wide], channels[:2])
        self.stage2 = _stage(channels[:2], modules=1, blocks=blocks)
        self.transition2 = _transition(channels[:2], channels[:3])
        self.stage3 = _stage(channels[:3], modules=3 if small else 4, blocks=blocks)
        self.transition3 = _transition(channels[:3], channels)
        self.stage4 = _stage(channels, modules=2 if small else 3, blocks=blocks)
        joined, features = sum(channels), 2 * ocr_width
        self.conv3x3_ocr = nn.Sequential(nn.Conv2d(joined, features, 3, padding=1), nn.BatchNorm2d(features), nn.ReLU())
        self.ocr_distri_head = ContextHead(features, ocr_width)
        self.cls_head = nn.Conv2d(features, 1, 1)
        self.aux_head = nn.Sequential(
            nn.Conv2d(joined, joined, 1), nn.BatchNorm2d(joined), nn.ReLU(), nn.Conv2d(joined, 1, 1)
        )

    def forward(self, image: Tensor, clicked: Tensor) -> HighResolutionAnswer:
        """Return logits and features.

        Args:
            image: normalised RGB ``(B, 3, H, W)``.
            clicked: features of clicks and previous mask, ``(B, 64, H / 2, W / 2)`` rounded up.
        """
        x = F.relu(self.bn1(self.conv1(image))) + clicked
        x = self.layer1(F.relu(self.bn2(self.conv2(x))))
        branches: list[Tensor] = self.stage2(_entered(self.transition1, [x]))
        branches = self.stage3(_entered(self.transition2, branches))
        branches = self.stage4(_entered(self.transition3, branches))
        finest = branches[0].shape[-2], branches[0].shape[-1]
        joined = torch.cat([branches[0], *(_resized(branch, finest) for branch in branches[1:])], dim=1)
        first_guess: Tensor = self.aux_head(joined)
        features = self.conv3x3_ocr(joined)
        features = self.ocr_distri_head(features, _gathered(features, first_guess))
        return HighResolutionAnswer(self.cls_head(features), features, first_guess)


class BasicBlock(nn.Module):
    """Two convolutions round a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3(channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to the same."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + x)


class Bottleneck(nn.Module):
    """Narrow, convolve, widen, round a shortcut; the answer has four times ``middle`` channels."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        wide = middle * _EXPANSION
        self.conv1 = nn.Conv2d(channels, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = _conv3(middle, middle)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample = (
            None if channels == wide else nn.Sequential(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, 4 middle, H, W)``."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class FusionModule(nn.Module):
    """Blocks in each branch, then every branch gets the sum of all, brought to its own size."""

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c) for _ in range(blocks))) for c in channels)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_bridge(channels, source, target) for source in range(len(channels)))
            for target in range(len(channels))
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Map the branches' maps, the finest first, to as many of the same shapes."""
        own = [branch(x) for branch, x in zip(self.branches, branches, strict=True)]
        fused = []
        for target, bridges in enumerate(self.fuse_layers):
            size = own[target].shape[-2], own[target].shape[-1]
            parts = [bridge(x) for bridge, x in zip(cast("nn.ModuleList", bridges), own, strict=True)]
            total = parts[0] if target == 0 else _resized(parts[0], size)
            for source in range(1, len(parts)):
                total = total + (_resized(parts[source], size) if source > target else parts[source])
            fused.append(F.relu(total))
        return fused


class ContextHead(nn.Module):
    """Features with what they have in common with the object as a whole (OCR)."""

    def __init__(self, channels: int, keys: int) -> None:
        super().__init__()
        self.object_context_block = ObjectAttention(channels, keys)
        self.conv_bn_dropout = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1, bias=False), nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        )

    def forward(self, features: Tensor, objects: Tensor) -> Tensor:
        """Map features ``(B, C, H, W)`` and objects ``(B, C, K, 1)`` to ``(B, C, H, W)``."""
        context = self.object_context_block(features, objects)
        joined: Tensor = self.conv_bn_dropout(torch.cat([context, features], dim=1))
        return joined


class ObjectAttention(nn.Module):
    """Each pixel asks the object regions: queries ``(B, C, H, W)``, keys and values ``(B, C, K, 1)``."""

    def __init__(self, channels: int, keys: int) -> None:
        super().__init__()
        self.keys = keys
        self.f_pixel = nn.Sequential(*_pointwise(channels, keys), *_pointwise(keys, keys))
        self.f_object = nn.Sequential(*_pointwise(channels, keys), *_pointwise(keys, keys))
        self.f_down = nn.Sequential(*_pointwise(channels, keys))
        self.f_up = nn.Sequential(*_pointwise(keys, channels))

    def forward(self, features: Tensor, objects: Tensor) -> Tensor:
        """Map features ``(B, C, H, W)`` and objects ``(B, C, K, 1)`` to what each pixel has of the objects."""
        query = self.f_pixel(features).flatten(2).transpose(1, 2)
        key, value = self.f_object(objects).flatten(2), self.f_down(objects).flatten(2).transpose(1, 2)
        weights = torch.softmax(query @ key * self.keys**-0.5, dim=-1)
        context = (weights @ value).transpose(1, 2).reshape(len(features), self.keys, *features.shape[-2:])
        up: Tensor = self.f_up(context)
        return up


def _gathered(features: Tensor, first_guess: Tensor) -> Tensor:
    """Return the mean of features over each region, weighted by a softmax over places: ``(B, C, K, 1)``."""
    weights = torch.softmax(first_guess.flatten(2), dim=2)
    return (weights @ features.flatten(2).transpose(1, 2)).transpose(1, 2)[..., None]


def _conv3(before: int, after: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)


def _pointwise(before: int, after: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(before, after, 1, bias=False), nn.Sequential(nn.BatchNorm2d(after), nn.ReLU())


def _stage(channels: Sequence[int], *, modules: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(FusionModule(channels, blocks) for _ in range(modules)))


def _bridge(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """Connect two branches: one convolution to a finer branch, one for each halving to a coarser branch."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            nn.Conv2d(channels[source], channels[target], 1, bias=False), nn.BatchNorm2d(channels[target])
        )
    steps: list[nn.Module] = []
    for step in range(source, target):
        last = step == target - 1
        after = channels[target] if last else channels[source]
        halving = [_conv3(channels[source], after, stride=2), nn.BatchNorm2d(after)]
        steps.append(nn.Sequential(*halving) if last else nn.Sequential(*halving, nn.ReLU()))
    return nn.Sequential(*steps)


def _transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """Return the layers through which branches enter the next stage; the last one begins a coarser branch."""
    entries: list[nn.Module] = []
    for index, channels in enumerate(after):
        if index >= len(before):
            halving = nn.Sequential(_conv3(before[-1], channels, stride=2), nn.BatchNorm2d(channels), nn.ReLU())
            entries.append(nn.Sequential(halving))
        elif channels == before[index]:
            entries.append(nn.Identity())
        else:
            entries.append(nn.Sequential(_conv3(before[index], channels), nn.BatchNorm2d(channels), nn.ReLU()))
    return nn.ModuleList(entries)


def _entered(transition: nn.ModuleList, branches: Sequence[Tensor]) -> list[Tensor]:
    return [entry(branches[min(index, len(branches) - 1)]) for index, entry in enumerate(transition)]


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
