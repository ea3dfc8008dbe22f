"""A light U-Net that corrects the mask decoder's answer in a region round the object, at the region's own resolution.

SAM's decoder sees the image as 64 x 64 cells and answers each click afresh: "a local modification affects a large area"
(Kim et al. 2023, sec. 2.3). The head sees the pixels, where the clicks are, and the mask so far, and decides cell by
cell how much of the decoder's new answer to take. The ideas are dense click maps (RITM, Sofiiuk et al. 2022), refining
a crop round the object (FocalClick, Chen et al. 2022, sec. 3.2) and late fusion on SAM's embedding.

With ``previous`` the logits so far (the decoder's own at the first prompt) and everything cut to a `RefinementRegion`::

    refined = previous + sigmoid(gate) * (decoder - previous) + residual

Outside the region the mask so far stays. Gate and residual start at zero: the mean of the old and the new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from qupath_sam.networks.canvas import CanvasClick, CanvasPrompts, reach_of
from qupath_sam.networks.mask_decoder import FEATURE_CHANNELS, Decoded
from qupath_sam.networks.refinement_region import (
    REGION_CELLS,
    RefinementRegion,
    choose_region,
    cut,
    cut_image,
    paste,
    sampling_grid,
)

#: Logits that go from click to click are clamped to plus and minus this.
LOGIT_LIMIT = 10.0
#: Channels of the image embedding that the head takes in.
EMBEDDING_PLANES = 32

_FEATURE_PLANES = 16
#: RGB, decoder, previous logits and mask, and seven maps of what was prompted: see `_planes`.
_PLANES = 13
_NEWEST_CLICK = 8
_WIDTHS = (32, 64, 96, 128)
_CLICK_SIGMA = 2.5


class RefinementHead(nn.Module):
    """Planes, decoder features and image embedding over the regions to gate and residual."""

    def __init__(self) -> None:
        super().__init__()
        full, half, quarter, eighth = _WIDTHS
        self.emb_proj = nn.Conv2d(256, EMBEDDING_PLANES, 1)
        self.up_proj = nn.Conv2d(FEATURE_CHANNELS, _FEATURE_PLANES, 1)
        self.in0, self.enc0 = _conv(_PLANES + _FEATURE_PLANES, full), _conv(full, full)
        self.down1 = _conv(full, half, stride=2)
        self.in1, self.enc1 = _conv(half + EMBEDDING_PLANES, half), _conv(half, half)
        self.down2 = _conv(half, quarter, stride=2)
        self.enc2 = nn.Sequential(_conv(quarter, quarter), _conv(quarter, quarter))
        self.down3 = _conv(quarter, eighth, stride=2)
        self.enc3 = nn.Sequential(_conv(eighth, eighth), _conv(eighth, eighth))
        self.lat2, self.dec2 = nn.Conv2d(eighth, quarter, 1), _conv(quarter, quarter)
        self.lat1, self.dec1 = nn.Conv2d(quarter, half, 1), _conv(half, half)
        self.lat0, self.dec0 = nn.Conv2d(half, full, 1), _conv(full, full)
        self.out = nn.Conv2d(full, 2, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        if self.out.bias is not None:
            nn.init.zeros_(self.out.bias)

    def project(self, embedding: Tensor) -> Tensor:
        """Map the image embedding ``(B, 256, 64, 64)`` to the `EMBEDDING_PLANES` that the head needs; once an image."""
        projected: Tensor = self.emb_proj(embedding.to(self.dtype))
        return projected

    @property
    def dtype(self) -> torch.dtype:
        """Number format that the head computes in."""
        return self.out.weight.dtype

    def forward(self, planes: Tensor, features: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Gate and residual, each fp32 ``(B, 1, R, R)`` with R = `REGION_CELLS`.

        Args:
            planes: ``(B, 13, R, R)``.
            features: the decoder's, ``(B, 32, R, R)``.
            embedding: `project`'s, ``(B, 32, R / 2, R / 2)``.
        """
        planes, features, embedding = (each.to(self.dtype) for each in (planes, features, embedding))
        e0 = self.enc0(self.in0(torch.cat([planes, self.up_proj(features)], 1)))  # R
        e1 = self.enc1(self.in1(torch.cat([self.down1(e0), embedding], 1)))  # R / 2
        e2 = self.enc2(self.down2(e1))  # R / 4
        x = self.enc3(self.down3(e2))  # R / 8
        x = self.dec2(e2 + _doubled(self.lat2(x)))
        x = self.dec1(e1 + _doubled(self.lat1(x)))
        x = self.dec0(e0 + _doubled(self.lat0(x)))
        gate, residual = self.out(x).float().split(1, dim=1)
        return gate, residual


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """The head's corrections of a decoder's answers.

    Attributes:
        logits: ``(B, 1, 256, 256)`` over the canvas, clamped to `LOGIT_LIMIT`, without gradient: mask and next prompt.
        in_region: ``(B, 1, R, R)``, the same over the regions with gradient: what is trained.
        previous_in_region: ``(B, 1, R, R)``, the logits before.
        near_newest: ``(B, 1, R, R)`` in 0..1, how near each cell is to the newest click.
        regions: B of them.
        grid: `sampling_grid` of the regions.
    """

    logits: Tensor
    in_region: Tensor
    previous_in_region: Tensor
    near_newest: Tensor
    regions: Sequence[RefinementRegion]
    grid: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RegionPlan:
    """Where the head looks for one prompt, and what was asked there.

    Attributes:
        region: the square.
        prompted: fp32 ``(7, R, R)`` maps of the prompt, on the host.
    """

    region: RefinementRegion
    prompted: Tensor


