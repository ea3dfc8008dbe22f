"""Where outlines turn: the corners of masks and labels on the lattice of pixel edges.

Only corners become vertices, so that all work after this one pass over the image follows the perimeter, not the area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The four pixels round a lattice point, as bits of a code: those that are set belong to the label.
ABOVE_LEFT, ABOVE_RIGHT, BELOW_LEFT, BELOW_RIGHT = 1, 2, 4, 8
_SADDLES = (ABOVE_LEFT | BELOW_RIGHT, ABOVE_RIGHT | BELOW_LEFT)
_STRAIGHT = (ABOVE_LEFT | ABOVE_RIGHT, BELOW_LEFT | BELOW_RIGHT, ABOVE_LEFT | BELOW_LEFT, ABOVE_RIGHT | BELOW_RIGHT)

#: How many corners a label has in a lattice point, by code. In a saddle two outlines turn.
_CORNERS_OF_CODE = np.array([0 if code in (0, *_STRAIGHT, 15) else 1 + (code in _SADDLES) for code in range(16)])


@dataclass(frozen=True, slots=True, eq=False)
class Corners:
    """Corners ordered by label, then row, then column.

    A saddle is in it twice, first as the corner whose horizontal edge goes left, then as the one whose edge goes right.

    Attributes:
        x, y: lattice position, intp ``(n,)``.
        label: integer ``(n,)``.
        code: uint8 ``(n,)``, which of the four pixels round the point belong to the label.
    """

    x: NDArray[np.intp]
    y: NDArray[np.intp]
    label: NDArray[np.integer[Any]]
    code: NDArray[np.uint8]

    @classmethod
    def concatenate(cls, parts: Sequence[Corners]) -> Corners:
        """Return all corners of ``parts``, whose labels rise from part to part."""
        return cls(
            np.concatenate([part.x for part in parts]),
            np.concatenate([part.y for part in parts]),
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.code for part in parts]),
        )


def corners_of_mask(mask: NDArray[np.bool_], label: int) -> Corners:
    """Return the corners of a bool ``(H, W)`` mask.

    Only the rows and columns that hold anything are looked at closely.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    top, bottom = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, 0)
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = (int(columns[0]), int(columns[-1]) + 1) if columns.size else (0, 0)
    x, y, pixels = _turning_points(mask[top:bottom, left:right])
    code = np.packbits(pixels, axis=1, bitorder="little").ravel()
    point = np.repeat(np.arange(code.size), _CORNERS_OF_CODE[code])
    return Corners(x[point] + left, y[point] + top, np.full(point.size, label), code[point])


def corners_of_labels(labels: NDArray[np.integer[Any]]) -> Corners:
    """Return the corners of every label but 0 of an integer ``(H, W)`` image."""
    x, y, pixels = _turning_points(labels)
    # One code for each of the four pixels: which of the others are of its label.
    code = np.packbits(pixels[:, :, None] == pixels[:, None, :], axis=2, bitorder="little")[:, :, 0]
    lower_bits = np.array([0, 1, 3, 7], np.uint8)
    is_first_of_its_label = (code & lower_bits) == 0
    count = _CORNERS_OF_CODE[code] * (is_first_of_its_label & (pixels != 0))
    pixel = np.repeat(np.arange(count.size), count.ravel())  # still in raster order: four in a row are one point
    pixel = pixel[stable_order(pixels.ravel()[pixel])]
    return Corners(x[pixel >> 2], y[pixel >> 2], pixels.ravel()[pixel], code.ravel()[pixel])


def is_saddle(code: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return whether the label has just the two pixels of one diagonal."""
    return np.isin(code, _SADDLES)


def stable_order(values: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """Sort stably, as argsort. For 16 bits numpy's is a radix sort, several times faster than for wider types."""
    if values.size and values.min() >= 0 and values.max() < 2**16:
        values = values.astype(np.uint16)
    return np.argsort(values, kind="stable")


def _turning_points(image: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
    """Return lattice points where outlines turn, in raster order: x, y, and the four pixels round each, ``(n, 4)``."""
    height, width = image.shape
    padded = np.zeros((height + 2, width + 2), image.dtype)
    padded[1:-1, 1:-1] = image
    beside = padded[:, :-1] != padded[:, 1:]
    below = padded[:-1] != padded[1:]
    # Where all outlines pass straight, the four pixels differ in one direction only.
    turns = (beside[:-1] | beside[1:]) & (below[:, :-1] | below[:, 1:])
    y, x = np.divmod(np.flatnonzero(turns), width + 1)
    above_left = y * (width + 2) + x
    around = above_left[:, None] + np.array([0, 1, width + 2, width + 3])
    return x, y, padded.ravel()[around]
