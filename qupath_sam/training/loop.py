"""The training loop: forward, loss, backward, step; one answer of one session at a time.

A pool of sessions runs at once. Every optimiser step takes one answer of each: ``batch * accumulate`` answers. A
session that ends makes room for one on the same view, or on the next one of the order, which is shuffled anew each
epoch. Sessions on one view share its encoding, and its gradient. All that is random comes from one generator and the
order from the seed, so a run that is stopped between two steps goes on as if it had not been.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from qupath_sam.errors import InvalidRequest
from qupath_sam.models.devices import computes_in_bf16
from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasPrompts
from qupath_sam.networks.histology_decoder import ADDED_PARTS
from qupath_sam.networks.mask_decoder import Decoded
from qupath_sam.networks.network import PromptableNetwork
from qupath_sam.networks.refinement_head import Refined, refine
from qupath_sam.networks.refinement_region import cut, cut_image
from qupath_sam.networks.stages import late_map
from qupath_sam.training.embeddings import EncodedView
from qupath_sam.training.losses import dice_loss, iou_head_loss, normalised_focal_loss
from qupath_sam.training.sampling import Session, start_session
from qupath_sam.training.scenarios import Trainable, trainable_parameters, trains_encoder
from qupath_sam.training.schedule import learning_rate_factor
from qupath_sam.training.settings import TrainingSettings

#: Decoder logits are clamped to this before the loss: beyond, nothing is learnt.
_DECODER_LIMIT = 20.0
_DECODER_WEIGHT_BESIDE_HEAD, _IOU_WEIGHT = 0.7, 0.3
#: How much more the head is held to the error that the newest click points at, and to what was right before it.
_CLICKED_ERROR_WEIGHT, _KEPT_WEIGHT = 3.0, 0.5
_LARGEST_GRADIENT = 1.0
#: Of answers with several masks, how often the session goes on from the one with the highest score, as a user's does;
#: else from the one that is nearest to the truth.
_OWN_CHOICE_SHARE = 0.5
#: Beside a head, which share of answers train the decoder, by how many came before: its backward pass is half the time.
_DECODER_SHARE = ((1, 1.0), (3, 0.35), (21, 0.12))
_AVERAGE_DECAY = 0.997
_ENCODER = "image_encoder."
#: What begins from nothing learns faster than what is pretrained.
_NEW = ("refinement_head.", *(f"mask_decoder.{part}" for part in ADDED_PARTS))


class Views(Protocol):
    """Views by index; see `qupath_sam.training.embeddings`."""

    def __len__(self) -> int:
        """Views of an epoch."""
        ...

    def __getitem__(self, index: int) -> EncodedView:
        """View ``index % len`` as epoch ``index // len`` shows it."""
        ...


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one optimiser step saw.

    Attributes:
        step, epoch, prompts, seconds: of the run so far.
        answers: that it learnt from.
        loss: mean over its answers; None where it had none to learn from.
        first_answers: how many of them were the first to an object.
        first_iou, later_iou: mean IoU of first and of later answers; None where there were none.
    """

    step: int
    epoch: float
    prompts: int
    seconds: float
    learning_rate: float
    answers: int
    loss: float | None
    first_answers: int
    first_iou: float | None
    later_iou: float | None


@dataclass(slots=True, eq=False)
class Progress:
    """Where a run stands, beside the weights.

    Attributes:
        step: optimiser steps done.
        prompts: answers trained on.
        drawn: views taken from the order.
        seconds: spent in steps.
        sessions: that are running.
        view: drawn last.
        sessions_left: that may still begin on it.
    """

    step: int = 0
    prompts: int = 0
    drawn: int = 0
    seconds: float = 0.0
    sessions: list[Session] = field(default_factory=list)
    view: int = 0
    sessions_left: int = 0


class Trainer:
    """Trains the parts of a network that `prepare_scenario` left trainable.

    Args:
        network: on its device.
        views: to train on.
        settings: how.
        normalise: pixels in 0..255 to what the encoder takes; used only where the encoder is trained.
    """

    def __init__(
        self,
        network: PromptableNetwork,
        views: Views,
        settings: TrainingSettings,
        *,
        normalise: Callable[[Tensor], Tensor],
    ) -> None:
        self.network = network
        self.views = views
        self.settings = settings
        self.normalise = normalise
        self.random = np.random.default_rng(settings.seed)
        self.progress = Progress()
        self.trained = trainable_parameters(network)
        if not self.trained:
            raise InvalidRequest("nothing of this network is trained; name parts with --train")
        self.device = next(iter(self.trained.values())).device
        self._in_bf16 = settings.mixed_precision and computes_in_bf16(self.device)
        self.optimizer = _optimizer(self.trained, settings)
        self.average = {name: parameter.detach().clone() for name, parameter in self.trained.items()}
        self._encodes = trains_encoder(settings.trainable)
        self._keeps_early = Trainable.LATE_ENCODER in settings.trainable
        self._loaded: dict[int, EncodedView] = {}
        if network.refinement_head is not None:
            network.refinement_head.to(memory_format=torch.channels_last)
        with torch.no_grad():
            self._dense_position: Tensor = network.prompt_encoder.get_dense_pe()

    @property
    def share_done(self) -> float:
        """How much of the run is done, 0..1; whichever limit is nearest."""
        length, done = self.settings.length, self.progress
        shares = [
            done.drawn / (length.epochs * len(self.views)) if length.epochs else 0.0,
            done.step / length.steps if length.steps else 0.0,
            done.seconds / (60 * length.minutes) if length.minutes else 0.0,
        ]
        return min(1.0, max(shares))

    def run(self) -> Iterator[StepReport]:
        """Step until the run's length is reached; between two reports the run may be saved, or stopped."""
        while self.share_done < 1:
            yield self.step()

    def step(self) -> StepReport:
        """One optimiser step.

        Raises:
            InvalidRequest: training diverged, or no view has anything to learn from.
        """
        started = time.perf_counter()
        settings, progress = self.settings, self.progress
        while len(progress.sessions) < settings.batch * settings.accumulate:
            progress.sessions.append(self._next_session())
        factor = learning_rate_factor(
            settings.schedule, progress=self.share_done, step=progress.step, warm_up=settings.warm_up
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        losses: list[float] = []
        ious: list[tuple[int, float]] = []
        for views in self._views_of_sessions():
            self._learn_views(views, losses, ious)
        if not np.isfinite(losses).all():
            raise InvalidRequest(f"training diverged at step {progress.step}; use a lower learning rate (--lr)")
        for group in self.optimizer.param_groups:
            clip_grad_norm_(group["params"], _LARGEST_GRADIENT)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.prompts += len(losses)
        self._update_average()
        progress.seconds += time.perf_counter() - started
        return StepReport(
            step=progress.step,
            epoch=progress.drawn / len(self.views),
            prompts=progress.prompts,
            seconds=progress.seconds,
            learning_rate=settings.learning_rate * factor,
            answers=len(losses),
            loss=_mean(losses),
            first_answers=sum(answers == 0 for answers, _ in ious),
            first_iou=_mean([iou for answers, iou in ious if answers == 0]),
            later_iou=_mean([iou for answers, iou in ious if answers > 0]),
        )

    def _views_of_sessions(self) -> list[dict[int, list[int]]]:
        """Running sessions by their views, as many views together as a batch has sessions."""
        of_view: dict[int, list[int]] = {}
        for index, session in enumerate(self.progress.sessions):
            of_view.setdefault(session.view, []).append(index)
        views, batch = list(of_view), self.settings.batch
        return [{view: of_view[view] for view in views[i : i + batch]} for i in range(0, len(views), batch)]

    def _learn_views(
        self, views: Mapping[int, Sequence[int]], losses: list[float], ious: list[tuple[int, float]]
    ) -> None:
        """Encode some views once each, and learn from all their sessions."""
        embeddings = self._embedding([self._view(view) for view in views])
        # The encoder's backward pass is made once, with what all sessions have to say.
        shared = embeddings.detach().requires_grad_(self._encodes)
        places = {view: place for place, view in enumerate(views)}
        for indices in self._alike([index for each in views.values() for index in each]):
            rows = [places[self.progress.sessions[index].view] for index in indices]
            self._learn(indices, shared[rows], losses, ious)
        if shared.grad is not None:
            embeddings.backward(shared.grad)  # type: ignore[no-untyped-call]

    def _alike(self, indices: Sequence[int]) -> list[list[int]]:
        """Sessions that can go through the decoder together: those with prompts of one shape; singly on a CPU."""
        if self.device.type == "cpu":
            return [[index] for index in indices]
        groups: dict[tuple[int, bool, bool], list[int]] = {}
        for index in indices:
            session = self.progress.sessions[index]
            shape = len(session.clicks), session.box is None, session.previous is None
            groups.setdefault(shape, []).append(index)
        return list(groups.values())

    def _learn(
        self, indices: Sequence[int], embedding: Tensor, losses: list[float], ious: list[tuple[int, float]]
    ) -> None:
        """Forward and backward of some sessions, which then go on or make room for others."""
        sessions = [self.progress.sessions[index] for index in indices]
        truth = torch.from_numpy(np.stack([s.truth for s in sessions])).to(self.device, torch.float32)[:, None]
        answer = self._answer(sessions, embedding, truth)
        loss = _loss(answer, truth, sessions, alpha=self.settings.focal_alpha)
        learns = loss.requires_grad  # a box alone may be for a decoder that is not trained
        if learns:
            (loss.sum() / len(self.progress.sessions)).backward()  # type: ignore[no-untyped-call]
            losses += loss.detach().tolist()
        shown = answer.shown()
        wanted = truth[:, 0] > 0.5
        iou = ((shown > 0) & wanted).sum((1, 2)) / ((shown > 0) | wanted).sum((1, 2)).clamp_min(1)
        following = shown if self.random.random() < _OWN_CHOICE_SHARE else answer.best_logits()
        for index, session, own, value in zip(indices, sessions, following, iou.tolist(), strict=True):
            if learns:
                ious.append((session.answers, value))
            if not session.go_on(own, self.random, self.settings.mix):
                self.progress.sessions[index] = self._next_session()

    def _answer(self, sessions: Sequence[Session], embedding: Tensor, truth: Tensor) -> _Answer:
        """The masks of the decoder, and what the head makes of the one that is nearest to the truth."""
        prompts = [session.prompts() for session in sessions]
        answers = max(session.answers for session in sessions)
        views = [self._view(session.view) for session in sessions]
        head = self.network.refinement_head
        learns_decoder = head is None or self.random.random() < _decoder_share(answers)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bf16):
            with nullcontext() if learns_decoder else torch.no_grad():
                decoded = self.network.decode(
                    embedding, *network_prompts(prompts, self.network, self.device), dense_position=self._dense_position
                )
            several = self.settings.masks > 1 and sessions[0].is_ambiguous
            masks = slice(1, None) if several else slice(0, 1)
            decoded = Decoded(
                decoded.logits[:, masks].float().clamp(-_DECODER_LIMIT, _DECODER_LIMIT),
                decoded.scores[:, masks].float(),
                decoded.features.float(),
            )
            losses = _mask_losses(decoded.logits, truth, alpha=self.settings.focal_alpha)
            best = losses.detach().argmin(dim=1)
            if head is None:
                return _Answer(decoded, losses, best, None)
            rows = torch.arange(len(best), device=best.device)
            nearest = Decoded(
                decoded.logits[rows, best][:, None], decoded.scores[rows, best][:, None], decoded.features
            )
            image = torch.cat([view.image for view in views]).to(self.device)
            refined = refine(head, image, head.project(embedding), nearest, prompts, jitter=self.random)
            return _Answer(decoded, losses, best, refined)

    def _embedding(self, views: Sequence[EncodedView]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bf16):
            return self._encoded(views).float()

    def _encoded(self, views: Sequence[EncodedView]) -> Tensor:
        encoder = self.network.image_encoder
        if not self._encodes or self._keeps_early:
            kept = [view.embedding.to(self.device, torch.float32) for view in views if view.embedding is not None]
            return late_map(encoder, torch.cat(kept)) if self._keeps_early else torch.cat(kept)
        pixels = torch.cat([view.image for view in views]).to(self.device).float()
        # One by one, as some models normalise each image by its own values.
        images = torch.cat([self.normalise(image[None]) for image in pixels])
        embedding: Tensor = encoder(images)
        return embedding

    def _next_session(self) -> Session:
        progress = self.progress
        if progress.sessions_left == 0:
            self._draw_view()
        progress.sessions_left -= 1
        view = self._view(progress.view)
        pixels = view.image[0].permute(1, 2, 0).numpy()
        return start_session(progress.view, view.labels, view.targets, self.random, self.settings.mix, image=pixels)

    def _draw_view(self) -> None:
        """Go on to the next view of the order that has something to learn from."""
        count, progress = len(self.views), self.progress
        for _ in range(count):
            epoch, place = divmod(progress.drawn, count)
            order = np.random.default_rng((self.settings.seed, epoch)).permutation(count)
            index = epoch * count + int(order[place])
            progress.drawn += 1
            view = self.views[index]
            if view.targets:
                self._loaded = {s.view: self._view(s.view) for s in progress.sessions}
                self._loaded[index] = view
                progress.view, progress.sessions_left = index, self.settings.sessions_per_view
                return
        raise InvalidRequest("no view shows an object large enough to learn from; check the data sets' masks")

    def _view(self, index: int) -> EncodedView:
        if index not in self._loaded:
            self._loaded[index] = self.views[index]
        return self._loaded[index]

    @torch.no_grad()
    def _update_average(self) -> None:
        """An exponential mean of the weights, short at first (Polyak and Juditsky 1992): it is what is shipped."""
        decay = min(_AVERAGE_DECAY, (1 + self.progress.step) / (20 + self.progress.step))
        for name, parameter in self.trained.items():
            self.average[name].lerp_(parameter, 1 - decay)


