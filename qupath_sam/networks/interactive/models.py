"""The three houses' networks round their backbones: what goes in with the image, and what comes out."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qupath_sam.networks.interactive.clicks import ClickEncoding, PixelClicks, click_maps, normalised
from qupath_sam.networks.interactive.hrnet import HighResolutionAnswer, HighResolutionNet
from qupath_sam.networks.interactive.plain_vit import JoiningHead, PatchEmbedding, PlainVit, PlainVitSize, SimpleNeck
from qupath_sam.networks.interactive.refiner import Refiner
from qupath_sam.networks.interactive.segformer import SegFormer

#: Slope of the leaky ReLU in what clicks go through first.
_SLOPE = 0.2


@dataclass(frozen=True, slots=True)
class ClickInput:
    """The inputs of a network beside the image.

    Attributes:
        encoding: of the clicks.
        previous_mask: whether there is a channel for the mask so far.
        binary_previous_mask: whether that one is 0 or 1 instead of a probability.
        leaky: whether clicks go through a leaky ReLU.
    """

    encoding: ClickEncoding
    previous_mask: bool = True
    binary_previous_mask: bool = False
    leaky: bool = True

    @property
    def channels(self) -> int:
        """Channels of `features`."""
        return 3 if self.previous_mask else 2

    def features(self, previous: Tensor, clicks: Sequence[PixelClicks]) -> Tensor:
        """Return ``(B, channels, H, W)``: the previous mask, then positive and negative clicks.

        Args:
            previous: probabilities ``(B, 1, H, W)`` of the mask so far, 0 where there is none.
            clicks: of each image.
        """
        maps = click_maps(clicks, (previous.shape[-2], previous.shape[-1]), self.encoding)
        if not self.previous_mask:
            return maps
        mask = (previous > 0.5).float() if self.binary_previous_mask else previous
        return torch.cat([mask, maps], dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """A network's answer.

    Attributes:
        logits: ``(B, 1, H, W)`` over the image.
        features: ``(B, C, h, w)`` that they come from, for FocalClick's refiner; None elsewhere.
        first_guess: RITM's auxiliary logits ``(B, 1, h, w)``, which training holds to the truth too; None elsewhere.
    """

    logits: Tensor
    features: Tensor | None = None
    first_guess: Tensor | None = None


class ClickNetwork(nn.Module, abc.ABC):
    """A network that takes image, previous mask and clicks together."""

    @abc.abstractmethod
    def answer(self, image: Tensor, previous: Tensor, clicks: Sequence[PixelClicks]) -> Coarse:
        """Return the mask of B images.

        Args:
            image: RGB ``(B, 3, H, W)`` in 0..1.
            previous: probabilities ``(B, 1, H, W)`` of the mask so far, 0 where there is none.
            clicks: of each image.
        """


class RitmNetwork(ClickNetwork):
    """RITM: HRNet with clicks and mask added after its first convolution (Sofiiuk et al. 2022, arXiv 2102.06583)."""

    def __init__(self, *, width: int, ocr_width: int, small: bool, click_input: ClickInput) -> None:
        super().__init__()
        self.click_input = click_input
        self.maps_transform = _maps_transform(click_input)
        self.feature_extractor = HighResolutionNet(width=width, ocr_width=ocr_width, small=small)

    def answer(self, image: Tensor, previous: Tensor, clicks: Sequence[PixelClicks]) -> Coarse:
        """See `ClickNetwork.answer`."""
        clicked = self.maps_transform(self.click_input.features(previous, clicks))
        found = self.feature_extractor(normalised(image), clicked)
        return Coarse(_resized(found.logits, image), first_guess=found.first_guess)

    @torch.no_grad()
    def weigh_clicks(self, factor: float) -> None:
        """Set the learnt factor on what is made of clicks and previous mask before it joins the image."""
        scale = self.maps_transform[-1]
        assert isinstance(scale, ScaleLayer)
        scale.scale.fill_(factor)


class FocalNetwork(ClickNetwork):
    """FocalClick: a coarse answer, and a refiner for the part that matters (Chen et al. 2022, arXiv 2204.02574).

    Args:
        backbone: HRNet or SegFormer.
        click_input: how clicks are drawn for the coarse answer.
        feature_channels: of the backbone's features.
        halves: pipeline "s1": the backbone sees the image at half its size.
    """

    def __init__(
        self, backbone: HighResolutionNet | SegFormer, *, click_input: ClickInput, feature_channels: int, halves: bool
    ) -> None:
        super().__init__()
        self.click_input = click_input
        self.halves = halves
        is_segformer = isinstance(backbone, SegFormer)
        # SegFormer takes the clicks as they are; its files have this module all the same.
        self.maps_transform = _unused_maps_transform() if is_segformer else _maps_transform(click_input)
        self.feature_extractor = backbone
        self.refiner = Refiner(feature_channels, gated=is_segformer)

    def answer(self, image: Tensor, previous: Tensor, clicks: Sequence[PixelClicks]) -> Coarse:
        """See `ClickNetwork.answer`."""
        seen, clicked = normalised(image), self.click_input.features(previous, clicks)
        if self.halves:
            seen, clicked = (
                F.interpolate(each, scale_factor=0.5, mode="bilinear", align_corners=True) for each in (seen, clicked)
            )
        if not isinstance(self.feature_extractor, SegFormer):
            clicked = self.maps_transform(clicked)
        found = self.feature_extractor(seen, clicked)
        if isinstance(found, HighResolutionAnswer):
            return Coarse(_resized(found.logits, image), found.features)
        logits, features = found
        return Coarse(_resized(logits, image), features)


class SimpleClickNetwork(ClickNetwork):
    """SimpleClick: a plain ViT with clicks and mask embedded as further tokens' values (Liu et al. 2023)."""

    def __init__(self, size: PlainVitSize, *, click_input: ClickInput) -> None:
        super().__init__()
        self.size = size
        self.click_input = click_input
        self.patch_embed_coords = PatchEmbedding(click_input.channels, size)
        self.backbone = PlainVit(size)
        self.neck = SimpleNeck(size.channels, size.neck_channels)
        self.head = JoiningHead(size)

    def answer(self, image: Tensor, previous: Tensor, clicks: Sequence[PixelClicks]) -> Coarse:
        """See `ClickNetwork.answer`; the image is a square of `PlainVitSize.image_size`."""
        clicked = self.patch_embed_coords(self.click_input.features(previous, clicks))
        maps = self.neck(self.backbone(normalised(image), clicked))
        return Coarse(_resized(self.head(maps), image))


class ScaleLayer(nn.Module):
    """A learnt factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 0.05))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the learned scale; the shape stays."""
        return x * self.scale.abs()


def _maps_transform(click_input: ClickInput) -> nn.Sequential:
    """Map clicks and mask to what joins the image after its first convolution: ``(B, 64, H / 2, W / 2)``."""
    activation = nn.LeakyReLU(_SLOPE) if click_input.leaky else nn.ReLU()
    return nn.Sequential(
        nn.Conv2d(click_input.channels, 16, 1), activation, nn.Conv2d(16, 64, 3, stride=2, padding=1), ScaleLayer()
    )


def _unused_maps_transform() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.LeakyReLU(_SLOPE), nn.Conv2d(16, 32, 3, stride=2, padding=1),
        ScaleLayer(),
    )  # fmt: skip


def _resized(logits: Tensor, image: Tensor) -> Tensor:
    return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=True)
