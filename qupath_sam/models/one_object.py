"""One object is one object: what is answered to clicks hangs together and has no pinholes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.types.masks import Mask

#: A hole is a pinhole below this share of the object.
PINHOLE_SHARE = 0.004
#: Row and column of a pixel.
Pixel = tuple[int, int]


def in_one_piece(mask: Mask, positive: Sequence[Pixel], negative: Sequence[Pixel], *, pinhole_area: float) -> Mask:
    """Return the mask without parts that no positive click points at and without pinholes.

    A part (4-connected) stays where a positive click lies in it, or where it is the nearest to a click that lies in
    none. A hole below ``pinhole_area`` or `PINHOLE_SHARE` of the object is filled, unless a negative click lies in it.

    Args:
        mask: bool ``(H, W)``; left as it is.
        positive, negative: pixels of the clicks, in the mask; without a positive one the mask comes back unchanged.
        pinhole_area: px.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not positive or not rows.size:
        return mask
    # Nothing changes outside the mask's box; with one px around it, what is outside hangs together there.
    top, left = max(0, int(rows[0]) - 1), max(0, int(columns[0]) - 1)
    box = slice(top, int(rows[-1]) + 2), slice(left, int(columns[-1]) + 2)
    kept = _clicked_parts(mask[box], [(row - top, column - left) for row, column in positive])
    kept |= _pinholes(kept, [(row - top, column - left) for row, column in negative], area=pinhole_area)
    result = np.zeros_like(mask)
    result[box] = kept
    return result


def _clicked_parts(mask: Mask, pixels: Sequence[Pixel]) -> Mask:
    parts, count = ndimage.label(mask)
    if count == 1:
        return mask.copy()
    clicked = {_at(parts, pixel) or _nearest(parts, pixel) for pixel in pixels}
    kept: Mask = np.isin(parts, list(clicked))
    return kept


def _pinholes(mask: Mask, pixels: Sequence[Pixel], *, area: float) -> Mask:
    holes, count = ndimage.label(~mask)
    small = np.bincount(holes.ravel(), minlength=count + 1) < max(area, PINHOLE_SHARE * np.count_nonzero(mask))
    small[0] = False
    # What reaches the border is no hole.
    small[np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))] = False
    for pixel in pixels:
        small[_at(holes, pixel)] = False
    found: Mask = small[holes]
    return found


def _at(labels: NDArray[np.integer], pixel: Pixel) -> int:
    """Return the label of a pixel; 0 outside."""
    row, column = pixel
    inside = 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]
    return int(labels[row, column]) if inside else 0


def _nearest(parts: NDArray[np.integer], pixel: Pixel) -> int:
    """Return the number of the part that is nearest to a pixel."""
    rows, columns = np.nonzero(parts)
    nearest = int(np.argmin((rows - pixel[0]) ** 2 + (columns - pixel[1]) ** 2))
    return int(parts[rows[nearest], columns[nearest]])
