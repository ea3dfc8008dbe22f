"""From an existing outline to the prompts that ask a model to draw it better."""

from __future__ import annotations

import numpy as np
import shapely
from scipy.ndimage import distance_transform_edt
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.refine_options import PromptOptions
from qupath_sam.polygons.distance import rasterize
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region

#: Cells along the shorter side of what is searched for deep points, odd so that a rectangle's middle is a cell's.
GRID = 127
#: Most cells along the longer side.
LONGEST_GRID = 2047


def prompts_from_outline(
    outline: Polygon | MultiPolygon, extent: Region, options: PromptOptions | None = None
) -> ObjectPrompts:
    """Make box, mask prompt and points of an outline, all in level-0 px and inside the image.

    What `project refine` and ``segment --outline`` ask; with the default options ``OutlinePrompts.java`` asks the same.

    Args:
        outline: valid, level-0 px.
        extent: the image.
        options: which prompts.

    Raises:
        InvalidPrompt: nothing of the outline lies in the image.
    """
    options = options or PromptOptions()
    min_x, min_y, max_x, max_y = outline.bounds
    margin = options.box_margin * max(max_x - min_x, max_y - min_y)
    box = Box(
        max(min_x - margin, extent.x),
        max(min_y - margin, extent.y),
        min(max_x + margin, extent.right),
        min(max_y + margin, extent.bottom),
    )
    visible = max(min_x, extent.x), max(min_y, extent.y), min(max_x, extent.right), min(max_y, extent.bottom)
    clicks = []
    if inside := deepest_points(outline, options.interior, within=visible):
        clicks.append(Click(inside, Label.POSITIVE))
    if outside := deepest_points(outline, options.exterior, within=box.bounds, outside=True):
        clicks.append(Click(outside, Label.NEGATIVE))
    return ObjectPrompts(tuple(clicks), box if options.box else None, outline if options.outline else None)


def deepest_points(
    area: Polygon | MultiPolygon, count: int, *, within: tuple[float, float, float, float], outside: bool = False
) -> tuple[tuple[float, float], ...]:
    """Return up to ``count`` points of an area that lie far from its border and from each other.

    Each is the centre of the largest circle inscribed in what is left (the pole of inaccessibility); the circle is
    then taken away. Circles below a hundredth of the first one's area are not worth a point. An area too thin for the
    grid has no point at all.

    The first point inside is to the bit that of ``InnermostPoint.java``: both count in whole cells of a grid. GEOS and
    JTS, in the versions that shapely and the QuPaths bring, find different centres of an area with several.

    Args:
        area: valid, level-0 px.
        count: most points.
        within: ``(min_x, min_y, max_x, max_y)``, level-0 px; what lies beyond does not count as part of the area.
        outside: points of what the area leaves of ``within`` instead.
    """
    left, top, right, bottom = within
    if count < 1 or not (left < right and top < bottom):
        return ()
    width, height = right - left, bottom - top
    cell = max(min(width, height) / GRID, max(width, height) / LONGEST_GRID)
    columns, rows = max(1, int(width / cell + 0.5)), max(1, int(height / cell + 0.5))
    grid = shapely.transform(area, lambda points: (points - (left, top)) / cell)
    free = rasterize(grid, 0, 0, columns, rows) != outside
    across, down = np.arange(columns)[None, :], np.arange(rows)[:, None]
    off_middle = (2 * across + 1 - columns) ** 2 + (2 * down + 1 - rows) ** 2
    points: list[tuple[float, float]] = []
    largest = 0.0
    while len(points) < count:
        depth = distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1]
        squared = np.rint(depth**2).astype(np.int64)
        deepest = np.flatnonzero(squared == squared.max())
        row, column = divmod(int(deepest[np.argmin(off_middle.flat[deepest])]), columns)
        radius = depth[row, column]
        if radius < max(0.1 * largest, 1):
            break
        largest = max(largest, radius)
        points.append((left + (column + 0.5) * cell, top + (row + 0.5) * cell))
        free &= (across - column) ** 2 + (down - row) ** 2 > (1.05 * radius) ** 2
    return tuple(points)
