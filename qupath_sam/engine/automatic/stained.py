"""Nuclei of stained tissue are darker than what surrounds them.

Cracks, lumens and fat are as bright as nuclei are in fluorescence, and a dense head that knows both takes them for
nuclei.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.engine.automatic.objects import DenseObject

#: A tile shows stained tissue on a bright field where its channels differ by more than `COLOUR` on average, and the
#: brightest channel of half of its px is above `BRIGHT`. Grey pictures may be fluorescence.
COLOUR, BRIGHT = 8, 64
#: Width of the ring round an object with which it is compared, px.
RING = 4


def darker_than_around(objects: list[DenseObject], pixels: NDArray[np.uint8]) -> list[DenseObject]:
    """Return the objects that are darker in red than the ring round them; all where the tile shows no stained tissue.

    Args:
        objects: of the tile.
        pixels: uint8 ``(H, W, 3)`` RGB of the tile.
    """
    is_coloured = float(np.ptp(pixels, axis=-1).mean()) > COLOUR
    if not is_coloured or float(np.median(pixels.max(axis=-1))) <= BRIGHT:
        return objects
    # Haematoxylin, and DAB, are dark in red, where eosin is bright.
    brightness = pixels[..., 0].astype(np.float32)
    taken = np.zeros(brightness.shape, np.bool_)
    for each in objects:
        taken[_place(each)] |= each.mask
    return [each for each in objects if _is_darker(each, brightness, taken)]


def _is_darker(each: DenseObject, brightness: NDArray[np.float32], taken: NDArray[np.bool_]) -> bool:
    rows, columns = _place(each)
    top, left = max(0, rows.start - RING), max(0, columns.start - RING)
    around = slice(top, rows.stop + RING), slice(left, columns.stop + RING)
    mask = np.zeros(taken[around].shape, np.bool_)
    mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = each.mask
    ring = ndimage.binary_dilation(mask, iterations=RING) & ~taken[around]
    if not ring.any():  # other objects on all sides say nothing of this one
        return True
    return bool(brightness[around][mask].mean() < brightness[around][ring].mean())


def _place(each: DenseObject) -> tuple[slice, slice]:
    left, top = each.at
    height, width = each.mask.shape
    return slice(top, top + height), slice(left, left + width)
