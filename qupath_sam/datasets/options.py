"""What a caller may choose, by name. Imports nothing, so that the command line can offer it quickly."""

from __future__ import annotations

import enum


class Target(enum.Enum):
    """What counts as one object."""

    INSTANCES = "instances"
    """Each label of a tile."""
    REGION = "region"
    """All foreground of a tile at once, as the papers segment the tumour of a patch."""


class FirstPrompt(enum.Enum):
    """What the simulated user does first."""

    CLICK = "click"
    """A click in the middle of the object."""
    STROKE = "stroke"
    """A stroke through it."""


class Part(enum.Enum):
    """What of a model an evaluation can leave out."""

    SECOND_DECODER = "second-decoder"
    """The decoder that answers first clicks and outlines beside the first one."""
    REFINEMENT_HEAD = "refinement-head"
    """The network that corrects the decoder's answer at the pixels' resolution."""
    WHITE_RULE = "white-rule"
    """That a click into white takes away white alone."""
    CLICK_RULES = "click-rules"
    """That clicks end on their side, and late changes hang together with them."""


class WindowChoice(enum.Enum):
    """Which pixels the model sees."""

    IMAGE = "image"
    """The whole image as one window: the papers' protocol."""
    AUTO = "auto"
    """The windows that the engine chooses from the prompts alone: the product."""
