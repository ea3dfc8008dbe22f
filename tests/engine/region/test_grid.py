"""A grid of clicks asks each place once, and keeps what SAM's filters keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import ndimage

from qupath_sam.engine.region.grid import Grid, GridProposer, box_nms, grid_points, stability
from qupath_sam.engine.region.proposals import Proposal, Tile
from qupath_sam.engine.region.proposers import grid_defaults
from qupath_sam.engine.region.tiling import TileGrid
from qupath_sam.models.base import LOW_RES_SIZE, Capabilities, Embedding, MaskSet, WindowPrompts
from qupath_sam.types.regions import Region, Window

from .scene import as_set, blobs, outlines_in, truth

WHOLE = Region(-100, 30, 1000, 1700)


def test_each_click_is_in_one_core():
    import shapely

    tiles = TileGrid(extent=WHOLE, downsample=1.5, tile_size=256, region=shapely.box(*WHOLE.bounds))
    origin = WHOLE.x, WHOLE.y
    points = [p for row, column in tiles.order for p in grid_points(tiles.core(row, column), 13.7, origin)]
    assert len(points) == len(set(points))
    assert sorted(points) == sorted(grid_points(WHOLE, 13.7, origin))
    assert len(points) == pytest.approx(1000 * 1700 / 13.7**2, rel=0.02)


class Clicked:
    """Answers a click with the connected pixels under it, and with a sure one over everything."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.labels, _ = ndimage.label(pixels[..., 1] < 128)
        self.asked = 0

    def decode(self, prompts: Sequence[WindowPrompts], *, several_masks: bool = False) -> list[MaskSet]:
        self.asked += len(prompts)
        answers = []
        for prompt in prompts:
            x, y = np.floor(prompt.points[0]).astype(int)
            label = self.labels[y, x]
            mask = (self.labels == label) if label else np.zeros_like(self.labels, bool)
            low = ndimage.zoom(mask.astype(np.float32), LOW_RES_SIZE / mask.shape[0], order=0) * 16 - 8
            unsure = np.ones_like(mask)
            flat = np.full((LOW_RES_SIZE, LOW_RES_SIZE), 0.5, np.float32)
            answers.append(MaskSet(np.stack([unsure, mask]), np.array([0.99, 0.95], np.float32), np.stack([flat, low])))
        return answers

    def run(self, job):
        return job()


class OnPixels:
    """A grid over a model that sees the tile's pixels."""

    def __init__(self, grid: Grid) -> None:
        self.proposer = GridProposer(grid)
        self.asked = 0

    def propose(self, tile: Tile) -> list[Proposal]:
        model = Clicked(tile.pixels)
        found = self.proposer.propose(Tile(tile.window, tile.core, Embedding({}, (0, 0)), model, tile.mpp, tile.read))
        self.asked += model.asked
        return found


@pytest.mark.parametrize("skips_found", [False, True])
def test_a_grid_finds_all_objects_of_a_region_whatever_the_tile_size(skips_found):
    pixels = blobs(420, 400, sizes=(34, 50), share=0.4)
    asked = {}
    for size in (256, 512):
        proposer = OnPixels(Grid(spacing=16.0, skips_found=skips_found))
        found = outlines_in(pixels, tile_size=size, max_extent=200.0, proposer=proposer)
        assert as_set(found) == as_set(truth(pixels))
        asked[size] = proposer.asked
    clicks = len(grid_points(Region(0, 0, 420, 400), 16.0, (0, 0)))
    assert (max(asked.values()) < clicks) if skips_found else (set(asked.values()) == {clicks})


def test_unstable_masks_and_low_scores_are_left_out():
    pixels = blobs(256, 256, sizes=(20, 50), seed=2)
    window = Window(Region(0, 0, 256, 256), 256, 256)
    tile = Tile(window, window.region, Embedding({}, (256, 256)), Clicked(pixels), None, lambda: pixels)
    assert GridProposer(Grid(spacing=16.0, min_score=0.96)).propose(tile) == []
    found = GridProposer(Grid(spacing=16.0, min_score=0.9, min_stability=0.0)).propose(tile)
    assert max(p.score for p in found) == pytest.approx(0.99)
    found = GridProposer(Grid(spacing=16.0)).propose(tile)
    assert found
    assert [p.score for p in found] == pytest.approx([0.95] * len(found))


def test_stability_is_the_iou_of_the_masks_at_two_thresholds():
    logits = np.array([[3, 0.5], [-0.5, -3]], np.float32)
    assert stability(logits, 1.0) == pytest.approx(1 / 3)
    assert stability(logits, 0.25) == 1
    assert stability(np.full((2, 2), -5, np.float32), 1.0) == 0


def test_models_of_one_mask_have_filters_of_their_own():
    """Their logits are softer and their scores lower than SAM's, whose filters leave nothing of them."""
    sam, soft = (grid_defaults(Capabilities(input_size=256, mask_count=count)) for count in (3, 1))
    assert (sam.min_score, sam.min_stability, sam.stability_offset) == (0.88, 0.95, 1.0)
    assert soft.min_score < 0.6
    assert soft.stability_offset < 1
    assert not soft.several_masks


def test_of_boxes_that_overlap_too_much_the_best_stays():
    def box(x: int, y: int, side: int, score: float) -> Proposal:
        return Proposal(np.ones((side, side), bool), score, at=(x, y))

    proposals = [box(0, 0, 10, 0.9), box(1, 0, 10, 0.95), box(6, 0, 10, 0.8), box(40, 40, 5, 0.7)]
    assert box_nms(proposals, 0.7) == [1, 2, 3]
    assert box_nms([], 0.7) == []
