"""What a click did besides mending the mask. Each with its source and its rule for empty masks.

Masks are bool ``(H, W)`` of one shape; a click's pixel is ``(x, y)``, its column and row.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from qupath_sam.types.masks import Mask, check_same_shape

#: Pixels that touch by an edge or a corner belong together, as in FocalClick's code for local updates.
_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def harm(before: Mask, after: Mask, truth: Mask) -> float:
    """Pixels that were right before a click and are wrong after it, over the object's area.

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
    """Share of the changed pixels that do not hang together (8-connected) with the pixel that was clicked.

    The changed component that holds the click is what FocalClick's progressive merge would keep (Chen et al. 2022,
    sec. 3.3); the rest changed although nobody pointed there.

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
