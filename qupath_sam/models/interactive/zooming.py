"""RITM and SimpleClick: crop round the object, enlarge, answer twice (as it is and mirrored), paste."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.models.base import Capabilities
from qupath_sam.models.devices import Execution
from qupath_sam.models.interactive.crops import ZoomBox, ZoomRule, overlap, whole
from qupath_sam.models.interactive.segmenter import Asked, ClickSegmenter, mirrored_answer
from qupath_sam.networks.interactive.models import ClickNetwork, RitmNetwork, SimpleClickNetwork

#: SimpleClick stays with the whole image while the crop would have at least this in common with it.
_STAYS_WHOLE = 0.5


class RitmSegmenter(ClickSegmenter[RitmNetwork]):
    """RITM, by the rules of its evaluation ("cvpr"): the first click sees the window as it is, later ones a crop.

    Args:
        networks, capabilities, execution: see `ClickSegmenter`.
        target_size: longer side of the crop as the network sees it, px.
    """

    def __init__(
        self,
        networks: list[RitmNetwork],
        *,
        capabilities: Capabilities,
        execution: Execution,
        target_size: int = 400,
    ) -> None:
        super().__init__(networks, capabilities=capabilities, execution=execution)
        self._target_size = target_size
        self._rule = ZoomRule()

    def probabilities(self, network: RitmNetwork, asked: Asked) -> Tensor:
        """See `ClickSegmenter.probabilities`."""
        box = None if len(asked.clicks) == 1 else self._rule.crop(asked.probabilities, asked.positive)
        if box is None:
            return torch.sigmoid(mirrored_answer(network, asked.image, asked.previous, asked.clicks))
        scale = self._target_size / max(box.size)
        height, width = (max(1, round(side * scale)) for side in box.size)
        return answer_in_crop(network, asked, box, (height, width))


class SimpleClickSegmenter(ClickSegmenter[SimpleClickNetwork]):
    """SimpleClick, by the rules of its evaluation: each crop is stretched to the one square that its ViT takes."""

    def __init__(self, networks: list[SimpleClickNetwork], *, capabilities: Capabilities, execution: Execution) -> None:
        super().__init__(networks, capabilities=capabilities, execution=execution)
        self._rule = ZoomRule()

    def probabilities(self, network: SimpleClickNetwork, asked: Asked) -> Tensor:
        """See `ClickSegmenter.probabilities`."""
        everything = whole(asked.size)
        box = None if asked.is_first else self._rule.crop(asked.probabilities, asked.positive)
        if box is None or overlap(box, everything) >= _STAYS_WHOLE:
            box = everything
        side = network.size.image_size
        return answer_in_crop(network, asked, box, (side, side))


def answer_in_crop(network: ClickNetwork, asked: Asked, box: ZoomBox, size: tuple[int, int]) -> Tensor:
    """Return probabilities ``(1, 1, H, W)`` over the window: those of the crop as the network sees it, 0 elsewhere.

    Args:
        network: with its weights.
        asked: what is asked.
        box: of the crop.
        size: height and width of the crop as the network sees it, px.
    """
    rows, columns = box.slices
    image, previous = (
        F.interpolate(each[..., rows, columns], size=size, mode="bilinear", align_corners=True)
        for each in (asked.image, asked.previous)
    )
    height, width = box.size
    clicks = asked.clicks.mapped((box.top, box.left), (size[0] / height, size[1] / width))
    found = torch.sigmoid(mirrored_answer(network, image, previous, clicks))
    over_window = torch.zeros_like(asked.previous)
    over_window[..., rows, columns] = F.interpolate(found, size=box.size, mode="bilinear", align_corners=True)
    return over_window
