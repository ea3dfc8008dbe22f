"""Segment Any Cell's training: LoRA in the encoder, mask decoder and prompt generator learn together.

As published (Na et al. 2024, arXiv 2401.13220, figure 4): the encoder is frozen but for LoRA on the queries and values
of every attention layer, the prompt encoder is frozen, the mask decoder is tuned, and a generator that sees the image
is trained with them; its points are the decoder's prompts, and the decoder gives one semantic mask. Not published, and
our choice: rank, learning rates, losses (cross entropy and Dice, of the mask and of the generator's map alike), all of
`qupath_sam.models.sac.prompts`. No gradient flows from the mask through the points into the generator: choosing them
has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qupath_sam.errors import InvalidRequest
from qupath_sam.models.devices import computes_in_bf16
from qupath_sam.models.sac.answer import semantic_logits
from qupath_sam.models.sac.prompts import NO_POINTS, Points, PromptOptions, choose_points
from qupath_sam.networks.canvas import CANVAS_SIZE
from qupath_sam.networks.network import PromptableNetwork
from qupath_sam.networks.prompt_generator import PromptGenerator
from qupath_sam.training.crop_runs import Progress, kept_share
from qupath_sam.training.embeddings import EncodedCrop
from qupath_sam.training.losses import dice_loss
from qupath_sam.training.schedule import Schedule, learning_rate_factor
from qupath_sam.training.settings import Length

_LARGEST_GRADIENT = 1.0
#: Steps over which the rates rise.
_WARM_UP = 20
GENERATOR = "generator."


class Crops(Protocol):
    """Crops by their place; see `qupath_sam.training.embeddings`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> EncodedCrop: ...


@dataclass(frozen=True, slots=True)
class SacSettings:
    """All that decides the result of a run beside the data.

    Attributes:
        length: of the run.
        learning_rate: of decoder and LoRA, at its highest.
        generator_learning_rate: of the generator, which begins from nothing.
        schedule: how they fall.
        batch: crops of a step.
        weight_decay: AdamW's.
        lora_rank: of the product for queries and of that for values; 0 for none, and then embeddings are kept.
        prompts: which generated points the decoder gets; None trains without a generator (ablation).
        crops: squares cut from the tiles.
        augment: other stains, scanners and orientations.
        mixed_precision: forward in bf16 where the device computes in it.
        seed: of all that is random.
    """

    length: Length
    learning_rate: float = 5e-4
    generator_learning_rate: float = 2e-3
    schedule: Schedule = Schedule.COSINE
    batch: int = 2
    weight_decay: float = 0.01
    lora_rank: int = 4
    prompts: PromptOptions | None = field(default_factory=PromptOptions)
    crops: int = 1000
    augment: bool = True
    mixed_precision: bool = True
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        """For checkpoints; enums by value."""
        values = {**asdict(self), "method": "sac", "schedule": self.schedule.value}
        if self.prompts is not None:
            values["prompts"]["selection"] = self.prompts.selection.value
        return values


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step: what it lost, Dice of the mask and of the generator's map, and points an image."""

    step: int
    epoch: float
    seconds: float
    learning_rate: float
    loss: float
    dice: float
    map_dice: float
    points: float


