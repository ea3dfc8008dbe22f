"""The optimiser, and the mean of the weights over steps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qupath_sam.networks.histology_decoder import ADDED_PARTS
from qupath_sam.training.settings import TrainingSettings

_AVERAGE_DECAY = 0.997
_ENCODER = "image_encoder."
#: What begins from nothing learns faster than what is pretrained.
_NEW = ("refinement_head.", *(f"mask_decoder.{part}" for part in ADDED_PARTS))


def make_optimizer(trained: Mapping[str, nn.Parameter], settings: TrainingSettings) -> torch.optim.AdamW:
    """Make AdamW (Loshchilov and Hutter 2019) with a learning rate for each of encoder, new parts and the rest.

    Each group keeps its rate as ``base_lr``, which the schedule multiplies.
    """
    of_encoder = settings.encoder_learning_rate
    rates: tuple[tuple[str | tuple[str, ...], float], ...] = (
        (_ENCODER, settings.learning_rate if of_encoder is None else of_encoder),
        (_NEW, settings.head_learning_rate),
        ("", settings.learning_rate),
    )
    parts: list[list[nn.Parameter]] = [[] for _ in rates]
    for name, parameter in trained.items():
        parts[next(place for place, (names, _) in enumerate(rates) if name.startswith(names))].append(parameter)
    groups = [{"params": part, "base_lr": rate} for part, (_, rate) in zip(parts, rates, strict=True) if part]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay)


@torch.no_grad()
def update_average(average: Mapping[str, Tensor], trained: Mapping[str, nn.Parameter], *, step: int) -> None:
    """Move the exponential mean of the weights on by a step, in place (Polyak and Juditsky 1992).

    The mean is what is shipped. It is short at first, so that it does not hold the weights from before training.
    """
    decay = min(_AVERAGE_DECAY, (1 + step) / (20 + step))
    for name, parameter in trained.items():
        average[name].lerp_(parameter, 1 - decay)
