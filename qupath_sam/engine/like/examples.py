"""Examples as windows show them: where each lies among the cells, with the fewest windows that show all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.like.features import CELLS, cell_features
from qupath_sam.engine.like.prototype import ShownExample, View
from qupath_sam.engine.region.model import RegionModel
from qupath_sam.errors import RequestTooLarge
from qupath_sam.models.base import Embedding
from qupath_sam.polygons.distance import rasterize
from qupath_sam.types.prompts import Label
from qupath_sam.types.regions import Region, Window

#: Share of a window's side that an example keeps from its edges, where it is not too large for that.
_MARGIN = 1 / 8
#: Cells are divided so finely, along each side, to see what share of them an example covers.
_FINE = 4
#: Most windows: what they show is held at once, some MB each.
MAX_WINDOWS = 32


@dataclass(frozen=True, slots=True)
class OutlinedExample:
    """An example whose outline is known, level-0 px."""

    outline: Polygon | MultiPolygon
    label: Label

    @property
    def is_positive(self) -> bool:
        """Whether such objects are wanted."""
        return self.label is Label.POSITIVE


@dataclass(frozen=True, slots=True, eq=False)
class ExampleWindow:
    """A window and the examples that it is there for."""

    window: Window
    examples: Sequence[OutlinedExample]


def example_windows(examples: Sequence[OutlinedExample], *, downsample: float, tile_size: int) -> list[ExampleWindow]:
    """Return windows that together show all examples, each once.

    Args:
        examples: in any order.
        downsample: level-0 px per tile px.
        tile_size: side of a window, tile px.

    Raises:
        RequestTooLarge: more windows than `MAX_WINDOWS`.
    """
    side = max(1, round(tile_size * downsample))
    margin = _MARGIN * side
    waiting = sorted(examples, key=lambda each: (each.outline.bounds[1], each.outline.bounds[0]))
    windows = []
    while waiting:
        first = waiting[0]
        x, y = _middle(first.outline, side)
        window = Window(Region(round(x - side / 2), round(y - side / 2), side, side), tile_size, tile_size)
        left, top, right, bottom = window.region.bounds
        seen = shapely.box(left + margin, top + margin, right - margin, bottom - margin)
        examples = [first, *(each for each in waiting[1:] if seen.covers(shapely.box(*each.outline.bounds)))]
        windows.append(ExampleWindow(window, examples))
        waiting = [each for each in waiting if not any(each is other for other in examples)]
    if len(windows) > MAX_WINDOWS:
        raise RequestTooLarge(
            f"the examples lie in {len(windows)} places; give some of at most {MAX_WINDOWS} places, or a coarser scale"
        )
    return windows


def views_of(
    windows: Sequence[ExampleWindow],
    model: RegionModel,
    extent: Region,
    *,
    look: Callable[[ExampleWindow, NDArray[np.uint8], Embedding], None] = lambda window, pixels, embedding: None,
) -> list[View]:
    """Return what the windows of `example_windows` show.

    Args:
        windows: with their examples.
        model: reads and encodes.
        extent: where the image has pixels, level-0 px.
        look: is given each window with its pixels and its embedding, which are not kept.

    Raises:
        SlideUnreadable: the pixels cannot be read.
        OutOfMemory, Cancelled, DeadlineExceeded, ServerBusy: the work could not be done.
    """
    every = [each for one in windows for each in one.examples]
    views = []
    for one in windows:
        window = one.window
        pixels, embedding = model.read(window), model.embedding(window)
        look(one, pixels, embedding)
        features = model.run(lambda p=pixels, e=embedding: cell_features(p, e))  # type: ignore[misc]
        place = shapely.box(*window.region.bounds)
        taken = np.zeros((CELLS, CELLS), bool)
        for each in every:
            if each.outline.intersects(place):
                taken |= covered_cells(each.outline, window) > 0
        views.append(
            View(
                features,
                [ShownExample(covered_cells(each.outline, window), each.is_positive) for each in one.examples],
                taken,
                covered_cells(shapely.box(*extent.bounds), window) > 0.5,
            )
        )
    return views


def mask_over(outline: Polygon | MultiPolygon, window: Window, side: int) -> NDArray[np.bool_]:
    """Return an outline (level-0 px) on a grid over a square window, bool ``(side, side)``."""
    region = window.region
    scale = side / region.width
    return rasterize(
        shapely.transform(outline, lambda points: (points - (region.x, region.y)) * scale), 0, 0, side, side
    )


def covered_cells(outline: Polygon | MultiPolygon, window: Window) -> NDArray[np.float32]:
    """Return the share of each cell that an outline covers, float32 ``(CELLS, CELLS)``; never 0 in all of them.

    Args:
        outline: level-0 px; some of it lies in the window.
        window: a square.
    """
    fine = mask_over(outline, window, CELLS * _FINE)
    covered: NDArray[np.float32] = fine.reshape(CELLS, _FINE, CELLS, _FINE).mean(axis=(1, 3), dtype=np.float32)
    if not covered.any():
        point, region = outline.representative_point(), window.region
        across, down = (point.x - region.x) / region.width, (point.y - region.y) / region.height
        row, column = (min(max(int(share * CELLS), 0), CELLS - 1) for share in (down, across))
        covered[row, column] = 1 / _FINE**2
    return covered


def _middle(outline: Polygon | MultiPolygon, side: int) -> tuple[float, float]:
    """Return the middle of an outline's box; of one larger than a window a point in it."""
    min_x, min_y, max_x, max_y = outline.bounds
    if max(max_x - min_x, max_y - min_y) <= side:
        return (min_x + max_x) / 2, (min_y + max_y) / 2
    point = outline.representative_point()
    return point.x, point.y
