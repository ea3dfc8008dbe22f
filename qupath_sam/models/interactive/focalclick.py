"""FocalClick: a coarse answer in a crop round the object, then a refined one where the click has changed it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.models.base import Capabilities
from qupath_sam.models.devices import Execution
from qupath_sam.models.interactive.crops import FocusBox, ZoomRule, focus, whole
from qupath_sam.models.interactive.segmenter import Asked, ClickSegmenter
from qupath_sam.networks.interactive.models import Coarse, FocalNetwork

#: After so many clicks only the part in focus changes.
_ONLY_FOCUS_AFTER = 10


class FocalClickSegmenter(ClickSegmenter[FocalNetwork]):
    """FocalClick, by the rules of its evaluation: nothing is mirrored, and a mask begins at a probability of .5.

    Args:
        networks, capabilities, execution: see `ClickSegmenter`.
        infer_size: side of the squares that the network and its refiner see, px.
    """

    threshold: ClassVar[float] = 0.5

    def __init__(
        self,
        networks: list[FocalNetwork],
        *,
        capabilities: Capabilities,
        execution: Execution,
        infer_size: int = 256,
    ) -> None:
        super().__init__(networks, capabilities=capabilities, execution=execution)
        self._infer_size = infer_size
        self._rule = ZoomRule(smallest=10, threshold=0.49)

    def probabilities(self, network: FocalNetwork, asked: Asked) -> Tensor:
        """See `ClickSegmenter.probabilities`."""
        crop = None if len(asked.clicks) == 1 else self._rule.crop(asked.probabilities, asked.positive)
        box = whole(asked.size) if crop is None else crop
        rows, columns = box.slices
        image, previous = (self._resized(each[..., rows, columns]) for each in (asked.image, asked.previous))
        height, width = box.size
        side = self._infer_size
        clicks = asked.clicks.mapped((box.top, box.left), (side / height, side / width))
        coarse = network.answer(image, previous, [clicks])
        over_window = torch.zeros_like(asked.previous)
        over_window[..., rows, columns] = F.interpolate(
            torch.sigmoid(coarse.logits), size=box.size, mode="bilinear", align_corners=True
        )
        within = FocusBox(box.top, box.bottom + 1, box.left, box.right + 1)
        return self._refined(network, asked, coarse, over_window, within)

    def _refined(
        self, network: FocalNetwork, asked: Asked, coarse: Coarse, over_window: Tensor, within: FocusBox
    ) -> Tensor:
        """Return the coarse probabilities with the refined ones in their place."""
        with np.errstate(divide="ignore"):
            logits = torch.logit(over_window[0, 0]).cpu().numpy()
        part = focus(logits, asked.probabilities, asked.newest, within)
        if min(part.size) < 1:
            # A negative click far outside the crop: there is nothing to refine that the coarse answer covers.
            return over_window
        rows, columns = part.slices
        height, width = part.size
        side = self._infer_size
        clicks = asked.clicks.mapped((part.top, part.left), (side / height, side / width))
        refined = network.refiner.refine(
            self._resized(asked.image[..., rows, columns]),
            clicks,
            features=_features(coarse),
            logits=coarse.logits,
            box=self._in_crop(part, within),
        )
        result = asked.previous.clone() if len(asked.clicks) > _ONLY_FOCUS_AFTER else over_window
        result[..., rows, columns] = torch.sigmoid(
            F.interpolate(refined, size=part.size, mode="bilinear", align_corners=True)
        )
        return result

    def _resized(self, part: Tensor) -> Tensor:
        return F.interpolate(part, size=(self._infer_size, self._infer_size), mode="bilinear", align_corners=True)

    def _in_crop(self, part: FocusBox, within: FocusBox) -> tuple[float, float, float, float]:
        """Return the part's left, top, right and bottom in the px of the crop as the network sees it."""
        side = self._infer_size
        down, across = (side / each for each in within.size)
        top, bottom = (max(0.0, min(side, (at - within.top) * down)) for at in (part.top, part.bottom))
        left, right = (max(0.0, min(side, (at - within.left) * across)) for at in (part.left, part.right))
        return left, top, right, bottom


def _features(coarse: Coarse) -> Tensor:
    assert coarse.features is not None, "a FocalNetwork answers with features"
    return coarse.features
