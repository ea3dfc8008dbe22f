"""The steps of a run: batches of embedded crops, AdamW, an average of the weights."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from qupath_sam.models.devices import computes_in_bf16
from qupath_sam.networks.dense_head import DenseHead
from qupath_sam.networks.network import EMBEDDING_CHANNELS, EMBEDDING_SIZE
from qupath_sam.training.crop_runs import Progress, kept_share
from qupath_sam.training.dense.loss import dense_loss
from qupath_sam.training.dense.targets import dense_targets
from qupath_sam.training.embeddings import EncodedCrop
from qupath_sam.training.schedule import Schedule, learning_rate_factor
from qupath_sam.training.settings import Length
from qupath_sam.types.choices import ObjectKind

#: Share of crops that are turned and mirrored with their embedding: nearly what the encoder makes of a turned crop.
_TURNED_SHARE = 0.5
_LARGEST_GRADIENT = 1.0
#: What stands for an embedding where there is none.
NO_EMBEDDING = torch.zeros(1, EMBEDDING_CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE)


class Crops(Protocol):
    """Crops by their place; see `qupath_sam.training.embeddings.EmbeddedCrops`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> EncodedCrop: ...


@dataclass(frozen=True, slots=True)
class DenseSettings:
    """All that decides the result of a run beside the data.

    Attributes:
        length: of the run.
        objects: that are labelled and to be found.
        learning_rate: at its highest.
        schedule: how it falls.
        batch: crops of a step.
        weight_decay: AdamW's.
        crops: squares cut from the tiles.
        without_embedding: share of examples that are fresh crops without an embedding. They cost no encoding, so the
            pixels' part of the head sees many more crops than are encoded.
        augment: other stains, scanners and orientations.
        mixed_precision: forward in bf16 where the device computes in it.
        seed: of all that is random.
    """

    length: Length
    objects: ObjectKind = ObjectKind.NUCLEI
    learning_rate: float = 2e-3
    schedule: Schedule = Schedule.COSINE
    batch: int = 4
    weight_decay: float = 0.01
    crops: int = 1000
    without_embedding: float = 0.0
    augment: bool = True
    mixed_precision: bool = True
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the settings for checkpoints; enums by value."""
        return {**asdict(self), "schedule": self.schedule.value, "objects": self.objects.value}


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step: what it lost, and the foreground's Dice of its batch."""

    step: int
    epoch: float
    seconds: float
    learning_rate: float
    loss: float
    dice: float


class DenseTrainer:
    """A head and all that its next step depends on.

    Args:
        head: on its device.
        crops: with embeddings.
        settings: of the run.
        fresh: crops without embeddings, for a share of the examples.
    """

    def __init__(self, head: DenseHead, crops: Crops, settings: DenseSettings, *, fresh: Crops | None = None) -> None:
        self.head = head
        self.settings = settings
        self.progress = Progress()
        self.device = next(head.parameters()).device
        self.optimizer = torch.optim.AdamW(
            head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.average: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}
        self._crops = crops
        self._fresh = fresh
        self._bf16 = computes_in_bf16(self.device)
        self._order: tuple[int, list[int]] = -1, []

    @property
    def share_done(self) -> float:
        """Share of the run that is done, 0..1, by the limit that comes first."""
        epochs, done = self.progress.seen / len(self._crops), self.progress
        return self.settings.length.share_done(epochs=epochs, steps=done.step, seconds=done.seconds)

    def run(self) -> Iterator[StepReport]:
        """Step until the run ends."""
        while self.share_done < 1:
            yield self._step()

    def _step(self) -> StepReport:
        started = time.perf_counter()
        settings, progress = self.settings, self.progress
        factor = learning_rate_factor(settings.schedule, progress=self.share_done, step=progress.step)
        rate = settings.learning_rate * factor
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        crop, embedding, targets = self._batch()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.mixed_precision and self._bf16):
            logits = self.head(crop, embedding)
        logits = logits.float()
        loss = dense_loss(logits, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), _LARGEST_GRADIENT)
        self.optimizer.step()
        progress.step += 1
        progress.seen += settings.batch
        self._add_to_average()
        progress.seconds += time.perf_counter() - started
        found, truth = logits.detach()[:, 0] > 0, targets[:, 0] > 0
        size = int(found.sum() + truth.sum())
        dice = 2 * int((found & truth).sum()) / size if size else 1.0
        epoch = progress.seen / len(self._crops)
        return StepReport(progress.step, epoch, progress.seconds, rate, float(loss.detach()), dice)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        first = self.progress.seen
        made = [self._example(place) for place in range(first, first + self.settings.batch)]
        crop, embedding, targets = (torch.cat(parts).to(self.device) for parts in zip(*made, strict=True))
        return crop, embedding, targets

    def _example(self, place: int) -> tuple[Tensor, Tensor, Tensor]:
        """Make the crop at a place of the run.

        Each place has random numbers of its own: a resumed run needs no state.
        """
        random = np.random.default_rng((self.settings.seed, place))
        epoch, within = divmod(place, len(self._crops))
        if self._fresh is not None and random.random() < self.settings.without_embedding:
            crop = self._fresh[place]
        else:
            crop = self._crops[self._permutation(epoch)[within]]
        embedding = NO_EMBEDDING if crop.embedding is None else crop.embedding.float()
        parts = [crop.image, embedding, torch.from_numpy(dense_targets(crop.labels))[None]]
        if self.settings.augment and random.random() < _TURNED_SHARE:
            turns, mirrored = int(random.integers(4)), bool(random.random() < 0.5)
            parts = [_turned(part, turns, mirrored=mirrored) for part in parts]
        return parts[0], parts[1], parts[2]

    def _permutation(self, epoch: int) -> list[int]:
        if self._order[0] != epoch:
            random = np.random.default_rng((self.settings.seed, epoch))
            self._order = epoch, random.permutation(len(self._crops)).tolist()
        return self._order[1]

    @torch.no_grad()
    def _add_to_average(self) -> None:
        kept = kept_share(self.progress.step, batch=self.settings.batch)
        state: Mapping[str, Tensor] = self.head.state_dict()
        for name, tensor in self.average.items():
            tensor.lerp_(state[name], 1 - kept)


def _turned(part: Tensor, turns: int, *, mirrored: bool) -> Tensor:
    part = torch.rot90(part, turns, (2, 3))
    return part.flip(3) if mirrored else part
