"""Where these models look: the crop round the object, by the rules of their authors' ``ZoomIn`` and ``crop_local``.

Boxes are pixel indices ``(top, bottom, left, right)``. In a `ZoomBox` the last row and column belong to the box, as in
RITM's code; in a `FocusBox` they do not, as in FocalClick's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

#: FocalClick takes a mask of fewer px for none.
_FEWEST_PX = 10
#: The focus is a square round the click where the changed part is smaller than this share of the object.
_SMALL_CHANGE = 1 / 3
#: Half of that square's side, as a share of the object's longer side.
_ROUND_CLICK = 0.2
#: FocalClick thresholds logits of the coarse answer by what elsewhere is a threshold of probabilities.
FOCUS_THRESHOLD = 0.49


class ZoomBox(NamedTuple):
    """A crop whose last row and column belong to it."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.bottom - self.top + 1, self.right - self.left + 1

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom + 1), slice(self.left, self.right + 1)


class FocusBox(NamedTuple):
    """A crop whose last row and column do not belong to it; it may be empty."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, slots=True)
class ZoomRule:
    """When and how to crop.

    Attributes:
        expansion: side of the crop over that of the object's box.
        smallest: least side of the crop, px, as far as the image goes.
        threshold: probability from which on a pixel counts as the object.
    """

    expansion: float = 1.4
    smallest: int = 200
    threshold: float = 0.5

    def crop(self, previous: NDArray[np.float32], positive: NDArray[np.float32]) -> ZoomBox | None:
        """Return the crop round the mask so far and the positive clicks; None where there is no mask.

        Args:
            previous: probabilities ``(H, W)``.
            positive: pixel indices ``(N, 2)``, row and column.
        """
        mask = previous > self.threshold
        if not mask.any():
            return None
        height, width = mask.shape
        for row, column in positive:
            mask[_index(row, height), _index(column, width)] = True
        (top, bottom), (left, right) = (_ends(mask, axis=axis) for axis in (0, 1))
        (top, bottom), (left, right) = self._expanded(top, bottom), self._expanded(left, right)
        return ZoomBox(max(0, top), min(height - 1, bottom), max(0, left), min(width - 1, right))

    def _expanded(self, first: int, last: int) -> tuple[int, int]:
        centre, side = 0.5 * (first + last), max(self.expansion * (last - first + 1), self.smallest)
        return round(centre - 0.5 * side), round(centre + 0.5 * side)


def whole(size: tuple[int, int]) -> ZoomBox:
    """Return the crop that is a whole image of ``(height, width)``."""
    return ZoomBox(0, size[0] - 1, 0, size[1] - 1)


def overlap(a: ZoomBox, b: ZoomBox) -> float:
    """Return the IoU of two boxes, as RITM computes it."""
    shares = []
    for first, last in ((0, 1), (2, 3)):
        common = max(0, min(a[last], b[last]) - max(a[first], b[first]) + 1)
        shares.append(common / max(1e-6, max(a[last], b[last]) - min(a[first], b[first]) + 1))
    return shares[0] * shares[1]


def focus(
    coarse: NDArray[np.float32],
    previous: NDArray[np.float32],
    click: tuple[float, float] | None,
    within: FocusBox,
    *,
    expansion: float = 1.4,
) -> FocusBox:
    """Return the part to be refined: what the click has changed, or the object at its first click.

    Args:
        coarse: logits ``(H, W)`` of the coarse answer, minus infinity outside ``within``.
        previous: probabilities ``(H, W)`` of the mask so far.
        click: row and column of the newest; None where it is not known, and the object is taken.
        within: the crop that the coarse answer covers.
        expansion: side of the box over that of what it holds.
    """
    new, old = coarse > FOCUS_THRESHOLD, previous > FOCUS_THRESHOLD
    box = _object_box(new)
    if old.any() and click is not None:
        row, column = (_index(at, side) for at, side in zip(click, new.shape, strict=True))
        # Neighbours by corners are neighbours, as OpenCV has it.
        parts, _ = ndimage.label(new ^ old, structure=np.ones((3, 3)))
        changed = _object_box(parts == parts[row, column])
        height, width = box[1] - box[0], box[3] - box[2]
        if changed[1] - changed[0] < height * _SMALL_CHANGE or changed[3] - changed[2] < width * _SMALL_CHANGE:
            reach = _ROUND_CLICK * max(height, width)
            box = row - reach, row + reach, column - reach, column + reach
        else:
            box = changed
    top, bottom = _expanded_within(box[0], box[1], new.shape[0], expansion)
    left, right = _expanded_within(box[2], box[3], new.shape[1], expansion)
    return FocusBox(max(top, within.top), min(bottom, within.bottom), max(left, within.left), min(right, within.right))


def _object_box(mask: Mask) -> tuple[float, float, float, float]:
    if np.count_nonzero(mask) < _FEWEST_PX:
        return 0, mask.shape[0], 0, mask.shape[1]
    return *_ends(mask, axis=0), *_ends(mask, axis=1)


def _expanded_within(first: float, last: float, side: int, expansion: float) -> tuple[int, int]:
    centre, half = 0.5 * (first + last), 0.5 * expansion * (last - first + 1)
    return max(0, int(centre - half)), min(side, int(centre + half))


def _ends(mask: Mask, *, axis: int) -> tuple[int, int]:
    """Return the first and last row (axis 0) or column (axis 1) that holds a pixel."""
    found = np.flatnonzero(np.any(mask, axis=1 - axis))
    return int(found[0]), int(found[-1])


def _index(position: float, side: int) -> int:
    """Return the pixel that a click lies on: its index is the nearest whole number."""
    return min(max(int(position + 0.5), 0), side - 1)
