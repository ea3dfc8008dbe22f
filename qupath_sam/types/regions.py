"""Rectangles on a slide and the affine between a window's pixels and level 0. Pure arithmetic.

All coordinates are QuPath's: level-0 pixels, measured on pixel *edges*, origin at the top left, y down.
The pixel in column ``i`` and row ``j`` covers ``[i, i + 1] x [j, j + 1]``; its centre is ``(i + .5, j + .5)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from qupath_sam.errors import InvalidRegion


@dataclass(frozen=True, slots=True)
class Region:
    """An axis-aligned rectangle in level-0 px (pixel edges).

    Attributes:
        x, y: top-left corner. May be negative: a window can stand over the edge of a slide.
        width, height: extent, at least 1.
    """

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InvalidRegion(f"a region needs a width and height of at least 1 px, got {self.width} x {self.height}")

    @property
    def right(self) -> int:
        """Right edge (exclusive), x."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Bottom edge (exclusive), y."""
        return self.y + self.height

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """``(min_x, min_y, max_x, max_y)``, as shapely orders them."""
        return self.x, self.y, self.right, self.bottom

    def contains(self, x: float, y: float) -> bool:
        """Return whether a point lies in the region; the right and bottom edges do not belong to it."""
        return self.x <= x < self.right and self.y <= y < self.bottom

    def encloses(self, other: Region) -> bool:
        """Return whether ``other`` lies wholly inside this region."""
        return self.x <= other.x and self.y <= other.y and other.right <= self.right and other.bottom <= self.bottom

    def intersection(self, other: Region) -> Region | None:
        """Return the common part, or None where there is none."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Region(x, y, right - x, bottom - y) if right > x and bottom > y else None


@dataclass(frozen=True, slots=True)
class Window:
    """The pixels a model sees: a region and the size at which it is read.

    Attributes:
        region: level-0 px. Area outside the slide is painted white.
        width, height: size in window px. ``region.width / width`` is the downsample in x; it may be below 1,
            for a small object seen enlarged.
    """

    region: Region
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InvalidRegion(f"a window needs at least 1 x 1 px, got {self.width} x {self.height}")

    @classmethod
    def of(cls, region: Region, downsample: float) -> Window:
        """Return the window that shows ``region`` at ``downsample`` level-0 px per window px, rounded to whole px."""
        if not (math.isfinite(downsample) and downsample > 0):
            raise InvalidRegion(f"downsample must be a positive number, got {downsample}")
        return cls(region, max(1, round(region.width / downsample)), max(1, round(region.height / downsample)))

    @property
    def scale(self) -> tuple[float, float]:
        """Level-0 px per window px, ``(x, y)``."""
        return self.region.width / self.width, self.region.height / self.height

    @property
    def downsample(self) -> float:
        """Level-0 px per window px, mean of both axes."""
        sx, sy = self.scale
        return (sx + sy) / 2

    def to_window(self, x: float, y: float) -> tuple[float, float]:
        """Map level-0 px to window px (both on pixel edges)."""
        sx, sy = self.scale
        return (x - self.region.x) / sx, (y - self.region.y) / sy

    def to_level0(self, x: float, y: float) -> tuple[float, float]:
        """Map window px to level-0 px (both on pixel edges)."""
        sx, sy = self.scale
        return self.region.x + x * sx, self.region.y + y * sy
