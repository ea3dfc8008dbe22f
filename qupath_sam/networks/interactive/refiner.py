"""FocalClick's refiner: the part of the image that matters, seen at its own resolution (Chen et al. 2022, sec. 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qupath_sam.networks.interactive.clicks import ClickEncoding, PixelClicks, click_maps

#: RGB, two maps of clicks and the coarse mask.
_INPUT_CHANNELS, _CHANNELS = 6, 32
_ENCODING = ClickEncoding(radius=5)


class Refiner(nn.Module):
    """Corrects the coarse logits near the edge, which it finds itself (``trimap``).

    Args:
        feature_channels: of the features of the coarse answer.
        gated: whether the file has a gate, which the authors no longer use.
    """

    def __init__(self, feature_channels: int, *, gated: bool) -> None:
        super().__init__()
        self.image_conv1 = ConvNormRelu(_INPUT_CHANNELS, kernel=3, stride=2)
        self.image_conv2 = SeparableConv()
        self.image_conv3 = SeparableConv()
        self.refine_fusion = ConvNormRelu(feature_channels, kernel=1, stride=1)
        self.refine_fusion2 = SeparableConv()
        self.refine_fusion3 = SeparableConv()
        if gated:
            self.feature_gate = nn.Sequential(nn.Conv2d(_CHANNELS, 1, 1), nn.Sigmoid())
        self.refine_pred = nn.Conv2d(_CHANNELS, 1, 3, padding=1)
        self.refine_trimap = nn.Conv2d(_CHANNELS, 1, 3, padding=1)

    def refine(
        self,
        image: Tensor,
        clicks: PixelClicks,
        *,
        features: Tensor,
        logits: Tensor,
        box: tuple[float, float, float, float],
    ) -> Tensor:
        """Return logits ``(1, 1, S, S)`` over a part of the image.

        Args:
            image: RGB ``(1, 3, S, S)`` in 0..1 of the part, not normalised: the authors do not either.
            clicks: in the part's px.
            features: ``(1, C, h, w)`` of the coarse answer.
            logits: ``(1, 1, S, S)`` of the coarse answer.
            box: of the part in the coarse answer's px: left, top, right, bottom.
        """
        from torchvision.ops import roi_align  # here, because it takes seconds to import

        side = image.shape[-1]
        boxes = torch.tensor([[0.0, *box]], device=image.device)
        near = roi_align(features, boxes, features.shape[-2:], features.shape[-1] / side, aligned=True)
        coarse = roi_align(logits, boxes, (side, side), 1.0, aligned=True)
        seen = torch.cat([image, click_maps([clicks], (side, side), _ENCODING), torch.sigmoid(coarse)], dim=1)
        x = self.image_conv3(self.image_conv2(self.image_conv1(seen)))
        x = x + _resized(self.refine_fusion(near), (x.shape[-2], x.shape[-1]))
        x = self.refine_fusion3(self.refine_fusion2(x))
        at_edge = torch.sigmoid(_resized(self.refine_trimap(x), (side, side)))
        refined: Tensor = _resized(self.refine_pred(x), (side, side)) * at_edge + coarse * (1 - at_edge)
        return refined


class ConvNormRelu(nn.Module):
    """A convolution with its norm and ReLU."""

    def __init__(self, before: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, _CHANNELS, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, before, H, W)`` to as many channels as all layers here have."""
        return F.relu(self.norm(self.conv(x)))


class SeparableConv(nn.Module):
    """A depthwise convolution, one across channels, norm and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3x3 = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, groups=_CHANNELS)
        self.conv1x1 = nn.Conv2d(_CHANNELS, _CHANNELS, 1)
        self.norm = nn.BatchNorm2d(_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same."""
        return F.relu(self.norm(self.conv1x1(self.conv3x3(x))))


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
