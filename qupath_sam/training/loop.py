"""The training loop: forward, loss, backward, step; one answer of one session at a time.

A pool of sessions runs at once (`pool`). Every optimiser step takes one answer of each: ``batch * accumulate`` answers.
A session that ends makes room for one on the same crop, or on the next one of the order. Sessions on one crop share
its encoding, and its gradient. All that is random comes from one generator and the order from the seed, so a run that
is stopped between two steps goes on as if it had not been.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from qupath_sam.errors import InvalidRequest
from qupath_sam.networks.network import PromptableNetwork
from qupath_sam.training.forward import Forward
from qupath_sam.training.objective import answer_loss
from qupath_sam.training.optimiser import make_optimizer, update_average
from qupath_sam.training.pool import Crops, SessionPool
from qupath_sam.training.scenarios import trainable_parameters
from qupath_sam.training.schedule import learning_rate_factor
from qupath_sam.training.settings import TrainingSettings

#: Gradients of a group of parameters are scaled down to this norm.
_LARGEST_GRADIENT = 1.0
#: Of answers with several masks, how often the session goes on from the one with the highest score, as a user's does;
#: else from the one that is nearest to the truth.
_OWN_CHOICE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class StepReport:
    """Figures of one optimiser step.

    Attributes:
        step, epoch, prompts, seconds: of the run so far.
        answers: that it learnt from.
        loss: mean over its answers.
        first_answers: how many of them were the first to an object.
        first_iou, later_iou: mean IoU of first and of later answers; None where there were none.
    """

    step: int
    epoch: float
    prompts: int
    seconds: float
    learning_rate: float
    answers: int
    loss: float
    first_answers: int
    first_iou: float | None
    later_iou: float | None


@dataclass(slots=True, eq=False)
class Progress:
    """How far a run is.

    Attributes:
        step: optimiser steps done.
        prompts: answers trained on.
        seconds: spent in steps.
    """

    step: int = 0
    prompts: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Learnt:
    """One answer that the network has learnt from.

    Attributes:
        loss: of it.
        iou: of the mask that a user would see with the truth.
        is_first: whether it is the first answer to its object.
    """

    loss: float
    iou: float
    is_first: bool


class Trainer:
    """Trains the parts of a network that `prepare_scenario` left trainable.

    Args:
        network: on its device.
        crops: to train on.
        settings: how.
        normalise: pixels in 0..255 to what the encoder takes; used only where the encoder is trained.
    """

    def __init__(
        self,
        network: PromptableNetwork,
        crops: Crops,
        settings: TrainingSettings,
        *,
        normalise: Callable[[Tensor], Tensor],
    ) -> None:
        self.network = network
        self.crops = crops
        self.settings = settings
        self.trained = trainable_parameters(network)
        if not self.trained:
            raise InvalidRequest("nothing of this network is trained; name parts with --train")
        self.device = next(iter(self.trained.values())).device
        if network.refinement_head is not None:
            network.refinement_head.to(memory_format=torch.channels_last)
        self.random = np.random.default_rng(settings.seed)
        self.progress = Progress()
        self.pool = SessionPool(crops, settings, self.random)
        self.forward = Forward(network, settings, normalise=normalise, random=self.random, device=self.device)
        self.optimizer = make_optimizer(self.trained, settings)
        self.average = {name: parameter.detach().clone() for name, parameter in self.trained.items()}

    @property
    def share_done(self) -> float:
        """The share of the run that is done, 0..1, by the nearest limit."""
        epochs, done = self.pool.drawn / len(self.crops), self.progress
        return self.settings.length.share_done(epochs=epochs, steps=done.step, seconds=done.seconds)

    def run(self) -> Iterator[StepReport]:
        """Step until the run's length is reached; between two reports the run may be saved, or stopped."""
        while self.share_done < 1:
            yield self.step()

    def step(self) -> StepReport:
        """Take one optimiser step.

        Raises:
            InvalidRequest: training diverged, or no crop has anything to learn from.
        """
        started = time.perf_counter()
        progress = self.progress
        self.pool.fill()
        learning_rate = self._set_learning_rate()
        learnt: list[Learnt] = []
        for crops in self.pool.by_crop():
            learnt += self._learn_crops(crops)
        if not np.isfinite([each.loss for each in learnt]).all():
            raise InvalidRequest(f"training diverged at step {progress.step}; use a lower learning rate (--lr)")
        for group in self.optimizer.param_groups:
            clip_grad_norm_(group["params"], _LARGEST_GRADIENT)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.prompts += len(learnt)
        update_average(self.average, self.trained, step=progress.step)
        progress.seconds += time.perf_counter() - started
        return self._report(learnt, learning_rate)

    def _set_learning_rate(self) -> float:
        """Set the rate of each group of parameters for this step; return ``settings.learning_rate`` as it is now."""
        settings = self.settings
        factor = learning_rate_factor(
            settings.schedule, progress=self.share_done, step=self.progress.step, warm_up=settings.warm_up
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        return settings.learning_rate * factor

    def _learn_crops(self, crops: Mapping[int, Sequence[int]]) -> list[Learnt]:
        """Encode some crops once each, and learn from all their sessions.

        Args:
            crops: places in the pool's sessions by crop.
        """
        embeddings = self.forward.encode([self.pool.load(crop) for crop in crops])  # (V, 256, 64, 64)
        # The encoder's backward pass is made once, with what all sessions have to say.
        shared = embeddings.detach().requires_grad_(self.forward.trains_encoder)
        rows = {crop: row for row, crop in enumerate(crops)}
        learnt: list[Learnt] = []
        for places in self._alike([place for each in crops.values() for place in each]):
            learnt += self._learn(places, shared[[rows[self.pool.sessions[place].crop] for place in places]])
        if shared.grad is not None:
            embeddings.backward(shared.grad)  # type: ignore[no-untyped-call]
        return learnt

    def _alike(self, places: Sequence[int]) -> list[list[int]]:
        """Group sessions that can go through the decoder together: those with prompts of one shape; singly on a CPU."""
        if self.device.type == "cpu":
            return [[place] for place in places]
        groups: dict[tuple[int, bool, bool], list[int]] = {}
        for place in places:
            session = self.pool.sessions[place]
            shape = len(session.clicks), session.box is None, session.previous is None
            groups.setdefault(shape, []).append(place)
        return list(groups.values())

    def _learn(self, places: Sequence[int], embedding: Tensor) -> list[Learnt]:
        """Run forward and backward of B sessions, which then go on or make room for others.

        Args:
            places: of the sessions in the pool.
            embedding: of their crops, ``(B, 256, 64, 64)``.
        """
        sessions = [self.pool.sessions[place] for place in places]
        crops = [self.pool.load(session.crop) for session in sessions]
        truth = torch.from_numpy(np.stack([s.truth for s in sessions])).to(self.device, torch.float32)[:, None]
        answer = self.forward.answer(sessions, crops, embedding, truth)
        loss = answer_loss(answer, truth, sessions, alpha=self.settings.focal_alpha)  # (B,)
        (loss.sum() / len(self.pool.sessions)).backward()  # type: ignore[no-untyped-call]

        shown, wanted = answer.shown(), truth[:, 0] > 0.5  # (B, 256, 256)
        iou = ((shown > 0) & wanted).sum((1, 2)) / ((shown > 0) | wanted).sum((1, 2)).clamp_min(1)
        following = shown if self.random.random() < _OWN_CHOICE_SHARE else answer.best_logits()
        learnt = []
        for i, (place, session) in enumerate(zip(places, sessions, strict=True)):
            learnt.append(Learnt(float(loss[i].detach()), float(iou[i]), session.answers == 0))
            if not session.go_on(following[i], self.random, self.settings.mix):
                self.pool.sessions[place] = self.pool.begin()
        return learnt

    def _report(self, learnt: Sequence[Learnt], learning_rate: float) -> StepReport:
        first = [each.iou for each in learnt if each.is_first]
        later = [each.iou for each in learnt if not each.is_first]
        return StepReport(
            step=self.progress.step,
            epoch=self.pool.drawn / len(self.crops),
            prompts=self.progress.prompts,
            seconds=self.progress.seconds,
            learning_rate=learning_rate,
            answers=len(learnt),
            loss=float(np.mean([each.loss for each in learnt])),
            first_answers=len(first),
            first_iou=float(np.mean(first)) if first else None,
            later_iou=float(np.mean(later)) if later else None,
        )
