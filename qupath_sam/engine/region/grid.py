"""A grid of clicks over a tile, and which of the masks that answer are objects: as SAM's automatic mask generator.

Source: Kirillov et al. 2023, "Segment Anything", appendix B "Automatic Mask Generation Details": predicted IoU,
stability of the mask at two thresholds, non-maximum suppression of boxes. The numbers are those of SAM where nothing
else is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qupath_sam.engine.region.proposals import Proposal, Tile, cropped
from qupath_sam.models.base import WindowPrompts
from qupath_sam.types.regions import Region

#: Clicks that are asked at once; after each of these, FAST leaves out those that an object lies under.
CLICKS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Grid:
    """How the grid prompts and filters.

    Attributes:
        spacing: distance of two clicks, level-0 px. The grid hangs on the image, not on the tiles.
        min_score: least predicted IoU.
        min_stability: least stability.
        stability_offset: logits above and below 0 at which a mask is compared with itself.
        box_nms_iou: of two masks whose boxes have a larger IoU, the one with the lower score is dropped.
        several_masks: ask for all masks of an ambiguous click.
        skips_found: no click is asked where an object is found already.
    """

    spacing: float
    min_score: float = 0.88
    min_stability: float = 0.95
    stability_offset: float = 1.0
    box_nms_iou: float = 0.7
    several_masks: bool = True
    skips_found: bool = False


class GridProposer:
    """Proposes what a grid of clicks hits; see `qupath_sam.engine.region.proposals.Proposer`.

    Args:
        grid: how.
        origin: from where on the grid is counted, level-0 px.
    """

    def __init__(self, grid: Grid, *, origin: tuple[int, int] = (0, 0)) -> None:
        self._grid = grid
        self._origin = origin

    def propose(self, tile: Tile) -> list[Proposal]:
        """Return the masks of the clicks in the tile's core that pass the filters; each click is in one core."""
        found: list[Proposal] = []
        under = np.zeros((tile.window.height, tile.window.width), bool)
        points = grid_points(tile.core, self._grid.spacing, self._origin)
        waiting = [tile.window.to_window(x, y) for x, y in points]
        while waiting:
            some, waiting = waiting[:CLICKS_AT_ONCE], waiting[CLICKS_AT_ONCE:]
            passed = list(self._asked(tile, some))
            found.extend(passed)
            if self._grid.skips_found and passed:
                for proposal in passed:
                    (column, row), (height, width) = proposal.at, proposal.mask.shape
                    under[row : row + height, column : column + width] |= proposal.mask
                waiting = [
                    (x, y) for x, y in waiting if not under[_pixel(y, under.shape[0]), _pixel(x, under.shape[1])]
                ]
        return [found[index] for index in box_nms(found, self._grid.box_nms_iou)]

    def _asked(self, tile: Tile, points: Sequence[tuple[float, float]]) -> Iterator[Proposal]:
        """Return what passes the filters of the answers to single clicks, tile px."""
        prompts = [WindowPrompts(np.array([point], np.float32), np.ones(1, np.int64), last_click=1) for point in points]
        grid = self._grid
        answers = tile.model.decode(prompts, several_masks=grid.several_masks)
        for point, answer in zip(points, answers, strict=True):
            for mask, score, logits in zip(answer.masks, answer.scores, answer.logits, strict=True):
                if (
                    score < self._grid.min_score
                    or stability(logits, self._grid.stability_offset) < self._grid.min_stability
                ):
                    continue
                proposal = cropped(mask, float(score), point=point, logits=logits)
                if proposal is not None:
                    yield proposal


def grid_points(core: Region, spacing: float, origin: tuple[int, int]) -> list[tuple[float, float]]:
    """Return the points of a grid in a region (level-0 px), row by row; no point is in two regions that do not overlap.

    Args:
        core: half open: points on its right and lower edge belong to the next one.
        spacing: level-0 px.
        origin: the first point lies half a spacing from it.
    """

    def along(low: int, high: int, start: int) -> list[float]:
        first = math.ceil((low - start) / spacing - 0.5)
        positions = [start + (index + 0.5) * spacing for index in range(first, first + int((high - low) / spacing) + 2)]
        return [position for position in positions if low <= position < high]

    xs = along(core.x, core.right, origin[0])
    return [(x, y) for y in along(core.y, core.bottom, origin[1]) for x in xs]


def stability(logits: NDArray[np.float32], offset: float) -> float:
    """Return the IoU of a mask at a high and at a low threshold, 0 to 1; 0 of an empty one.

    Args:
        logits: float32 ``(H, W)``.
        offset: of both thresholds from 0.
    """
    inside = np.count_nonzero(logits > offset)
    outside = np.count_nonzero(logits > -offset)
    return inside / outside if outside else 0.0


def box_nms(proposals: Sequence[Proposal], iou: float) -> list[int]:
    """Return the indices of proposals that stay, best score first: greedy non-maximum suppression of their boxes."""
    if not proposals:
        return []
    corners = np.array([(*p.at, p.at[0] + p.mask.shape[1], p.at[1] + p.mask.shape[0]) for p in proposals], np.float64)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    order = np.argsort([-p.score for p in proposals], kind="stable")
    kept: list[int] = []
    while order.size:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(corners[best, :2], corners[order, :2])
        high = np.minimum(corners[best, 2:], corners[order, 2:])
        common = np.prod(np.clip(high - low, 0, None), axis=1)
        order = order[common <= iou * (areas[best] + areas[order] - common)]
    return kept


def _pixel(position: float, side: int) -> int:
    return min(max(math.floor(position), 0), side - 1)
