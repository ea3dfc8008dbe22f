"""What the dense head minimises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.networks.dense_head import FOREGROUND

_SMOOTH = 1.0
#: Of the distances against the foreground, and of the background's pixels in them: most of a crop is background.
_DISTANCE_WEIGHT, _BACKGROUND_WEIGHT = 4.0, 0.5


def dense_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum cross entropy and Dice of the foreground, and the squared error of both distances.

    Args:
        logits: ``(B, 3, H, W)`` of the head.
        targets: ``(B, 3, H, W)`` in 0..1, as `qupath_sam.training.dense.targets.dense_targets` makes them.

    Returns:
        The mean over the batch.
    """
    foreground, truth = logits[:, FOREGROUND], targets[:, FOREGROUND]
    entropy = F.binary_cross_entropy_with_logits(foreground, truth)
    chance = torch.sigmoid(foreground)
    both = (chance * truth).sum(dim=(1, 2))
    dice = 1 - (2 * both + _SMOOTH) / (chance.sum(dim=(1, 2)) + truth.sum(dim=(1, 2)) + _SMOOTH)
    weight = truth + _BACKGROUND_WEIGHT * (1 - truth)
    error = (torch.sigmoid(logits[:, FOREGROUND + 1 :]) - targets[:, FOREGROUND + 1 :]) ** 2
    distances = (error.sum(dim=1) * weight).sum() / weight.sum()
    return entropy + dice.mean() + _DISTANCE_WEIGHT * distances
