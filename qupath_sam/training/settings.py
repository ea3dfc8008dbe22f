"""How a run trains: all that decides its result beside the data, in one value that goes into the checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from qupath_sam.datasets.options import WindowChoice
from qupath_sam.errors import InvalidRequest
from qupath_sam.networks.network import DecoderKind, Parts
from qupath_sam.training.sampling import PromptMix
from qupath_sam.training.scenarios import LoraSettings, Trainable
from qupath_sam.training.schedule import WARM_UP_STEPS, Schedule


@dataclass(frozen=True, slots=True)
class Length:
    """When a run ends: at the first limit that is reached. A limit in minutes cannot be repeated exactly.

    Attributes:
        epochs: times each crop is drawn.
        steps: of the optimiser.
        minutes: spent in steps, over all resumptions.
    """

    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.epochs, self.steps, self.minutes) if limit is not None]
        if not limits or min(limits) <= 0:
            raise InvalidRequest("a run needs an end: give --epochs, --steps or --minutes above 0")

    def share_done(self, *, epochs: float, steps: int, seconds: float) -> float:
        """Return the share of a run that is done, 0..1, by the limit that comes first.

        Args:
            epochs, steps, seconds: done so far.
        """
        shares = ((self.epochs, epochs), (self.steps, steps), (self.minutes, seconds / 60))
        return min(1.0, max(now / limit for limit, now in shares if limit is not None))


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The default recipe is the paper's where it has one (Kim et al. 2023, sec. 3.2).

    Attributes:
        trainable: parts that are trained, beside a head.
        parts: of the network.
        length: of the run; the paper's 30 epochs.
        learning_rate: at its highest; 5e-4 in the paper.
        head_learning_rate: of what starts from nothing: the refinement head, the layers that the modified decoder adds.
        encoder_learning_rate: of the encoder, where it is trained; None takes ``learning_rate``.
        focal_alpha: weight of the object's pixels in the normalised focal loss, against 1 - alpha for the background.
            Above .5 where outlines come out too small: the loss divides by what is hard in a crop, and what is missed
            of a large object is much at once.
        masks: that answer a first click: 3, SAM's for ambiguous prompts, of which the best is learnt from (Kirillov et
            al. 2023, appendix A), or 1.
        schedule: how they fall.
        batch, accumulate: an optimiser step learns from the answers of ``batch * accumulate`` sessions; the crops of at
            most ``batch`` go through the network together.
        weight_decay: AdamW's.
        warm_up: optimiser steps over which the learning rate rises.
        mixed_precision: forward in bf16 where the device computes in it.
        augment: other stains, scanners and orientations.
        crops: squares cut from the tiles.
        window: which squares: as the engine chooses them, or as the papers' protocol shows them.
        sessions_per_crop: objects of a crop that are clicked before the next one is drawn. Those of one crop that
            run at once share its encoding, which is most of the cost where the encoder is trained.
        seed: of all that is random.
    """

    trainable: frozenset[Trainable] = frozenset({Trainable.DECODER})
    parts: Parts = field(default_factory=Parts)
    length: Length = field(default_factory=lambda: Length(epochs=30))
    learning_rate: float = 5e-4
    head_learning_rate: float = 2e-3
    encoder_learning_rate: float | None = None
    focal_alpha: float = 0.5
    masks: int = 1
    schedule: Schedule = Schedule.PAPER
    batch: int = 1
    accumulate: int = 8
    weight_decay: float = 0.01
    warm_up: int = WARM_UP_STEPS
    mixed_precision: bool = True
    augment: bool = True
    crops: int = 1000
    window: WindowChoice = WindowChoice.AUTO
    sessions_per_crop: int = 1
    seed: int = 0
    mix: PromptMix = field(default_factory=PromptMix)
    lora: LoraSettings = field(default_factory=LoraSettings)

    def __post_init__(self) -> None:
        if self.masks not in (1, 3):
            raise InvalidRequest(f"a first click has 1 or 3 masks, not {self.masks}; give --masks 1 or 3")
        if self.masks == 3 and self.parts.decoder is not DecoderKind.SAM:
            raise InvalidRequest("the modified decoder gives one mask; leave --masks out, or take --decoder sam")

    def as_json(self) -> dict[str, Any]:
        """Return the settings for checkpoints; enums by value."""
        values = asdict(self)
        values["trainable"] = sorted(part.value for part in self.trainable)
        values["schedule"] = self.schedule.value
        values["window"] = self.window.value
        values["parts"]["decoder"] = self.parts.decoder.value
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain
