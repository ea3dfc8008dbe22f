"""Whether a person has changed an object since it was found, by what its metadata says of it as it was then.

QuPath's scripts write and read the same metadata (`Corrections.java`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from shapely.geometry.base import BaseGeometry

from qupath_sam.qupath.annotations import PREFIX
from qupath_sam.qupath.fingerprint import fingerprint

#: The `fingerprint` of an object's outline, and its class, when it was found; objects of the first versions have none.
OUTLINE, FOUND_CLASS = f"{PREFIX}outline", f"{PREFIX}found_class"
#: Its name and own colour then, where it had any: what is carried through a stack takes those of its source.
FOUND_NAME, FOUND_COLOUR = f"{PREFIX}found_name", f"{PREFIX}found_colour"
#: Where QuPath keeps the description of an object.
DESCRIPTION = "ANNOTATION_DESCRIPTION"


def marks_of(outline: BaseGeometry, path_class: str | None) -> dict[str, str]:
    """Return the metadata by which a correction of a found object, which has neither name nor colour, is known.

    Args:
        outline: level-0 px.
        path_class: None for none.
    """
    return {FOUND_CLASS: class_text(path_class), OUTLINE: fingerprint(outline)}


def is_corrected(
    metadata: Mapping[str, str],
    outline: BaseGeometry,
    *,
    path_class: str | None,
    probability: float,
    name: str | None,
    color: int | None,
) -> bool:
    """Return whether a person has given an object another outline, class, name, description or colour.

    A class with a probability is a classifier's, not a person's. What the metadata does not say is not compared.

    Args:
        metadata: of the object.
        outline: level-0 px.
        path_class: None for none.
        probability: of the class; NaN where unknown.
        name: None for none.
        color: own colour as packed ARGB; None for none.
    """
    if metadata.get(OUTLINE, made := fingerprint(outline)) != made:
        return True
    found_class = metadata.get(FOUND_CLASS)
    if found_class is None:
        return False
    return (
        (class_text(path_class) != found_class and math.isnan(probability))
        or (name or "").strip() != metadata.get(FOUND_NAME, "").strip()
        or (color is not None and colour_text(color) != metadata.get(FOUND_COLOUR))
        or bool(metadata.get(DESCRIPTION, "").strip())
    )


def class_text(path_class: str | None) -> str:
    """Return a class as the scripts write it."""
    return "null" if path_class is None else path_class


def colour_text(color: int) -> str:
    """Return a packed ARGB as the scripts write it: signed or not, it is the same colour."""
    return f"{color & 0xFFFFFFFF:08x}"
