"""The square part of the canvas that the refinement head looks at, so that large and small objects look alike to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasPrompts

#: Cells a side that the head works on.
REGION_CELLS = 128
#: The region's side over the longer side of what it must hold.
_MARGIN = 1.5
#: The smallest region: so many px of the image that the head sees, and of the canvas.
_SMALLEST_IMAGE_SIDE, _SMALLEST_SIDE = 48.0, 32.0
#: Canvas px round a first click that fell outside the first mask.
_ROUND_LOST_CLICK = 24.0


@dataclass(frozen=True, slots=True)
class RefinementRegion:
    """A square in canvas px, on pixel edges."""

    x: float
    y: float
    side: float

    @property
    def scale(self) -> float:
        """Cells a canvas px."""
        return REGION_CELLS / self.side


def choose_region(
    prompts: CanvasPrompts,
    mask: NDArray[np.bool_],
    *,
    image_size: int = CANVAS_SIZE,
    jitter: np.random.Generator | None = None,
) -> RefinementRegion:
    """Choose the region round the mask so far, the positive clicks, the newest clicks and a first box.

    Args:
        prompts: of the object.
        mask: bool ``(CANVAS_SIZE, CANVAS_SIZE)``: the mask so far, or the decoder's first.
        image_size: side of the image that the head sees of the canvas, px.
        jitter: moves and scales the region at random, for training.
    """
    bounds = _bounds(prompts, mask)
    if not len(bounds):
        return RefinementRegion(0.0, 0.0, float(CANVAS_SIZE))
    (x0, y0), (x1, y1) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    grow = _MARGIN if jitter is None else jitter.uniform(1.3, 1.9)
    smallest = max(_SMALLEST_SIDE, _SMALLEST_IMAGE_SIDE * CANVAS_SIZE / image_size)
    side = float(np.clip(max(x1 - x0, y1 - y0) * grow, smallest, CANVAS_SIZE))
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    if jitter is not None:
        centre += jitter.normal(0, 0.03 * side, 2)
    x, y = np.clip(centre - side / 2, 0, CANVAS_SIZE - side)
    return RefinementRegion(float(x), float(y), side)


def sampling_grid(regions: Sequence[RefinementRegion], *, cells: int = REGION_CELLS, device: torch.device) -> Tensor:
    """Return ``(B, cells, cells, 2)``: where `torch.nn.functional.grid_sample` finds the regions' cell centres."""
    place = torch.tensor([[r.x, r.y, r.side] for r in regions], device=device)[:, :, None]
    steps = (torch.arange(cells, device=device, dtype=torch.float32) + 0.5) / cells
    x, y = (2 * (place[:, i] + steps * place[:, 2]) / CANVAS_SIZE - 1 for i in (0, 1))
    shape = len(regions), cells, cells
    return torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=-1)


def cut(canvas: Tensor, grid: Tensor) -> Tensor:
    """Map ``(B, C, S, S)`` over the canvas to ``(B, C, cells, cells)`` over the regions, bilinearly."""
    return F.grid_sample(canvas, grid, mode="bilinear", padding_mode="border", align_corners=False)


def cut_image(image: Tensor, regions: Sequence[RefinementRegion]) -> Tensor:
    """Cut the image's own pixels over the regions, not the canvas's: fp32 ``(B, 3, REGION_CELLS, REGION_CELLS)``.

    Where a cell spans more than two px, these are averaged first, so that no pixel is skipped.

    Args:
        image: uint8 or float ``(1 or B, 3, S, S)`` over the canvas, S at least `CANVAS_SIZE`.
        regions: B of them.
    """
    size = image.shape[-1]
    px = size / CANVAS_SIZE
    parts = []
    for index, region in enumerate(regions):
        own = image[index if len(image) > 1 else 0][None]
        pooled = 2 ** max(0, math.ceil(math.log2(region.side * px / REGION_CELLS) - 1e-9) - 1)
        # The cells of the pooled image that the region touches, and one more on each side for the interpolation.
        first_x, first_y = (max(0, math.floor(at * px / pooled) - 1) for at in (region.x, region.y))
        last_x, last_y = (
            min(size // pooled, math.ceil((at + region.side) * px / pooled) + 1) for at in (region.x, region.y)
        )
        some = own[..., first_y * pooled : last_y * pooled, first_x * pooled : last_x * pooled].float()
        if pooled > 1:
            some = F.avg_pool2d(some, pooled)
        steps = (torch.arange(REGION_CELLS, device=some.device, dtype=torch.float32) + 0.5) / REGION_CELLS * region.side
        x = 2 * ((region.x + steps) * px / pooled - first_x) / (last_x - first_x) - 1
        y = 2 * ((region.y + steps) * px / pooled - first_y) / (last_y - first_y) - 1
        shape = 1, REGION_CELLS, REGION_CELLS
        grid = torch.stack([x[None, None, :].expand(shape), y[None, :, None].expand(shape)], dim=-1)
        parts.append(F.grid_sample(some, grid, mode="bilinear", padding_mode="border", align_corners=False))
    return torch.cat(parts)


def paste(part: Tensor, regions: Sequence[RefinementRegion]) -> Tensor:
    """Invert `cut`: ``(B, C, cells, cells)`` to ``(B, C, 256, 256)`` over the canvas, zero outside of the regions."""
    place = torch.tensor([[r.x, r.y, r.side] for r in regions], device=part.device)[:, :, None]
    at = torch.arange(CANVAS_SIZE, device=part.device, dtype=torch.float32) + 0.5
    x, y = (2 * (at - place[:, i]) / place[:, 2] - 1 for i in (0, 1))
    shape = len(regions), CANVAS_SIZE, CANVAS_SIZE
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=-1)
    inside = ((x.abs() <= 1)[:, None, :] & (y.abs() <= 1)[:, :, None]).to(part)
    return F.grid_sample(part, grid, mode="bilinear", padding_mode="border", align_corners=False) * inside[:, None]


def _bounds(prompts: CanvasPrompts, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return ``(N, 4)`` bounds that the region must hold."""
    bounds: list[tuple[float, float, float, float]] = []
    kept = [c for c in prompts.clicks if c.positive] + list(prompts.new_clicks)
    points = [(c.x, c.y) for c in kept or prompts.clicks]
    if prompts.previous is None and prompts.box is None and points:
        # A first mask may hold all that looks alike: the component under the click is meant.
        components, _ = ndimage.label(mask)
        under = [components[c.pixel] for c in (kept or prompts.clicks)]
        mask = np.isin(components, [label for label in under if label])
        if not mask.any():
            far = _ROUND_LOST_CLICK
            points += [(x + shift, y + shift) for x, y in points for shift in (-far, far)]
    if mask.any():
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        bounds.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    if prompts.box is not None and prompts.previous is None:
        bounds.append(prompts.box)
    bounds += [(x - 4, y - 4, x + 5, y + 5) for x, y in points]
    return np.array(bounds, dtype=np.float64).reshape(-1, 4)
