"""From a map of likeness to candidates: what is like the examples, divided where it narrows at the examples' scale."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from qupath_sam.engine.automatic.objects import DenseObject
from qupath_sam.engine.automatic.watershed import watershed

#: A candidate's cells have at least this share of the threshold: the decoder finds the border.
REACH = 0.8
#: Sizes of the steps, as shares of the examples' radius: smoothing of the map, opening, smoothing of the depth, and
#: distance between two middles.
_SMOOTHING, _OPENING, _DEPTH_SMOOTHING, _APART = 0.1, 0.15, 0.2, 0.6


def over_pixels(cells: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return a map of cells as a map of pixels, float32 ``(side, side)``."""
    return np.asarray(Image.fromarray(cells).resize((side, side), Image.Resampling.BILINEAR), np.float32)


def like_areas(
    likeness: NDArray[np.float32], *, radius: float, least: float, smallest: float, largest: float
) -> list[DenseObject]:
    """Return the candidates of a window.

    Args:
        likeness: float32 ``(S, S)``, pixel by pixel.
        radius: of a circle of the median example's area, px.
        least: likeness from which on a pixel is a candidate's.
        smallest, largest: areas of candidates, px.
    """
    inside = ndimage.gaussian_filter(likeness, _SMOOTHING * radius) >= least
    steps = max(1, round(_OPENING * radius))
    # Beyond the window it goes on as at its edge: the opening takes nothing away there.
    around = np.pad(inside, steps, mode="edge")
    inside = ndimage.binary_opening(around, iterations=steps)[steps:-steps, steps:-steps]
    inside = ndimage.binary_fill_holes(inside)
    if not inside.any():
        return []
    depth = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1]
    depth = ndimage.gaussian_filter(depth, max(1.0, _DEPTH_SMOOTHING * radius))
    reach = 2 * math.ceil(_APART * radius) + 1
    middles = (depth == ndimage.maximum_filter(depth, size=reach)) & inside
    labels = watershed(
        (depth.max() - depth).astype(np.float32), ndimage.label(middles, np.ones((3, 3), bool))[0], inside
    )
    found = []
    for value, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        mask = labels[place] == value
        area = np.count_nonzero(mask)
        if area <= largest and (area >= smallest or _at_edge(place, len(likeness))):
            found.append(_candidate(mask, place, likeness))
    return found


def _candidate(mask: NDArray[np.bool_], place: tuple[slice, slice], likeness: NDArray[np.float32]) -> DenseObject:
    rows, columns = place
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(np.argmax(depth), mask.shape)
    return DenseObject(
        mask=np.ascontiguousarray(mask),
        at=(columns.start, rows.start),
        score=float(np.clip(likeness[place][mask].mean(), 0, 1)),
        point=(columns.start + float(column) + 0.5, rows.start + float(row) + 0.5),
        touching=0.0,
        solidity=1.0,
    )


def _at_edge(place: tuple[slice, slice], side: int) -> bool:
    return any(span.start == 0 or span.stop == side for span in place)
