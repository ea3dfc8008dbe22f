"""What a caller may choose, by name. Imports nothing, so that the command line can offer it quickly."""

from __future__ import annotations

from enum import Enum


class MaskChoice(Enum):
    """Which of the masks that a model offers for an ambiguous first prompt."""

    BEST = "best"
    ALL = "all"
    LARGEST = "largest"
    SMALLEST = "smallest"
