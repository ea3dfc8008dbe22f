"""How outlines are refined: which prompts an old outline becomes, and what a new one has to fulfil."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from qupath_sam.engine.refine_guards import Guards
from qupath_sam.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """Which prompts an outline is turned into.

    A mask prompt alone holds the answer at the old outline. One point in the middle, which the engine takes as a second
    step, lets go of it; without the mask the answer is freer still, and more often another object. ``qupath-sam bench
    refine`` measures this for any model. Models that were not trained on clicks do better without the point.

    Attributes:
        outline: the old outline as mask prompt.
        box: its bounds as box.
        box_margin: by what share of its longer side the box is wider.
        interior: most points inside, at the places deepest in it.
        exterior: most points outside, in holes and in the corners of the box.
    """

    outline: bool = True
    box: bool = True
    box_margin: float = 0.05
    interior: int = 1
    exterior: int = 0


@dataclass(frozen=True, slots=True)
class RefineOptions:
    """How outlines are refined.

    Attributes:
        prompts: which prompts an old outline becomes.
        guards: what a new outline has to fulfil.
        coarsest_mpp: outlines that do not fit into one window at this scale, um per px (on images without a pixel size
            a downsample), are refused; 0 asks about any.
        along_border: those outlines are refined along their border instead, window by window at ``coarsest_mpp``.
        remember: the outlines are right, and come back as they are; the tokens of the answers name what the model
            remembers, for the next plane of the stack (`qupath_sam.engine.tracking`).
    """

    prompts: PromptOptions = field(default_factory=PromptOptions)
    guards: Guards = field(default_factory=Guards)
    coarsest_mpp: float = 2.0
    along_border: bool = False
    remember: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.coarsest_mpp) and self.coarsest_mpp >= 0):
            raise InvalidRequest(f"coarsest_mpp must be a number of at least 0, got {self.coarsest_mpp}")
        if min(self.prompts.interior, self.prompts.exterior) < 0:
            raise InvalidRequest("numbers of points must not be negative")
        if not (math.isfinite(self.prompts.box_margin) and self.prompts.box_margin >= 0):
            raise InvalidRequest(f"box_margin must be a share of at least 0, got {self.prompts.box_margin}")
