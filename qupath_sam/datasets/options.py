"""What a caller may choose, by name. Imports nothing, so that the command line can offer it quickly."""

from __future__ import annotations

import enum


class Target(enum.Enum):
    """What counts as one object."""

    INSTANCES = "instances"
    """Each label of a tile."""
    REGION = "region"
    """All foreground of a tile at once, as the papers segment the tumour of a patch."""


class WindowChoice(enum.Enum):
    """Which pixels the model sees."""

    IMAGE = "image"
    """The whole image as one window: the papers' protocol."""
    AUTO = "auto"
    """The windows that the engine chooses from the prompts alone: the product."""
