"""From logits over a model's square to masks over the window, with the detail that a refinement head adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.models.base import MaskSet
from qupath_sam.models.frame import ModelFrame, masks_over_window
from qupath_sam.networks.canvas import CANVAS_SIZE
from qupath_sam.networks.refinement_region import RefinementRegion


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """One mask in the refinement head's region.

    Attributes:
        logits: ``(R, R)`` over ``region`` in finer cells, before the rules.
        region: where the head worked.
        change: ``(256, 256)``, what the rules added to the mask's logits over the square; 0 where they left them.
    """

    logits: Tensor
    region: RefinementRegion
    change: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SquareLogits:
    """The answer to one prompt over the model's square.

    Attributes:
        logits: ``(M, 256, 256)``, the best mask first; also the prompt of the next click.
        details: of the first masks, as many as the head refined; empty without a head.
    """

    logits: Tensor
    details: Sequence[Detail] = ()

    def to(self, device: torch.device) -> SquareLogits:
        """Return the same on a device."""
        details = [replace(each, logits=each.logits.to(device), change=each.change.to(device)) for each in self.details]
        return SquareLogits(self.logits.to(device), details)


def mask_set_on_host(answer: SquareLogits, scores: NDArray[np.float32], frame: ModelFrame) -> MaskSet | None:
    """Return what `mask_set` gives, without a device; None where that takes interpolation.

    Args:
        answer: over the model's square, on the host.
        scores: ``(M,)`` predicted IoU, falling.
        frame: where the window lies in the square.
    """
    if not frame.fills_square or frame.window_size != answer.logits.shape[1:]:
        return None
    logits = answer.logits.numpy()
    return MaskSet(masks=logits > 0, scores=np.clip(scores, 0, 1).astype(np.float32), logits=logits)


def mask_set(answer: SquareLogits, scores: Tensor, frame: ModelFrame) -> MaskSet:
    """Return the masks of one prompt over its window.

    Args:
        answer: over the model's square.
        scores: ``(M,)`` predicted IoU, falling.
        frame: where the window lies in the square.
    """
    over_window = frame.logits_over_window(answer.logits)
    masks = masks_over_window(over_window, frame.window_size)
    if max(frame.window_size) > CANVAS_SIZE:
        # The window has more px than the logits: the region's own cells say where the edge is.
        for mask, detail in zip(masks, answer.details, strict=False):
            _put_detail(mask, detail, frame)
    return MaskSet(
        masks=masks.cpu().numpy(),
        scores=scores.clamp(0, 1).float().cpu().numpy(),
        logits=over_window.float().cpu().numpy(),
    )


def _put_detail(mask: Tensor, detail: Detail, frame: ModelFrame) -> None:
    """Put the region's px into ``mask``, bool ``(height, width)``, in place."""
    region = detail.region
    px_x, px_y = (
        frame.input_size / CANVAS_SIZE * window / content
        for window, content in zip(reversed(frame.window_size), reversed(frame.content_size), strict=True)
    )  # window px a canvas px
    height, width = frame.window_size
    x0, x1 = max(0, math.ceil(region.x * px_x)), min(width, math.floor((region.x + region.side) * px_x))
    y0, y1 = max(0, math.ceil(region.y * px_y)), min(height, math.floor((region.y + region.side) * px_y))
    if x1 <= x0 or y1 <= y0:
        return
    x = (torch.arange(x0, x1, device=mask.device, dtype=torch.float32) + 0.5) / px_x  # canvas px
    y = (torch.arange(y0, y1, device=mask.device, dtype=torch.float32) + 0.5) / px_y
    logits = _sampled(detail.logits, 2 * (x - region.x) / region.side - 1, 2 * (y - region.y) / region.side - 1)
    if bool(detail.change.any()):
        logits = logits + _sampled(detail.change, 2 * x / CANVAS_SIZE - 1, 2 * y / CANVAS_SIZE - 1)
    mask[y0:y1, x0:x1] = logits > 0


def _sampled(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample ``(R, R)`` at columns ``x`` and rows ``y``, in `torch.nn.functional.grid_sample`'s frame."""
    shape = 1, len(y), len(x)
    grid = torch.stack([x[None, None, :].expand(shape), y[None, :, None].expand(shape)], dim=-1)
    sampled = F.grid_sample(
        values[None, None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, 0]
