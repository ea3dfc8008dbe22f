"""The objects that a dense head proposes, each with what tells whether it can be trusted as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.engine.automatic.watershed import WatershedOptions, label_objects
from qupath_sam.networks.dense_head import BORDER, FOREGROUND

#: Width of the ring in which foreground that an object lacks is looked for, px.
_RING = 2
_CROSS = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, slots=True, eq=False)
class DenseObject:
    """One object of a window.

    Attributes:
        mask: bool ``(h, w)``, cropped to the object's bounding box.
        at: column and row of the window at which ``mask`` begins.
        score: estimate of the mask's IoU with the object, 0 to 1.
        point: ``(x, y)`` deep inside, window px on pixel edges.
        touching: share of the border's pixels that lie beside another object.
        solidity: area over that of the convex hull, 0 to 1; small where two objects hang together.
    """

    mask: NDArray[np.bool_]
    at: tuple[int, int]
    score: float
    point: tuple[float, float]
    touching: float
    solidity: float

    @property
    def area(self) -> int:
        """Px."""
        return int(np.count_nonzero(self.mask))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """``(min_x, min_y, max_x, max_y)`` in window px, on pixel edges."""
        left, top = self.at
        height, width = self.mask.shape
        return left, top, left + width, top + height


def dense_objects(maps: NDArray[np.float32], options: WatershedOptions | None = None) -> list[DenseObject]:
    """Return the objects in the three maps of a dense head, by rows.

    The score is what the foreground's chances say of the IoU: expected pixels of the object inside of the mask, over
    the mask and the expected pixels in a ring round it that no other object has.

    Args:
        maps: float32 ``(3, H, W)`` in 0..1.
        options: thresholds.
    """
    labels = label_objects(maps, options)
    return [_object(labels, maps, value, place) for value, place in enumerate(ndimage.find_objects(labels), start=1)]


def _object(
    labels: NDArray[np.int32], maps: NDArray[np.float32], value: int, place: tuple[slice, slice]
) -> DenseObject:
    rows, columns = place
    wide = _widened(rows, labels.shape[0]), _widened(columns, labels.shape[1])
    around = labels[wide]
    inside = ndimage.binary_fill_holes(around == value)
    # What lies in a hole of another object is that one's own.
    inside &= (around == value) | (around == 0)
    chance, depth = maps[FOREGROUND][wide], maps[BORDER][wide]
    ring = ndimage.binary_dilation(inside, _CROSS, iterations=_RING) & ~inside
    free = ring & (around == 0)
    score = float(chance[inside].sum() / (np.count_nonzero(inside) + chance[free].sum()))
    beside = ndimage.binary_dilation((around > 0) & (around != value), _CROSS)
    border = inside & ~ndimage.binary_erosion(inside, _CROSS, border_value=1)
    touching = int(np.count_nonzero(border & beside)) / max(int(np.count_nonzero(border)), 1)
    deepest = np.unravel_index(np.argmax(np.where(inside, depth, -1)), inside.shape)
    found = ndimage.find_objects(inside.astype(np.int8))[0]
    return DenseObject(
        mask=np.ascontiguousarray(inside[found]),
        at=(wide[1].start + found[1].start, wide[0].start + found[0].start),
        score=score,
        point=(wide[1].start + float(deepest[1]) + 0.5, wide[0].start + float(deepest[0]) + 0.5),
        touching=float(touching),
        solidity=_solidity(inside[found]),
    )


def _widened(span: slice, extent: int) -> slice:
    margin = _RING + 1
    return slice(max(span.start - margin, 0), min(span.stop + margin, extent))


def _solidity(mask: NDArray[np.bool_]) -> float:
    """Return the area over the area of the convex hull of the pixels' corners."""
    import shapely

    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = [
        (x, y)
        for left, right, row in zip(first, last, rows, strict=True)
        for x in (left, right)
        for y in (row, row + 1)
    ]
    return float(np.count_nonzero(mask) / shapely.MultiPoint(corners).convex_hull.area)
