"""What goes from stage to stage while a promptable model answers: the decoder's drafts, the head's corrections."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qupath_sam.networks.canvas import CanvasPrompts
from qupath_sam.networks.mask_decoder import Decoded
from qupath_sam.networks.refinement_head import RegionPlan
from qupath_sam.networks.refinement_region import RefinementRegion


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """The mask decoder's answer to one prompt, before the refinement head and the rules of clicks.

    Attributes:
        decoded: of one prompt, best score first; on the device.
        logits: the same logits on the host, float32 ``(M, 256, 256)`` over the model's square.
        scores: the same scores on the host, ``(M,)``.
        previous: logits of the mask so far over the model's square, on the host, fp32 ``(256, 256)``; None where there
            is none.
    """

    decoded: Decoded
    logits: NDArray[np.float32]
    scores: NDArray[np.float32]
    previous: Tensor | None

    def only_best(self) -> Draft:
        """Return the same with the best mask alone."""
        return replace(self, decoded=self.decoded.only_first(), logits=self.logits[:1], scores=self.scores[:1])


def drafts_of(decoded: Decoded, previous: Tensor | None) -> list[Draft]:
    """Bring a batch to the host, in one transfer each.

    Args:
        decoded: of B prompts.
        previous: masks so far over the model's square, fp32 ``(B, 1, 256, 256)``; None where there are none.
    """
    logits, scores = decoded.logits.float().cpu().numpy(), decoded.scores.float().cpu().numpy()
    so_far = [None] * len(scores) if previous is None else list(previous[:, 0].cpu())
    return [Draft(*each) for each in zip(decoded.one_by_one(), logits, scores, so_far, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class HeadInput:
    """One mask for the refinement head.

    Attributes:
        decoded: of one prompt, with this mask alone.
        asked: what was asked.
        plan: where the head works.
    """

    decoded: Decoded
    asked: CanvasPrompts
    plan: RegionPlan


@dataclass(frozen=True, slots=True, eq=False)
class HeadOutput:
    """The head's correction of one mask.

    Attributes:
        logits: float32 ``(256, 256)`` over the canvas, on the host.
        in_region: ``(R, R)``, the same over the region, on the device.
        region: where the head worked.
    """

    logits: NDArray[np.float32]
    in_region: Tensor
    region: RefinementRegion


def together(tensors: list[Tensor]) -> Tensor:
    """Several of ``(1, ...)`` as ``(B, ...)``; where all are one and the same, that one."""
    if all(each is tensors[0] for each in tensors):
        return tensors[0]
    return torch.cat(tensors)
