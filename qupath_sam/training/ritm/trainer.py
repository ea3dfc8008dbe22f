"""RITM's training loop: clicks, previous mask and image go through the whole network (Sofiiuk et al. 2022, sec. 3).

Loss, optimiser and schedule are the paper's: normalised focal loss of the mask, cross entropy of the auxiliary head,
Adam, a tenth of the learning rate in the last third. Crops and simulated clicks are those of our own models
(`qupath_sam.training.sampling`), so that the comparison is of networks, not of data; sessions are as short as RITM's.
For the first part of a run the network sees crops at half their size: an answer costs a quarter, and what is learnt
there is most of what there is to learn (progressive resizing, as in Karras et al. 2018, "Progressive growing of GANs").
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from qupath_sam.errors import InvalidRequest
from qupath_sam.models.devices import computes_in_bf16
from qupath_sam.networks.interactive.clicks import PixelClicks
from qupath_sam.networks.interactive.models import RitmNetwork
from qupath_sam.training.loop import Progress, StepReport
from qupath_sam.training.losses import normalised_focal_loss
from qupath_sam.training.pool import Crops, SessionPool
from qupath_sam.training.sampling import PromptMix, Session
from qupath_sam.training.schedule import Schedule, learning_rate_factor
from qupath_sam.training.settings import Length

#: Weight of the auxiliary head's cross entropy (RITM's code, ``models/iter_mask``).
_AUXILIARY_WEIGHT = 0.4
#: The network starts from random numbers, and its first steps are wild.
_LARGEST_GRADIENT = 5.0
_AVERAGE_DECAY = 0.997
#: Sessions of clicks alone: the network takes nothing else. Few clicks, on single objects, as RITM trains: from random
#: weights long sessions would be most of what it sees, before it knows what one click means.
CLICKS = PromptMix(boxes=0, outlines=0, strokes=0, max_prompts=6, unions=0, lumens=0, halves=0)


@dataclass(frozen=True, slots=True)
class RitmSettings:
    """All that decides the result of a run beside the data.

    Attributes:
        length: of the run.
        learning_rate: at its highest; 5e-4 in the paper.
        schedule: how it falls.
        batch: answers of an optimiser step, each to another session.
        focal_alpha: of `qupath_sam.training.losses.normalised_focal_loss`.
        crops: squares cut from the tiles.
        half_size: share of the run, from its beginning, in which the network sees them at half their size.
        augment: other stains, scanners and orientations.
        mixed_precision: forward in bf16 where the device computes in it.
        seed: of all that is random.
        mix: what sessions ask; clicks alone.
    """

    length: Length
    learning_rate: float = 5e-4
    schedule: Schedule = Schedule.PAPER
    batch: int = 8
    focal_alpha: float = 0.5
    crops: int = 1000
    half_size: float = 0.6
    augment: bool = True
    mixed_precision: bool = True
    seed: int = 0
    mix: PromptMix = field(default_factory=lambda: CLICKS)

    @property
    def accumulate(self) -> int:
        """One: a batch is an optimiser step, for batch norm sees batches."""
        return 1

    @property
    def sessions_per_crop(self) -> int:
        """Three: sessions on one crop share no work of the network, but a crop takes as long to make as an answer."""
        return 3

    def as_json(self) -> dict[str, Any]:
        """Return the settings for checkpoints; enums by value."""
        return {**asdict(self), "method": "ritm", "schedule": self.schedule.value}


class RitmTrainer:
    """A network and all that its next step depends on.

    Args:
        network: on its device.
        crops: of 256 px a side, to train on.
        settings: of the run.

    Attributes:
        trained: all of the network's state, the statistics of batch norm included.
        average: its mean over steps, which is what is shipped.
    """

    def __init__(self, network: RitmNetwork, crops: Crops, settings: RitmSettings) -> None:
        self.network = network.train()
        self.settings = settings
        self.device = next(network.parameters()).device
        self.trained: dict[str, Tensor] = network.state_dict()
        self.average = {name: tensor.detach().clone() for name, tensor in self.trained.items()}
        self.optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        self.progress = Progress()
        self.random = np.random.default_rng(settings.seed)
        self.pool = SessionPool(crops, settings, self.random)
        self._crops = crops
        self._bf16 = settings.mixed_precision and computes_in_bf16(self.device)

    @property
    def share_done(self) -> float:
        """The share of the run that is done, 0..1, by the nearest limit."""
        epochs, done = self.pool.drawn / len(self._crops), self.progress
        return self.settings.length.share_done(epochs=epochs, steps=done.step, seconds=done.seconds)

    def run(self) -> Iterator[StepReport]:
        """Step until the run's length is reached; between two reports the run may be saved, or stopped."""
        while self.share_done < 1:
            yield self.step()

    def step(self) -> StepReport:
        """Take one optimiser step, from one answer of each session.

        Raises:
            InvalidRequest: training diverged, or no crop has anything to learn from.
        """
        started = time.perf_counter()
        self.pool.fill()
        rate = self._set_learning_rate()
        sessions = list(self.pool.sessions)
        truth = torch.from_numpy(np.stack([each.truth for each in sessions])).to(self.device, torch.float32)[:, None]
        logits, first_guess = self._answer(sessions)
        loss = normalised_focal_loss(logits, truth, alpha=self.settings.focal_alpha).mean()
        loss = loss + _AUXILIARY_WEIGHT * F.binary_cross_entropy_with_logits(first_guess, truth)
        if not torch.isfinite(loss):
            raise InvalidRequest(f"training diverged at step {self.progress.step}; use a lower learning rate (--lr)")
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.prompts += len(sessions)
        self._add_to_average()
        found = logits.detach()[:, 0]
        wanted = truth[:, 0] > 0.5
        iou = ((found > 0) & wanted).sum((1, 2)) / ((found > 0) | wanted).sum((1, 2)).clamp_min(1)
        first = [float(iou[i]) for i, session in enumerate(sessions) if not session.answers]
        later = [float(iou[i]) for i, session in enumerate(sessions) if session.answers]
        for place, session in enumerate(sessions):
            if not session.go_on(found[place], self.random, self.settings.mix, keep_parts=True):
                self.pool.sessions[place] = self.pool.begin()
        self.progress.seconds += time.perf_counter() - started
        return StepReport(
            step=self.progress.step,
            epoch=self.pool.drawn / len(self._crops),
            prompts=self.progress.prompts,
            seconds=self.progress.seconds,
            learning_rate=rate,
            answers=len(sessions),
            loss=float(loss.detach()),
            first_answers=len(first),
            first_iou=float(np.mean(first)) if first else None,
            later_iou=float(np.mean(later)) if later else None,
        )

    def _answer(self, sessions: Sequence[Session]) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, 1, 256, 256)`` of the mask and of the auxiliary head, fp32, with gradient."""
        images = torch.cat([self.pool.load(session.crop).image for session in sessions])
        images = images.to(self.device).float() / 255
        previous = torch.zeros_like(images[:, :1])
        for place, session in enumerate(sessions):
            if session.previous is not None:
                previous[place, 0] = torch.sigmoid(session.previous.to(self.device))
        clicks = [_pixel_clicks(session, self.device) for session in sessions]
        size = images.shape[-2:]
        if self.share_done < self.settings.half_size:
            images, previous = F.avg_pool2d(images, 2), F.avg_pool2d(previous, 2)
            # The middle of a pixel pair is half an index beyond the first one's.
            clicks = [each.mapped((0.5, 0.5), (0.5, 0.5)) for each in clicks]
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            answer = self.network.answer(images, previous, clicks)
        assert answer.first_guess is not None, "a RitmNetwork has an auxiliary head"
        guess = F.interpolate(answer.first_guess.float(), size=size, mode="bilinear", align_corners=True)
        return F.interpolate(answer.logits.float(), size=size, mode="bilinear", align_corners=False), guess

    def _set_learning_rate(self) -> float:
        factor = learning_rate_factor(self.settings.schedule, progress=self.share_done, step=self.progress.step)
        rate = self.settings.learning_rate * factor
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    @torch.no_grad()
    def _add_to_average(self) -> None:
        decay = min(_AVERAGE_DECAY, (1 + self.progress.step) / (20 + self.progress.step))
        for name, tensor in self.trained.items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:  # batch norm's count of batches
                self.average[name].copy_(tensor)


def _pixel_clicks(session: Session, device: torch.device) -> PixelClicks:
    places = torch.tensor([(click.y, click.x) for click in session.clicks], dtype=torch.float32, device=device)
    return PixelClicks(places, torch.tensor([click.positive for click in session.clicks], device=device))
