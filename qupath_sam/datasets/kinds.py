"""Kinds of objects: what a data set labels decides how its tiles are cropped, scored and balanced."""

from __future__ import annotations

import enum
import re


class Kind(enum.Enum):
    """What the labelled objects are."""

    REGION = "region"
    """Tumour regions and other tissue compartments, larger than a gland."""
    GLAND = "gland"
    """Glands, glomeruli, vessels."""
    NUCLEUS = "nucleus"
    """Nuclei or cells, dark on bright: H&E, immunohistochemistry."""
    BRIGHT_NUCLEUS = "bright nucleus"
    """Nuclei or cells, bright on dark: fluorescence."""


#: Beginnings of words in names of data sets, for those whose index says nothing.
_WORDS = {
    Kind.REGION: ("camelyon", "bcss", "ocdc", "tumour", "tumor", "region", "tissue"),
    Kind.GLAND: ("ebhi", "gland", "rings", "glas", "glomerul", "crag"),
}
_BRIGHT = ("fluorescence", "dapi", "hoechst", "immunofluorescence")


def kind_of(name: str, *, stated: str = "", stain: str = "") -> Kind:
    """Return the kind of a data set's objects.

    Args:
        name: of the data set; its words decide where nothing is stated, and nuclei are the rest.
        stated: the column ``kind`` of its index, empty where it has none.
        stain: the column ``stain``.

    Raises:
        ValueError: an unknown kind.
    """
    bright = any(word in stain.lower() for word in _BRIGHT)
    if stated:
        kind = Kind(stated.strip().lower().replace("_", " "))
        return Kind.BRIGHT_NUCLEUS if kind is Kind.NUCLEUS and bright else kind
    if bright or any(word in name.lower() for word in _BRIGHT):
        return Kind.BRIGHT_NUCLEUS
    words = re.findall("[a-z]+", name.lower())
    known = ((kind, any(word.startswith(beginnings) for word in words)) for kind, beginnings in _WORDS.items())
    return next((kind for kind, found in known if found), Kind.NUCLEUS)
