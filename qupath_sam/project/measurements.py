"""Which measurements say something about a shape, and so become wrong when it changes.

QuPath's names: shape features of `ObjectMeasurements` (Area µm^2, Length µm, Circularity, Solidity, Max diameter µm,
Min diameter µm, with a prefix such as "Nucleus: " for parts of cells); intensity features over a region or round its
centre, which begin with "ROI: ", "Square: " or "Circle: " and state a resolution; and what a pixel classifier has found
in the outline (`PixelClassificationMeasurementManager`): "Tumor area µm^2", and "Tumor %" beside it. Ours are what a
model said of its outline.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_SHAPE = re.compile(
    r"^(?:(?:Nucleus|Cell|Cytoplasm|Membrane|ROI)(?:/Cell)?:? )?"
    r"(?:Area|Length|Perimeter|Circularity|Solidity|Eccentricity|area ratio"
    r"|(?:Max|Min|Maximum|Minimum) (?:diameter|caliper)|Centroid [XY])"
    r"(?: (?:µm|um|px|pixels)(?:\^2|²)?)?$",
    re.IGNORECASE,
)
_INTENSITY = re.compile(r"^(?:ROI|Square|Circle): .+ per pixel: ")
_OURS = ("SAM score", "SAM IoU with old outline")
_AREA_UNITS = ("µm^2", "mm^2", "px^2")


def depends_on_shape(name: str, names: Collection[str] = ()) -> bool:
    """Return whether a measurement of that name was computed from the object's own outline.

    Args:
        name: the measurement's.
        names: of all measurements of the object: only they tell a pixel classifier's share from another percentage.
    """
    if name in _OURS or _SHAPE.match(name) or _INTENSITY.match(name):
        return True
    if name.endswith(tuple(f" area {unit}" for unit in _AREA_UNITS)):
        return True
    of, _, sign = name.rpartition(" ")
    return sign == "%" and any(f"{of} area {unit}" in names for unit in _AREA_UNITS)