class SacTrainer:
    """A network with its generator, and all that its next step depends on.

    Args:
        network: on its device, all frozen but what is trained.
        generator: None trains without prompts.
        crops: with embeddings where no LoRA is trained, else without.
        settings: of the run.
        normalise: pixels in 0..255 to what the encoder takes.

    Attributes:
        trained: what is trained, by name; the generator's names begin with `GENERATOR`.
        average: its mean over steps, which is what is shipped.
    """

    def __init__(
        self,
        network: PromptableNetwork,
        generator: PromptGenerator | None,
        crops: Crops,
        settings: SacSettings,
        *,
        normalise: Callable[[Tensor], Tensor],
    ) -> None:
        self.network, self.generator, self.settings = network, generator, settings
        self.progress = Progress()
        self.device = next(network.parameters()).device
        of_network = {name: each for name, each in network.named_parameters() if each.requires_grad}
        of_generator = {f"{GENERATOR}{name}": each for name, each in _parameters(generator)}
        self.trained: dict[str, nn.Parameter] = {**of_network, **of_generator}
        self.average: dict[str, Tensor] = {name: each.detach().clone() for name, each in self.trained.items()}
        groups = [
            {"params": list(part.values()), "base_lr": rate}
            for part, rate in (
                (of_network, settings.learning_rate),
                (of_generator, settings.generator_learning_rate),
            )
            if part
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self._crops = crops
        self._normalise = normalise
        self._bf16 = settings.mixed_precision and computes_in_bf16(self.device)
        with torch.no_grad():
            self._dense_position: Tensor = network.prompt_encoder.get_dense_pe()

    @property
    def share_done(self) -> float:
        """Share of the run that is done, 0..1, by the limit that comes first."""
        epochs, done = self.progress.seen / len(self._crops), self.progress
        return self.settings.length.share_done(epochs=epochs, steps=done.step, seconds=done.seconds)

    def run(self) -> Iterator[StepReport]:
        """Step until the run ends; between two reports it may be saved, or stopped."""
        while self.share_done < 1:
            yield self._step()

    def _step(self) -> StepReport:
        started = time.perf_counter()
        settings, progress = self.settings, self.progress
        factor = learning_rate_factor(settings.schedule, progress=self.share_done, step=progress.step, warm_up=_WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        # A place of the run decides its crop: a resumed run needs no state of random numbers.
        crops = [self._crops[place] for place in range(progress.seen, progress.seen + settings.batch)]
        images = torch.cat([crop.image for crop in crops]).to(self.device)
        truth = torch.stack([_truth(crop) for crop in crops]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            maps = None if self.generator is None else self.generator(images).float()
            points = self._points(maps, len(crops))
            embedding = self._encode(images, crops)
            masks = torch.cat(
                [
                    semantic_logits(self.network, embedding[i : i + 1], each, dense_position=self._dense_position)
                    for i, each in enumerate(points)
                ]
            ).float()
        loss = _loss(masks, truth)
        if maps is not None:
            loss = loss + _loss(maps, truth)
        if not torch.isfinite(loss):
            raise InvalidRequest(f"training diverged at step {progress.step}; use a lower learning rate (--lr)")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained.values(), _LARGEST_GRADIENT)
        self.optimizer.step()
        progress.step += 1
        progress.seen += settings.batch
        self._add_to_average()
        progress.seconds += time.perf_counter() - started
        return StepReport(
            step=progress.step,
            epoch=progress.seen / len(self._crops),
            seconds=progress.seconds,
            learning_rate=settings.learning_rate * factor,
            loss=float(loss.detach()),
            dice=_dice(masks, truth),
            map_dice=0.0 if maps is None else _dice(maps, truth),
            points=sum(map(len, points)) / len(points),
        )

    def _points(self, maps: Tensor | None, count: int) -> list[Points]:
        options = self.settings.prompts
        if maps is None or options is None:
            return [NO_POINTS] * count
        cells = torch.sigmoid(maps.detach())[:, 0].cpu().numpy()
        return [choose_points(each, options) for each in cells]

    def _encode(self, images: Tensor, crops: list[EncodedCrop]) -> Tensor:
        """Return embeddings ``(B, 256, 64, 64)``: kept ones where nothing of the encoder is trained."""
        kept = [crop.embedding for crop in crops if crop.embedding is not None]
        if kept:
            return torch.cat([each.to(self.device, torch.float32) for each in kept])
        # One by one, as some models normalise each image by its own values.
        normalised = torch.cat([self._normalise(image[None]) for image in images.float()])
        embedding: Tensor = self.network.image_encoder(normalised.contiguous(memory_format=torch.channels_last))
        return embedding.float()

    @torch.no_grad()
    def _add_to_average(self) -> None:
        kept = kept_share(self.progress.step, batch=self.settings.batch)
        for name, parameter in self.trained.items():
            self.average[name].lerp_(parameter, 1 - kept)


def _parameters(generator: PromptGenerator | None) -> Iterator[tuple[str, nn.Parameter]]:
    return iter(()) if generator is None else generator.named_parameters()


def _truth(crop: EncodedCrop) -> Tensor:
    """Return fp32 ``(1, 256, 256)``: the share of each px of the canvas that cells cover."""
    cells = torch.from_numpy((crop.labels != 0).astype(np.float32))[None, None]
    return F.interpolate(cells, size=(CANVAS_SIZE, CANVAS_SIZE), mode="area")[0]


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, truth) + dice_loss(logits, truth).mean()


def _dice(logits: Tensor, truth: Tensor) -> float:
    found, cells = logits.detach() > 0, truth > 0.5
    size = int(found.sum() + cells.sum())
    return 2 * int((found & cells).sum()) / size if size else 1.0
