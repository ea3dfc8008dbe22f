"""At which scale a dense head sees objects of the size that it is made for, where no pixel size says it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from qupath_sam.engine.automatic.objects import DenseObject

#: How far off the wanted diameter the median object is left as it is.
TOLERANCE = 1.5
#: Scales that are tried where the first shows nothing.
_OTHER_SCALES = (2.0, 0.5, 4.0)
_MOST_STEPS = 3
#: Fewest objects that say something of the scale, and their least score: noise has objects too.
_FEWEST, _LEAST_SCORE = 3, 0.5


def suited_downsample(
    look: Callable[[float], Sequence[DenseObject]], *, start: float, limits: tuple[float, float], wanted: float
) -> float | None:
    """Return the downsample at which the median object has about the wanted diameter, found by looking.

    Args:
        look: gives the objects that some tiles show at a downsample.
        start: downsample to look at first.
        limits: the least and the most.
        wanted: median diameter of the objects at which a head is at its best, px of a tile.

    Returns:
        Level-0 px per tile px; None where too few objects are seen to tell.
    """
    for first in (start, *(start * factor for factor in _OTHER_SCALES)):
        if not limits[0] <= first <= limits[1]:
            continue
        downsample = first
        for _ in range(_MOST_STEPS):
            diameter = _median_diameter(look(downsample))
            if diameter is None:
                break
            factor = diameter / wanted
            if 1 / TOLERANCE <= factor <= TOLERANCE:
                return downsample
            downsample = min(max(downsample * factor, limits[0]), limits[1])
        else:
            return downsample
    return None


def _median_diameter(objects: Sequence[DenseObject]) -> float | None:
    """Return the median diameter of circles of the objects' areas, px.

    Each counts by its area: debris does not outvote nuclei.
    """
    areas = np.sort([each.area for each in objects if each.score >= _LEAST_SCORE])
    if len(areas) < _FEWEST:
        return None
    middle = areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2)]
    return 2 * math.sqrt(float(middle) / math.pi)