def plan_region(
    prompts: CanvasPrompts,
    mask: NDArray[np.bool_],
    *,
    image_size: int,
    jitter: np.random.Generator | None = None,
) -> RegionPlan:
    """Choose the region of a prompt and draw its maps: work for the host.

    Args:
        prompts: of the object.
        mask: bool ``(256, 256)``: the mask so far, or the decoder's where there is none.
        image_size: side of the image that the head sees of the canvas, px.
        jitter: moves the region, for training.
    """
    region = choose_region(prompts, mask, image_size=image_size, jitter=jitter)
    return RegionPlan(region, _prompted(prompts, mask, region))


def refine(
    head: RefinementHead,
    image: Tensor,
    projected: Tensor,
    decoded: Decoded,
    prompts: Sequence[CanvasPrompts],
    *,
    jitter: np.random.Generator | None = None,
    plans: Sequence[RegionPlan] | None = None,
) -> Refined:
    """Correct the first mask of each of B decoded prompts.

    Args:
        head: the network.
        image: uint8 ``(1 or B, 3, S, S)`` RGB over the canvas, S the encoder's own size: see `cut_image`.
        projected: `RefinementHead.project`'s, ``(1 or B, 32, 64, 64)``.
        decoded: the mask decoder's answer to the same prompts.
        prompts: B of them.
        jitter: moves the regions, for training.
        plans: of `plan_region`, where they are known already.
    """
    device, count = decoded.logits.device, len(prompts)
    decoder = decoded.logits[:, :1].float()
    previous = [p.previous if p.previous is not None else decoder[i, 0].detach() for i, p in enumerate(prompts)]
    so_far = torch.stack([p.to(device) for p in previous])[:, None]
    base = so_far.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    if plans is None:
        masks: NDArray[np.bool_] = (base[:, 0] > 0).cpu().numpy()
        plans = [
            plan_region(p, mask, image_size=image.shape[-1], jitter=jitter)
            for p, mask in zip(prompts, masks, strict=True)
        ]
    regions = [plan.region for plan in plans]
    grid = sampling_grid(regions, device=device)
    decoder_part = cut(decoder, grid).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    previous_part = cut(so_far, grid).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    prompted = torch.stack([plan.prompted for plan in plans]).to(device)
    planes = _planes(cut_image(image, regions) / 255, decoder_part, previous_part, prompted)
    coarse = sampling_grid(regions, cells=REGION_CELLS // 2, device=device)
    gate, residual = head(
        planes.contiguous(memory_format=torch.channels_last),
        cut(decoded.features.float(), grid),
        cut(projected.float().expand(count, -1, -1, -1), coarse),
    )
    change = torch.sigmoid(gate) * (decoder_part - previous_part) + residual
    with torch.no_grad():
        logits = (base + paste(change, regions)).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    near = planes[:, _NEWEST_CLICK : _NEWEST_CLICK + 1].abs()
    return Refined(logits, previous_part + change, previous_part, near, regions, grid)


def _planes(colour: Tensor, decoder: Tensor, previous: Tensor, prompted: Tensor) -> Tensor:
    """Stack all 13 planes over the regions, about -1..1; ``prompted`` from `_prompted`."""
    sides = torch.where(previous > 0, 1.0, -1.0)
    return torch.cat([(colour - 0.5) * 4, torch.tanh(decoder / 4), torch.tanh(previous / 4), sides, prompted], 1)


def _prompted(prompts: CanvasPrompts, mask: NDArray[np.bool_], region: RefinementRegion) -> Tensor:
    """Return seven maps ``(7, R, R)`` of what was asked.

    Positive clicks; negative clicks; the newest, soft, and as a disc as large as its error (both signed); the box; the
    region's scale; whether there was a mask before.
    """
    maps = torch.zeros(7, REGION_CELLS, REGION_CELLS)
    for click in prompts.clicks:
        kind = 0 if click.positive else 1
        maps[kind] = torch.maximum(maps[kind], torch.exp(-_distance2(click, region) / (2 * _CLICK_SIGMA**2)))
    for click in prompts.new_clicks:
        radius = max(reach_of(click, mask) * region.scale, 1.5)
        sign = 1.0 if click.positive else -1.0
        distance2 = _distance2(click, region)
        soft = torch.exp(-distance2 / (2 * (2 * radius) ** 2))
        disc = (distance2 <= radius * radius).float()
        maps[2] = torch.where(soft > maps[2].abs(), sign * soft, maps[2])
        maps[3] = torch.where(disc > 0, sign * disc, maps[3])
    if prompts.box is not None:
        x0, y0, x1, y1 = prompts.box
        columns, rows = _within(x0, x1, region.x, region.scale), _within(y0, y1, region.y, region.scale)
        maps[4] = (columns[None, :] & rows[:, None]).float()
    maps[5] = float(np.log2(region.side / 64))
    maps[6] = float(prompts.previous is not None)
    return maps


def _distance2(click: CanvasClick, region: RefinementRegion) -> Tensor:
    """Return the squared distance of each cell's centre to the click, in cells."""
    at = torch.arange(REGION_CELLS, dtype=torch.float32)
    x, y = ((v + 0.5 - o) * region.scale - 0.5 for v, o in ((click.x, region.x), (click.y, region.y)))
    return ((at - x) ** 2)[None, :] + ((at - y) ** 2)[:, None]


def _within(low: float, high: float, origin: float, scale: float) -> Tensor:
    centres = torch.arange(REGION_CELLS, dtype=torch.float32) + 0.5
    return (centres >= (low - origin) * scale) & (centres <= (high - origin) * scale)


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU(inplace=True)
    )


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
