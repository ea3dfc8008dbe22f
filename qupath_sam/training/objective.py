"""What is minimised: the loss of an answer, from the pixel losses of `losses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from qupath_sam.networks.refinement_head import Refined
from qupath_sam.networks.refinement_region import cut, cut_image
from qupath_sam.training.losses import dice_loss, iou_head_loss, normalised_focal_loss
from qupath_sam.training.sampling import Session

if TYPE_CHECKING:
    from qupath_sam.training.forward import Answer

#: Weights of the parts of the loss: the decoder's masks where a head corrects them, and the predicted scores.
_DECODER_WEIGHT_BESIDE_HEAD, _IOU_WEIGHT = 0.7, 0.3
#: How much more the head is held to the error that the newest click points at, and to what was right before it.
_CLICKED_ERROR_WEIGHT, _KEPT_WEIGHT = 3.0, 0.5


def answer_loss(answer: Answer, truth: Tensor, sessions: Sequence[Session], *, alpha: float) -> Tensor:
    """Return the loss of B answers, ``(B,)``: that of the head's masks, the decoder's masks, and the scores.

    Of several masks the nearest to the truth is learnt from, and the scores of all.

    Args:
        answer: to these sessions.
        truth: fp32 ``(B, 1, 256, 256)``.
        sessions: B.
        alpha: of `normalised_focal_loss`.
    """
    loss = torch.zeros(len(truth), device=truth.device)
    decoded, refined = answer.decoded, answer.refined
    if refined is not None:
        loss = _head_loss(refined, truth, sessions, alpha=alpha)
    if decoded.logits.requires_grad:
        rows = torch.arange(len(truth), device=truth.device)
        masks = answer.losses[rows, answer.best]
        final = decoded.logits.detach().clone()
        final[rows, answer.best] = answer.best_logits()  # the score is of what the user sees
        scores = iou_head_loss(decoded.scores, final, truth)
        loss = loss + (1.0 if refined is None else _DECODER_WEIGHT_BESIDE_HEAD) * masks + _IOU_WEIGHT * scores
    return loss


def mask_losses(logits: Tensor, truth: Tensor, *, alpha: float) -> Tensor:
    """Return ``(B, M)`` of logits ``(B, M, 256, 256)``, each held to the truth ``(B, 1, 256, 256)``."""
    count, masks = logits.shape[:2]
    each = logits.flatten(0, 1)[:, None]
    same = truth.repeat_interleave(masks, dim=0)
    return (normalised_focal_loss(each, same, alpha=alpha) + dice_loss(each, same)).view(count, masks)


def _head_loss(refined: Refined, truth: Tensor, sessions: Sequence[Session], *, alpha: float) -> Tensor:
    """Return ``(B,)``: the head against the truth in its region, above all at the clicked error and what was right."""
    with torch.no_grad():
        fine = torch.from_numpy(np.stack([s.fine_truth for s in sessions])).to(truth)[:, None]
        part = cut_image(fine, refined.regions)
        clicked = torch.from_numpy(np.stack([s.clicked_error() for s in sessions])).to(truth)[:, None]
        weight = 1 + refined.near_newest + _CLICKED_ERROR_WEIGHT * cut(clicked, refined.grid)
        if max(session.answers for session in sessions) >= 3:
            weight = weight + _KEPT_WEIGHT * ((refined.previous_in_region > 0) == (part > 0.5)).float()
    loss = normalised_focal_loss(refined.in_region, part, weight=weight, alpha=alpha)
    return loss + dice_loss(refined.in_region, part)
