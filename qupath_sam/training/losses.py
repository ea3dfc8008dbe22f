"""Losses on logits, each of one mask of a batch: ``(B, 1, H, W)`` in, ``(B,)`` out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_EPSILON = 1e-6


def normalised_focal_loss(
    logits: Tensor, target: Tensor, *, weight: Tensor | None = None, alpha: float = 0.5, gamma: float = 2.0
) -> Tensor:
    """Compute the focal loss whose weights sum to one in every mask (Sofiiuk et al. 2019; RITM 2022, sec. 3.4).

    ``-2 alpha_t sum(b log p_t) / sum(b)`` with ``b = (1 - p_t) ** gamma``, ``alpha_t`` being alpha inside the object
    and 1 - alpha outside: with alpha .5 a weighted mean of the cross entropy. No gradient flows through the weights,
    where RITM's code keeps that of ``b`` and detaches the sum alone: the same value, another gradient. So it stays
    as large as the cross entropy's when nearly all pixels are right.

    Args:
        logits: of the mask.
        target: the same shape, 0..1; a soft edge counts to the side it leans to when weighing.
        weight: multiplies ``b``; what is near a click may count more.
        alpha: share of the object's pixels, against the background's.
        gamma: how much right pixels are played down.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    with torch.no_grad():
        inside = target > 0.5
        right = torch.sigmoid(torch.where(inside, logits, -logits))
        weights = (1 - right) ** gamma
        if weight is not None:
            weights = weights * weight
        sides = torch.where(inside, alpha, 1 - alpha)
        weights = 2 * sides * weights / (weights.sum(dim=(1, 2, 3), keepdim=True) + _EPSILON)
    return (weights * entropy).sum(dim=(1, 2, 3))


def dice_loss(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Compute ``1 - (2 |P T| + s) / (|P| + |T| + s)``, probabilities for P (Milletari et al. 2016, V-Net, sec. 3)."""
    probability = torch.sigmoid(logits)
    shared = (probability * target).sum(dim=(1, 2, 3))
    total = probability.sum(dim=(1, 2, 3)) + target.sum(dim=(1, 2, 3))
    return 1 - (2 * shared + smooth) / (total + smooth)


def iou_head_loss(predicted: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Return ``(B,)``: squared error of the predicted IoU, the mean over masks (Kirillov et al. 2023, appendix A).

    Args:
        predicted: ``(B, M)``.
        logits: ``(B, M, H, W)``.
        target: ``(B, 1, H, W)``, 0..1.
    """
    with torch.no_grad():
        mask, truth = logits > 0, target > 0.5
        both = (mask & truth).sum(dim=(2, 3))
        either = (mask | truth).sum(dim=(2, 3)).clamp_min(1)
    return ((predicted - both / either) ** 2).mean(dim=1)
