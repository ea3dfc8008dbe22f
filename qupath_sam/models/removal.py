"""A click that takes away white, such as a lumen, a vessel or glass, takes away nothing that is stained.

A mask decoder learns what clicks mean from whole objects: after a negative click into a lumen it gives up the gland
(docs/science/experiments.md, "Negative clicks into lumina"). Where the click's place is much lighter than what stays of
the object, only what looks like it goes; elsewhere the decoder's answer stays: where a neighbour of the same stain is
pointed at, black beside a bright nucleus, or a neighbour's lumen, which the object does not border on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.networks.canvas import CanvasClick

Logits = NDArray[np.float32]

#: Difference of optical densities, over the three colours, from which two places look quite different; about twice the
#: difference between pale stroma and dark epithelium. White and stained tissue differ by more.
_DIFFERENT = 1.33
#: Colours are smoothed by so many canvas px, and by so many where a single click shows what the object looks like.
_SMOOTH, _SMOOTH_CLICK = 1.5, 3.0
#: The object borders on white where what stays is at least this share of the ring round it, so many canvas px wide.
_BORDER_SHARE, _BORDER_PX = 0.1, 4
#: So many px of the object at least say what it looks like.
_LEAST_PX = 20
_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def limit_removal(
    new: Logits, old: Logits, click: CanvasClick, positive: Sequence[CanvasClick], rgb: NDArray[np.uint8]
) -> Logits:
    """Return the new logits, with the old ones where a negative click shall have taken nothing away.

    Args:
        new: float32 ``(256, 256)`` over the canvas, after the click; left as they are.
        old: the same before it.
        click: the newest one, negative.
        positive: the object's positive clicks.
        rgb: uint8 ``(256, 256, 3)`` of the canvas.
    """
    removed, stays = (old > 0) & (new <= 0), (old > 0) & (new > 0)
    if not removed[click.pixel] or not (stays.sum() >= _LEAST_PX or positive):
        return new
    density = -np.log((rgb.astype(np.float32) + 1) / 256)
    smooth = ndimage.gaussian_filter(density, (_SMOOTH, _SMOOTH, 0))
    if stays.sum() >= _LEAST_PX:
        own = np.median(smooth[stays], axis=0)
    else:
        softer = ndimage.gaussian_filter(density, (_SMOOTH_CLICK, _SMOOTH_CLICK, 0))
        own = np.mean([softer[each.pixel] for each in positive], axis=0)
    there = smooth[click.pixel]
    if there.sum() >= own.sum() or np.linalg.norm(there - own) < _DIFFERENT:
        return new
    alike = np.linalg.norm(smooth - there, axis=2) < np.linalg.norm(smooth - own, axis=2)
    parts, _ = ndimage.label(removed & alike, structure=_EIGHT_CONNECTED)
    taken = ndimage.binary_fill_holes(parts == parts[click.pixel])
    if stays.sum() >= _LEAST_PX and all(stays[each.pixel] for each in positive):
        ring = ndimage.binary_dilation(taken, structure=_EIGHT_CONNECTED, iterations=_BORDER_PX) & ~taken & (old > 0)
        if np.count_nonzero(ring & stays) < _BORDER_SHARE * np.count_nonzero(ring):
            return new
    limited: Logits = np.where(removed & ~taken, old, new)
    return limited
