"""Outlines larger than a model's window: refined along their border in overlapping windows, the interior untouched.

Each window's mask becomes a signed distance to its border. Where windows overlap the distances are averaged with
weights that fall to nothing at each window's edge, and the new outline is where the average is zero. Two windows that
disagree by a few pixels so pass the outline on to each other in a slant rather than a step, and no window's edge shows.
Where no window has a say the old outline's distance stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.refine_guards import intersection_over_union
from qupath_sam.polygons.cleaning import clip
from qupath_sam.polygons.distance import LIMIT, rasterize, signed_distance
from qupath_sam.polygons.simplification import simplify
from qupath_sam.polygons.smoothing import without_spikes, without_stairs
from qupath_sam.polygons.tracing import trace_mask
from qupath_sam.types.regions import Region

#: A border point is in the middle of a window when it is at least this share of the side away from its edges.
CORE_MARGIN = 0.25
#: Spikes and slits narrower than this are a model's doubt at the edge of its window, cells.
SPIKE_CELLS = 3
#: Side of the blocks that are put together one by one, cells.
BLOCK = 256

#: A mask for the part of the outline that a window (level-0 px) shows, with its score; None where there is none.
RefineWindow = Callable[[Region, Polygon | MultiPolygon], tuple[Polygon | MultiPolygon, float] | None]


@dataclass(frozen=True, slots=True)
class BoundaryOptions:
    """How a border is followed.

    Attributes:
        downsample: level-0 px per window px.
        window_px: side of the model's window.
        min_window_iou: a window's mask that agrees less with the old outline in that window is left out.
        simplify_tolerance: how far the outline may move to have fewer vertices, level-0 px.
    """

    downsample: float
    window_px: int
    min_window_iou: float = 0.5
    simplify_tolerance: float = 0.0

    @property
    def side(self) -> int:
        """Side of a window, level-0 px."""
        return max(8, round(self.window_px * self.downsample))


@dataclass(frozen=True, slots=True)
class RefinedBoundary:
    """The result for one outline.

    Attributes:
        geometry: level-0 px.
        score: mean of the windows' scores.
        windows: how many there were.
        left_out: how many had no mask, or one too far from the old outline.
    """

    geometry: Polygon | MultiPolygon
    score: float
    windows: int
    left_out: int


def is_too_large(outline: Polygon | MultiPolygon, options: BoundaryOptions) -> bool:
    """Return whether an outline (level-0 px) does not fit a single window with an eighth of it free on either side."""
    min_x, min_y, max_x, max_y = outline.bounds
    return max(max_x - min_x, max_y - min_y) > 0.75 * options.side


def refine_boundary(
    outline: Polygon | MultiPolygon, extent: Region, options: BoundaryOptions, refine: RefineWindow
) -> RefinedBoundary:
    """Refine an outline window by window.

    Args:
        outline: valid, level-0 px.
        extent: the image; windows lie inside it as far as it is large enough.
        options: scale and size of windows.
        refine: asks the model about one window; is given the part of the outline in it.
    """
    cell = options.side / options.window_px  # level-0 px, the same for all windows
    visible = clip(outline, shapely.box(*extent.bounds))
    windows = boundary_windows(visible, options.side, extent)
    blend = _Blend(shapely.transform(visible, lambda c: c / cell), windows, cell, extent)
    scores: list[float] = []
    left_out = 0
    for window in windows:
        part = clip(visible, shapely.box(*window.bounds))
        answer = refine(window, part) if part.area > 0 else None
        if answer is None or intersection_over_union(answer[0], part) < options.min_window_iou:
            left_out += 1
            blend.add(window, None)
            continue
        scores.append(answer[1])
        blend.add(window, answer[0])
    geometry = shapely.transform(blend.outline(), lambda c: c * cell)
    geometry = without_spikes(without_stairs(geometry, cell), visible, SPIKE_CELLS * cell)
    geometry = clip(geometry, shapely.box(*extent.bounds))
    geometry = simplify(geometry, options.simplify_tolerance) if options.simplify_tolerance else geometry
    return RefinedBoundary(geometry, float(np.mean(scores)) if scores else 0.0, len(windows), left_out)


def boundary_windows(outline: Polygon | MultiPolygon, side: int, extent: Region) -> list[Region]:
    """Return square windows such that every point of the border is in the middle of one, in order along the rings.

    Args:
        outline: level-0 px.
        side: of a window, level-0 px.
        extent: the image; a window that would stand over its edge is moved inside.
    """
    windows: list[Region] = []
    for ring in shapely.get_rings(shapely.get_parts(outline)):
        points = shapely.get_coordinates(shapely.segmentize(ring, side / 32))
        for index, (x, y) in enumerate(points):
            if any(_in_core(window, x, y, extent) for window in reversed(windows)):
                continue
            # As far ahead as this point still lies in the middle of the window.
            ahead = np.abs(points[index:] - (x, y)).max(axis=1) > (0.5 - CORE_MARGIN) * side - 1
            centre = points[index + (int(np.argmax(ahead)) if ahead.any() else len(ahead)) - 1]
            left = _moved_inside(centre[0] - side / 2, side, extent.x, extent.right)
            top = _moved_inside(centre[1] - side / 2, side, extent.y, extent.bottom)
            windows.append(Region(left, top, side, side))
    return windows


def _moved_inside(start: float, side: int, low: int, high: int) -> int:
    return max(low, min(math.floor(start), high - side))


def _in_core(window: Region, x: float, y: float, extent: Region) -> bool:
    margin = CORE_MARGIN * window.width
    return (
        (window.x <= extent.x or x >= window.x + margin)
        and (window.y <= extent.y or y >= window.y + margin)
        and (window.right >= extent.right or x <= window.right - margin)
        and (window.bottom >= extent.bottom or y <= window.bottom - margin)
    )


class _Block:
    """Weighted distances over one block of cells, and how many windows have yet to say theirs."""

    def __init__(self) -> None:
        self.distances = np.zeros((BLOCK, BLOCK), np.float32)
        self.weights = np.zeros((BLOCK, BLOCK), np.float32)
        self.waiting = 0


class _Blend:
    """Puts the masks of windows together, block by block; a block is traced as soon as its last window is in."""

    def __init__(self, old: Polygon | MultiPolygon, windows: Sequence[Region], cell: float, extent: Region) -> None:
        self._old = old
        self._cell = cell
        self._extent = extent
        self._blocks: dict[tuple[int, int], _Block] = {}
        self._traced: list[Polygon | MultiPolygon] = []
        self._keys: set[tuple[int, int]] = set()
        for window in windows:
            for key in self._blocks_of(window):
                self._blocks.setdefault(key, _Block()).waiting += 1
        self._keys.update(self._blocks)

    def add(self, window: Region, mask: Polygon | MultiPolygon | None) -> None:
        """Take a window's mask (level-0 px) in; None says nothing."""
        if mask is not None:
            columns, rows = self._cells(window)
            x, y = columns.start, rows.start
            in_cells = shapely.transform(mask, lambda c: c / self._cell)
            distances = signed_distance(rasterize(in_cells, x, y, len(columns), len(rows)))
            weights = np.outer(
                self._taper(rows, window.y, window.bottom, self._extent.y, self._extent.bottom),
                self._taper(columns, window.x, window.right, self._extent.x, self._extent.right),
            )
        for key in self._blocks_of(window):
            block = self._blocks[key]
            if mask is not None:
                there, here = _overlap(key, columns, rows)
                block.distances[there] += weights[here] * distances[here]
                block.weights[there] += weights[here]
            block.waiting -= 1
            if block.waiting == 0:
                self._trace(key, self._blocks.pop(key))

    def outline(self) -> Polygon | MultiPolygon:
        """Return the new outline, cell units: all blocks, and the untouched interior beyond them."""
        covered = shapely.union_all(
            [shapely.box(i * BLOCK, j * BLOCK, (i + 1) * BLOCK, (j + 1) * BLOCK) for i, j in self._keys]
        )
        whole = shapely.union_all([*self._traced, self._old.difference(covered)])
        # Small parts that a window finds elsewhere are other objects.
        parts = [part for part in shapely.get_parts(whole) if part.geom_type == "Polygon" and part.area > 0]
        kept = [part for part in parts if part.intersects(self._old)]
        return kept[0] if len(kept) == 1 else MultiPolygon(kept)

    def _trace(self, key: tuple[int, int], block: _Block) -> None:
        x, y = key[0] * BLOCK, key[1] * BLOCK
        wide = signed_distance(rasterize(self._old, x - LIMIT, y - LIMIT, BLOCK + 2 * LIMIT, BLOCK + 2 * LIMIT))
        old = wide[LIMIT:-LIMIT, LIMIT:-LIMIT]
        old_weights = np.maximum(0, 1 - block.weights)
        mask = block.distances + old_weights * old > 0
        traced = trace_mask(mask)
        if not traced.is_empty:
            self._traced.append(shapely.transform(traced, lambda c: c + np.array([x, y])))

    def _cells(self, window: Region) -> tuple[range, range]:
        """Return the columns and rows of the cells that lie in a window."""
        return (
            range(math.ceil(window.x / self._cell), math.floor(window.right / self._cell)),
            range(math.ceil(window.y / self._cell), math.floor(window.bottom / self._cell)),
        )

    def _blocks_of(self, window: Region) -> Iterator[tuple[int, int]]:
        columns, rows = self._cells(window)
        for i in range(columns.start // BLOCK, (columns.stop - 1) // BLOCK + 1):
            for j in range(rows.start // BLOCK, (rows.stop - 1) // BLOCK + 1):
                yield i, j

    def _taper(self, cells: range, low: int, high: int, first: int, last: int) -> NDArray[np.float32]:
        """Return weights along one axis: 0 at the window's edges, 1 in its middle, and 1 at an edge of the image."""
        centres = (np.arange(cells.start, cells.stop) + 0.5) * self._cell
        margin = CORE_MARGIN * (high - low)
        rise = np.ones(len(centres)) if low <= first else np.clip((centres - low) / margin, 0, 1)
        fall = np.ones(len(centres)) if high >= last else np.clip((high - centres) / margin, 0, 1)
        t = np.minimum(rise, fall)
        weight: NDArray[np.float32] = (t * t * (3 - 2 * t)).astype(np.float32)
        return weight


def _overlap(key: tuple[int, int], columns: range, rows: range) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the overlap of a block and a window: as indices of the block, and of the window."""
    block_x, block_y = key[0] * BLOCK, key[1] * BLOCK
    left, right = max(block_x, columns.start), min(block_x + BLOCK, columns.stop)
    top, bottom = max(block_y, rows.start), min(block_y + BLOCK, rows.stop)
    there = slice(top - block_y, bottom - block_y), slice(left - block_x, right - block_x)
    here = slice(top - rows.start, bottom - rows.start), slice(left - columns.start, right - columns.start)
    return there, here
