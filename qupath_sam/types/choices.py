"""What a caller may choose, by name. Imports nothing, so that the command line can offer it quickly."""

from __future__ import annotations

from enum import Enum


class MaskChoice(Enum):
    """Which of the masks that a model offers for an ambiguous first prompt."""

    BEST = "best"
    ALL = "all"
    LARGEST = "largest"
    SMALLEST = "smallest"


class Prompting(Enum):
    """How the objects of a region are found."""

    DEFAULT = "default"
    """Automatic prompts where the model has them, else a grid."""
    GRID = "grid"
    """A grid of clicks, with the filters of SAM's mask generator."""
    AUTOMATIC = "automatic"
    """Prompts that the model generates itself."""
    LIKE = "like"
    """Objects that look like examples."""


class ObjectKind(Enum):
    """Which objects of a region automatic prompts find."""

    NUCLEI = "nuclei"
    GLANDS = "glands"


class Effort(Enum):
    """What the objects of a region may cost."""

    FAST = "fast"
    """The decoder runs only where it is needed most; a coarser grid of clicks."""
    BEST = "best"
    """The best outlines that the model can give."""


class Axis(Enum):
    """Through which planes of a stack an outline is carried."""

    Z = "z"
    T = "t"
