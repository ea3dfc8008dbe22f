"""Tiles over an image: overlapping windows on one lattice, whatever the region, and which of them are still to be done.

The lattice hangs on the image, not on the region: a region and a larger one round it share their windows, and so their
embeddings and their objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.slides.base import SlideInfo
from qupath_sam.slides.tissue import has_tissue
from qupath_sam.types.regions import Region, Window

#: Share of a tile's side that it has in common with the next tile: what is not larger is seen whole by some tile. At
#: 256 px of 0.25 um it is 16 um, the largest nuclei.
OVERLAP_SHARE = 1 / 4

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """The tiles along one axis, level-0 px.

    Attributes:
        starts: int ``(n,)``, where the windows begin, rising.
        side: length of each window.
        borders: int ``(n + 1,)``, where the cores begin and end: the middles of the overlaps.
    """

    starts: NDArray[np.int64]
    side: int
    borders: NDArray[np.int64]

    @classmethod
    def of(cls, low: int, length: int, side: int) -> Axis:
        """Return the tiles that cover ``length`` px from ``low`` on.

        The last one ends with the image; where the image is shorter than a tile, the only one stands over its end.
        """
        stride = max(1, side - round(side * OVERLAP_SHARE))
        count = max(1, -(-(length - side) // stride) + 1)
        starts = low + stride * np.arange(count, dtype=np.int64)
        starts[-1] = max(low, low + length - side)
        middles = (starts[1:] + starts[:-1] + side) // 2
        return cls(starts, side, np.concatenate([[low], middles, [low + max(length, 1)]]))

    def __len__(self) -> int:
        return len(self.starts)

    def meeting(self, low: float, high: float) -> slice:
        """Return the tiles whose windows have more than an edge in common with ``[low, high]``."""
        first = int(np.searchsorted(self.starts + self.side, low, side="right"))
        last = int(np.searchsorted(self.starts, high, side="left"))
        return slice(first, max(first, last))


class TileGrid:
    """The tiles of one region, in the order in which they are done, and which of them are still to be done.

    The order runs across the region's shorter side first, so that few objects wait for a later tile.

    Args:
        extent: where the image has pixels, level-0 px.
        downsample: level-0 px per tile px.
        tile_size: side of a tile, tile px.
        region: tiles whose core meets it are looked at; level-0 px.
        tissue: from `qupath_sam.slides.tissue.tissue_map`; tiles without any are skipped. None skips none.
        info: of the slide that the map was made of.
    """

    def __init__(
        self,
        *,
        extent: Region,
        downsample: float,
        tile_size: int,
        region: Polygon | MultiPolygon,
        tissue: NDArray[np.bool_] | None = None,
        info: SlideInfo | None = None,
    ) -> None:
        self.tile_size = tile_size
        self.extent = extent
        side = max(1, round(tile_size * downsample))
        self.side = side
        self.columns = Axis.of(extent.x, extent.width, side)
        self.rows = Axis.of(extent.y, extent.height, side)
        wanted = self._meeting(region)
        self.skipped = 0
        if tissue is not None and info is not None:
            for row, column in np.argwhere(wanted):
                if not has_tissue(tissue, self.window(row, column).region, info):
                    wanted[row, column] = False
                    self.skipped += 1
        #: bool ``(rows, columns)``: tiles that are looked at, and those of them that are not yet done.
        self.wanted = wanted
        self.undone = wanted.copy()
        min_x, min_y, max_x, max_y = region.bounds
        places = np.argwhere(wanted if max_y - min_y > max_x - min_x else wanted.T)
        self.order = [
            (int(a), int(b)) if max_y - min_y > max_x - min_x else (int(b), int(a)) for a, b in places
        ]  # (row, column)

    def __len__(self) -> int:
        return len(self.order)

    def window(self, row: int, column: int) -> Window:
        """Return the window of a tile."""
        region = Region(int(self.columns.starts[column]), int(self.rows.starts[row]), self.side, self.side)
        return Window(region, self.tile_size, self.tile_size)

    def core(self, row: int, column: int) -> Region:
        """Return the part of a tile that is nearest to its middle, level-0 px."""
        left, right = (int(b) for b in self.columns.borders[column : column + 2])
        top, bottom = (int(b) for b in self.rows.borders[row : row + 2])
        return Region(left, top, max(1, right - left), max(1, bottom - top))

    def done(self, row: int, column: int) -> None:
        """Note that a tile is done."""
        self.undone[row, column] = False

    def waits_for(self, bounds: Bounds) -> bool:
        """Return whether a tile that is still to be done sees something of ``bounds`` (level-0 px)."""
        return bool(self.undone[self._seeing(bounds)].any())

    def is_seen(self, bounds: Bounds) -> bool:
        """Return whether a tile that is looked at, done or not, sees something of ``bounds`` (level-0 px)."""
        return bool(self.wanted[self._seeing(bounds)].any())

    def _seeing(self, bounds: Bounds) -> tuple[slice, slice]:
        min_x, min_y, max_x, max_y = bounds
        return self.rows.meeting(min_y, max_y), self.columns.meeting(min_x, max_x)

    def _meeting(self, region: Polygon | MultiPolygon) -> NDArray[np.bool_]:
        """Return bool ``(rows, columns)``: cores that have an area in common with the region."""
        min_x, min_y, max_x, max_y = region.bounds
        wanted = np.zeros((len(self.rows), len(self.columns)), bool)
        x, y = self.columns.borders, self.rows.borders
        columns = np.flatnonzero((x[1:] > min_x) & (x[:-1] < max_x))
        rows = np.flatnonzero((y[1:] > min_y) & (y[:-1] < max_y))
        shapely.prepare(region)
        for row in rows:
            cores = shapely.box(x[columns], y[row], x[columns + 1], y[row + 1])
            wanted[row, columns] = shapely.intersects(region, cores) & ~shapely.touches(region, cores)
        return wanted
