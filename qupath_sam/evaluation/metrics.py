"""What a click did besides mending the mask. Each with its source and its rule for empty masks.

Masks are bool ``(H, W)`` of one shape; a click's pixel is ``(x, y)``, its column and row.
"""

from __future__ import annotations

import numpy as np
import shapely
from scipy import ndimage

from qupath_sam.polygons.tracing import trace_mask
from qupath_sam.types.masks import Mask, check_same_shape

#: Pixels that touch by an edge or a corner belong together, as in FocalClick's code for local updates.
_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)
#: Of `is_square`: the shortest border, px, the shortest straight piece and the most that may be straight, shares of it.
_SHORTEST_BORDER, _PIECE_SHARE, _SQUARE_SHARE = 160.0, 0.1, 0.2


def harm(before: Mask, after: Mask, truth: Mask) -> float:
    """Return the pixels that were right before a click and are wrong after it, over the object's area.

    The wound that the histopathology papers name ("a local modification affects a large area": Kim et al., sec. 2.3)
    as a number. Before the first click the mask is empty, so the first click's harm is its false positives.

    Returns:
        0 (nothing harmed) upwards; it exceeds 1 where more is spoilt than the object is large.

    Raises:
        ValueError: the object is empty.
    """
    check_same_shape(before, truth)
    check_same_shape(after, truth)
    area = np.count_nonzero(truth)
    if area == 0:
        raise ValueError("harm is measured against the object's area: the object must not be empty")
    return float(np.count_nonzero((before == truth) & (after != truth)) / area)


def locality(before: Mask, after: Mask, pixel: tuple[int, int]) -> float:
    """Return the share of the changed pixels that do not hang together (8-connected) with the pixel that was clicked.

    The changed component that holds the click is what FocalClick's progressive merge would keep (Chen et al. 2022,
    sec. 3.3); the rest changed without a click there.

    Args:
        before: the mask before the click.
        after: the mask after it.
        pixel: ``(x, y)`` of the click.

    Returns:
        0 (only the clicked place changed, or nothing did) to 1 (everything changed but the clicked place).
    """
    check_same_shape(before, after)
    changed = before != after
    total = np.count_nonzero(changed)
    if total == 0:
        return 0.0
    components, _ = ndimage.label(changed, structure=_EIGHT_CONNECTED)
    clicked = components[pixel[1], pixel[0]]
    if clicked == 0:
        return 1.0
    return float(1 - np.count_nonzero(components == clicked) / total)


def is_square(mask: Mask) -> bool:
    """Return whether the border of a mask runs straight along rows or columns for more than a fifth of its length.

    Such an answer shows where a network's window ends, not where an object does. Only pieces longer than a tenth of
    the border count, and only borders of at least 160 px, as small masks are straight in part in any case. The
    image's own border is no sign of anything.

    Args:
        mask: bool ``(H, W)``.
    """
    height, width = mask.shape
    outline = trace_mask(mask)
    straight = 0.0
    for ring in (ring for part in shapely.get_parts(outline) for ring in (part.exterior, *part.interiors)):
        length = ring.length
        if length < _SHORTEST_BORDER:
            continue
        xy = shapely.get_coordinates(ring)
        sides = np.abs(np.diff(xy, axis=0)).max(axis=1)
        middle = (xy[1:] + xy[:-1]) / 2
        inside = (middle > 0).all(axis=1) & (middle[:, 0] < width) & (middle[:, 1] < height)
        straight += sides[inside & (sides > _PIECE_SHARE * length)].sum()
    return bool(straight > _SQUARE_SHARE * outline.length)
