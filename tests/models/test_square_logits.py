"""A mask over the window takes its edge from the head's region, which has finer cells than the logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qupath_sam.models.frame import ModelFrame
from qupath_sam.models.square_logits import Detail, SquareLogits, mask_set
from qupath_sam.networks.canvas import CANVAS_SIZE
from qupath_sam.networks.refinement_region import REGION_CELLS, RefinementRegion, cut, cut_image, sampling_grid

REGION = RefinementRegion(100.0, 60.0, 40.0)


def disc(x: float, y: float, radius: float, *, origin: tuple[float, float], px: float, size: int) -> torch.Tensor:
    """Logits of a disc in canvas px on a grid of ``size`` cells of ``px`` canvas px each."""
    at = (torch.arange(size) + 0.5) * px
    distance = torch.hypot(at[None, :] + origin[0] - x, at[:, None] + origin[1] - y)
    return radius - distance


@pytest.mark.parametrize("window", [(1024, 1024), (700, 1000), (512, 512)], ids=str)
def test_the_edge_is_as_fine_as_the_region(window: tuple[int, int]) -> None:
    frame = ModelFrame.padded(window, 1024)
    coarse = torch.where(disc(120, 80, 9, origin=(0, 0), px=1, size=CANVAS_SIZE) > 0, 4.0, -4.0)
    detail = disc(120, 80, 8.6, origin=(REGION.x, REGION.y), px=REGION.side / REGION_CELLS, size=REGION_CELLS)
    answer = SquareLogits(coarse[None], [Detail(detail, REGION, torch.zeros(CANVAS_SIZE, CANVAS_SIZE))])
    mask = mask_set(answer, torch.tensor([0.9]), frame).masks[0]
    assert mask.shape == window
    px = 4 * max(window) / 1024  # window px a canvas px
    at_x, at_y = ((np.arange(side) + 0.5) / px for side in reversed(window))
    truth = np.hypot(at_x[None, :] - 120, at_y[:, None] - 80) < 8.6
    assert np.count_nonzero(mask != truth) <= 0.01 * np.count_nonzero(truth)


def test_what_a_rule_changed_holds_in_the_region_too() -> None:
    frame = ModelFrame.padded((1024, 1024), 1024)
    detail = torch.full((REGION_CELLS, REGION_CELLS), 3.0)
    change = torch.zeros(CANVAS_SIZE, CANVAS_SIZE)
    change[70:75, 110:115] = -5
    answer = SquareLogits(torch.full((1, CANVAS_SIZE, CANVAS_SIZE), -4.0), [Detail(detail, REGION, change)])
    mask = mask_set(answer, torch.tensor([0.9]), frame).masks[0]
    assert mask[240:400, 400:560].sum() == mask.sum()  # the region alone
    assert not mask[288:292, 448:452].any()
    assert mask[340:390, 500:550].all()


def test_a_window_no_finer_than_the_logits_needs_no_detail() -> None:
    frame = ModelFrame.stretched((256, 256), 256)
    coarse = disc(120, 80, 9, origin=(0, 0), px=1, size=CANVAS_SIZE)
    detail = torch.full((REGION_CELLS, REGION_CELLS), 3.0)
    answer = SquareLogits(coarse[None], [Detail(detail, REGION, torch.zeros(CANVAS_SIZE, CANVAS_SIZE))])
    np.testing.assert_array_equal(mask_set(answer, torch.tensor([0.9]), frame).masks[0], (coarse > 0).numpy())


@pytest.mark.parametrize("region", [REGION, RefinementRegion(0, 0, 256), RefinementRegion(203.3, 17.2, 52.7)], ids=str)
def test_an_image_as_large_as_the_view_is_cut_as_the_logits_are(region: RefinementRegion) -> None:
    image = torch.rand(1, 3, CANVAS_SIZE, CANVAS_SIZE, generator=torch.Generator().manual_seed(1))
    grid = sampling_grid([region], device=torch.device("cpu"))
    torch.testing.assert_close(cut_image(image, [region]), cut(image, grid), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [32.0, 50.0, 128.0, 200.0, 256.0])
@pytest.mark.parametrize("size", [512, 1024])
def test_a_larger_image_shows_its_own_pixels_where_they_are(side: float, size: int) -> None:
    at = (torch.arange(size) + 0.5) * CANVAS_SIZE / size
    ramp = torch.stack([at[None, :].expand(size, size), at[:, None].expand(size, size)])[None]
    region = RefinementRegion(256 - side if side < 200 else 0.0, 0.0, side)
    cells = (torch.arange(REGION_CELLS) + 0.5) / REGION_CELLS * side
    found = cut_image(ramp, [region])[0]
    inner = slice(2, -2)  # at the image's border there is nothing to interpolate with
    torch.testing.assert_close(found[0, 5, inner], (region.x + cells)[inner], atol=1e-2, rtol=0)
    torch.testing.assert_close(found[1, inner, 5], (region.y + cells)[inner], atol=1e-2, rtol=0)


def test_no_pixel_is_skipped() -> None:
    image = torch.zeros(1, 1, 1024, 1024)
    image[..., 501, 333] = 1
    assert cut_image(image, [RefinementRegion(0, 0, 256)]).sum() > 0
