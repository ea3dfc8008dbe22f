"""The discriminating strategy: which proposals are right already, and what the decoder is asked about the others.

Segment Any Cell (Na et al. 2024, arXiv 2401.13220) discriminates between generated prompts before the decoder sees
them. Its thresholds are published nowhere: these are our choice. Ours works on objects: one positive point each, with
its box and its mask, and an answer counts only where it is about the same object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.engine.automatic.objects import DenseObject
from qupath_sam.engine.logits import OUTLINE_LOGIT
from qupath_sam.models.base import LOW_RES_SIZE, Capabilities, MaskSet, WindowPrompts
from qupath_sam.models.one_object import in_one_piece
from qupath_sam.types.masks import Mask

#: Holes below this area are pinholes, px of a tile.
PINHOLE_AREA = 20.0


@dataclass(frozen=True, slots=True)
class StrategyOptions:
    """When the decoder is asked, and when its answer is taken.

    Attributes:
        sure: proposals with a score of at least this are right already, unless something else speaks against them.
        touching: share of the border beside other objects from which on the decoder is asked.
        solidity: the decoder is asked about shapes below it.
        agreement: least IoU of the answer with the proposal: below, it is about something else.
        box_margin: share of the box's longer side that is added round it.
    """

    sure: float = 0.8
    touching: float = 0.15
    solidity: float = 0.85
    agreement: float = 0.5
    box_margin: float = 0.05


def is_doubtful(proposed: DenseObject, options: StrategyOptions) -> bool:
    """Return whether the decoder is asked about a proposal: it touches others, has a low score or an odd shape."""
    return proposed.score < options.sure or proposed.touching > options.touching or proposed.solidity < options.solidity


def prompts_of(
    proposed: DenseObject, size: tuple[int, int], capabilities: Capabilities, options: StrategyOptions
) -> WindowPrompts:
    """Return one positive point, the box and the mask of a proposal, as far as the model takes them.

    Args:
        proposed: of the window.
        size: ``(height, width)`` of the window, px.
        capabilities: of the model.
        options: gives the margin of the box.
    """
    height, width = size
    min_x, min_y, max_x, max_y = proposed.box
    margin = options.box_margin * max(max_x - min_x, max_y - min_y)
    box = max(min_x - margin, 0.0), max(min_y - margin, 0.0), min(max_x + margin, width), min(max_y + margin, height)
    points = [proposed.point] if capabilities.points else []
    return WindowPrompts(
        points=np.asarray(points, np.float32).reshape(-1, 2),
        labels=np.ones(len(points), np.int64),
        box=box if capabilities.boxes else None,
        logits=_logits(proposed, size) if capabilities.mask_prompt else None,
        last_click=len(points),
    )


def _logits(proposed: DenseObject, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the mask over the window as logits of a previous mask."""
    whole = np.zeros(size, np.float32)
    left, top = proposed.at
    height, width = proposed.mask.shape
    whole[top : top + height, left : left + width] = proposed.mask
    if size != (LOW_RES_SIZE, LOW_RES_SIZE):
        scaled = Image.fromarray(whole).resize((LOW_RES_SIZE, LOW_RES_SIZE), Image.Resampling.BILINEAR)
        whole = np.asarray(scaled)
    return np.where(whole > 0.5, OUTLINE_LOGIT, -OUTLINE_LOGIT).astype(np.float32)


def better_mask(proposed: DenseObject, answer: MaskSet, options: StrategyOptions) -> Mask | None:
    """Return the decoder's first mask in one piece; None where it is not about the proposed object.

    Args:
        proposed: of the window.
        answer: to `prompts_of` it.
        options: gives the least agreement.

    Returns:
        bool ``(height, width)`` over the window, without parts that do not hold the object's point and without
        pinholes: a box beside the point asks the decoder for all that is in it.
    """
    column, row = (int(value) for value in proposed.point)
    mask = in_one_piece(answer.masks[0], [(row, column)], [], pinhole_area=PINHOLE_AREA)
    left, top = proposed.at
    height, width = proposed.mask.shape
    both = int(np.count_nonzero(mask[top : top + height, left : left + width] & proposed.mask))
    either = int(np.count_nonzero(mask)) + proposed.area - both
    return mask if both >= options.agreement * either else None
