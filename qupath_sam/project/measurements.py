"""Which measurements say something about a shape, and so become wrong when it changes.

QuPath's names: shape features of `ObjectMeasurements` (Area µm^2, Length µm, Circularity, Solidity, Max diameter µm,
Min diameter µm, with a prefix such as "Nucleus: " for parts of cells), and intensity features over a region, which
begin with "ROI: " and state a resolution.
"""

from __future__ import annotations

import re

_SHAPE = re.compile(
    r"^(?:(?:Nucleus|Cell|Cytoplasm|Membrane|ROI)(?:/Cell)?:? )?"
    r"(?:Area|Length|Perimeter|Circularity|Solidity|Eccentricity|area ratio"
    r"|(?:Max|Min|Maximum|Minimum) (?:diameter|caliper)|Centroid [XY])"
    r"(?: (?:µm|um|px|pixels)(?:\^2|²)?)?$",
    re.IGNORECASE,
)
_INTENSITY = re.compile(r"^ROI: .+ per pixel: ")


def depends_on_shape(name: str) -> bool:
    """Whether a measurement of that name was computed from the object's own outline."""
    return bool(_SHAPE.match(name) or _INTENSITY.match(name))
