"""Whether an outline is still the one that was made, by a text in an object's metadata."""

from __future__ import annotations

import hashlib

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry


def fingerprint(outline: BaseGeometry) -> str:
    """Return the same text for the same outline, and another one as soon as a vertex has moved by .01 px.

    QuPath rounds to that. The order of vertices and parts, which files may change, does not count. The Java client's
    `Outlines.fingerprint` returns the same.

    Args:
        outline: level-0 px.
    """
    places = np.floor(shapely.get_coordinates(outline) * 100 + 0.5).astype(np.int64)
    texts = sorted({f"{x},{y}" for x, y in places.tolist()})
    return hashlib.sha256(" ".join(texts).encode("ascii")).hexdigest()[:16]