def network_prompts(
    prompts: Sequence[CanvasPrompts], network: PromptableNetwork, device: torch.device
) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None, Tensor | None]:
    """Points, boxes and masks of prompts of one shape as `PromptableNetwork.decode` takes them."""
    scale = network.input_size / CANVAS_SIZE
    points = boxes = masks = None
    if prompts[0].clicks:
        places = [[((c.x + 0.5) * scale - 0.5, (c.y + 0.5) * scale - 0.5) for c in p.clicks] for p in prompts]
        labels = [[int(c.positive) for c in p.clicks] for p in prompts]
        points = torch.tensor(places, dtype=torch.float32, device=device), torch.tensor(labels, device=device)
    if prompts[0].box is not None:
        corners = [p.box for p in prompts]
        boxes = torch.tensor(corners, dtype=torch.float32, device=device) * scale - 0.5
    if prompts[0].previous is not None:
        masks = torch.stack([p.previous for p in prompts if p.previous is not None])[:, None].to(device)
    return points, boxes, masks


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What a network gives to B prompts while it learns.

    Attributes:
        decoded: M masks each: one, or three where the prompt is ambiguous.
        losses: ``(B, M)``, of the decoder's masks.
        best: ``(B,)``, which of them is nearest to the truth: that one is learnt from and refined.
        refined: None without a head.
    """

    decoded: Decoded
    losses: Tensor
    best: Tensor
    refined: Refined | None

    def best_logits(self) -> Tensor:
        """``(B, 256, 256)`` without gradient: the mask that is nearest to the truth, refined where there is a head."""
        if self.refined is not None:
            return self.refined.logits[:, 0]
        return self._of(self.best)

    def shown(self) -> Tensor:
        """``(B, 256, 256)`` without gradient: the mask with the highest score, as a user gets it.

        Unrefined where it is another than the best.
        """
        first = self.decoded.scores.detach().argmax(dim=1)
        return torch.where((first == self.best)[:, None, None], self.best_logits(), self._of(first))

    def _of(self, index: Tensor) -> Tensor:
        return self.decoded.logits.detach()[torch.arange(len(index), device=index.device), index]


def _mask_losses(logits: Tensor, truth: Tensor, *, alpha: float) -> Tensor:
    """``(B, M)`` of logits ``(B, M, 256, 256)``, each held to the truth ``(B, 1, 256, 256)``."""
    count, masks = logits.shape[:2]
    each = logits.flatten(0, 1)[:, None]
    same = truth.repeat_interleave(masks, dim=0)
    return (normalised_focal_loss(each, same, alpha=alpha) + dice_loss(each, same)).view(count, masks)


def _loss(answer: _Answer, truth: Tensor, sessions: Sequence[Session], *, alpha: float) -> Tensor:
    """``(B,)``. The head is held to the truth in its region, above all to the clicked error and where it was right.

    Of several masks the nearest to the truth is learnt from, and the scores of all.
    """
    loss = torch.zeros(len(truth), device=truth.device)
    decoded, refined = answer.decoded, answer.refined
    if refined is not None:
        with torch.no_grad():
            fine = torch.from_numpy(np.stack([s.fine_truth for s in sessions])).to(truth)[:, None]
            part = cut_image(fine, refined.regions)
            clicked = torch.from_numpy(np.stack([s.clicked_error() for s in sessions])).to(truth)[:, None]
            weight = 1 + refined.near_newest + _CLICKED_ERROR_WEIGHT * cut(clicked, refined.grid)
            if max(session.answers for session in sessions) >= 3:
                weight = weight + _KEPT_WEIGHT * ((refined.previous_in_region > 0) == (part > 0.5)).float()
        loss = normalised_focal_loss(refined.in_region, part, weight=weight, alpha=alpha)
        loss = loss + dice_loss(refined.in_region, part)
    if decoded.logits.requires_grad:
        rows = torch.arange(len(truth), device=truth.device)
        masks = answer.losses[rows, answer.best]
        final = decoded.logits.detach().clone()
        final[rows, answer.best] = answer.best_logits()  # the score is of what the user sees
        scores = iou_head_loss(decoded.scores, final, truth)
        loss = loss + (1.0 if refined is None else _DECODER_WEIGHT_BESIDE_HEAD) * masks + _IOU_WEIGHT * scores
    return loss


def _optimizer(trained: dict[str, torch.nn.Parameter], settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) with a learning rate for each of `_ENCODER`, `_NEW` and the rest."""
    rates: tuple[tuple[str | tuple[str, ...], float], ...] = (
        (
            _ENCODER,
            settings.learning_rate if settings.encoder_learning_rate is None else settings.encoder_learning_rate,
        ),
        (_NEW, settings.head_learning_rate),
        ("", settings.learning_rate),
    )
    parts: list[list[torch.nn.Parameter]] = [[] for _ in rates]
    for name, parameter in trained.items():
        parts[next(place for place, (names, _) in enumerate(rates) if name.startswith(names))].append(parameter)
    groups = [{"params": part, "base_lr": rate} for part, (_, rate) in zip(parts, rates, strict=True) if part]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay)


def _decoder_share(answers: int) -> float:
    return next((share for below, share in _DECODER_SHARE if answers < below), _DECODER_SHARE[-1][1])


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
