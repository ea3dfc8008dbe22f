"""Pictures of discs at known places, for what needs the right pixels from the right place and plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

HEIGHT, WIDTH, RADIUS = 400, 600, 55
#: Where the disc lies, x and y, in each plane (z, t) of a stack.
PLANES = {
    (0, 0): (150, 120),
    (1, 0): (420, 270),
    (2, 0): (260, 200),
    (0, 1): (460, 110),
    (1, 1): (130, 280),
    (2, 1): (330, 130),
}


def disc(centre: tuple[int, int], inside: int, outside: int, noise: int) -> NDArray[np.int64]:
    """Grey levels, noisy as those of any real picture."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    levels = np.where((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < RADIUS**2, inside, outside)
    return levels + np.random.default_rng(0).integers(0, noise, levels.shape)


def write_stack(file: Path) -> None:
    """A z/t stack of one channel, as ImageJ writes it: QuPath needs no Bio-Formats to read it."""
    planes = np.array([[disc(PLANES[z, t], 90, 200, 12) for z in range(3)] for t in range(2)])
    tifffile.imwrite(file, planes.astype(np.uint8), imagej=True, metadata={"axes": "TZYX"})


def overlap(outline: BaseGeometry, centre: tuple[float, float]) -> float:
    """Intersection over union of an outline and the disc at a place."""
    drawn = Point(centre).buffer(RADIUS)
    return float(outline.intersection(drawn).area / outline.union(drawn).area)
