"""An outline that is refined is believed where the answer goes far from it and the model itself is not sure.

A decoder takes an outline for a mask of its own, and where it does not know the tissue it draws another object over
it. Such an answer goes half way back: the outline's signed distance counts as a second voice beside the logits
(docs/science/experiments.md, "Outlines that are made worse").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.types.masks import intersection_over_union

Logits = NDArray[np.float32]

#: An answer goes far from its outline below this IoU of the two, and the model is not sure of it below this score.
NEAR, SURE = 0.87, 0.8
#: The outline's voice: logit at a distance from it of the radius of a disc of its area.
_VOICE = 5.0


def held_to_outline(logits: Logits, outline: Logits, score: float) -> Logits:
    """Return the answer to an outline that came without a click, with the outline's voice where that is needed.

    Args:
        logits: float32 ``(256, 256)`` of the answer over the canvas; left as they are.
        outline: the same of the outline, above 0 inside.
        score: the model's own estimate of the answer's IoU, 0..1.
    """
    inside = outline > 0
    # An outline without an edge on the canvas has no distance from it.
    if score >= SURE or not inside.any() or inside.all() or intersection_over_union(logits > 0, inside) >= NEAR:
        return logits
    radius = np.sqrt(np.count_nonzero(inside) / np.pi)
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    held: Logits = (logits + _VOICE * distance / radius).astype(np.float32)
    return held
