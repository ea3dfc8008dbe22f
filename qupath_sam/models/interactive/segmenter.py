"""The common part of the three houses: the window's pixels are the embedding, and each click runs the whole network.

What their own code keeps from click to click, this keeps nowhere: the mask so far comes back as the previous logits,
and the crop follows from it each time. Their crop stays where it was while the object stays roughly inside, so ours
moves a little more often.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.errors import UnsupportedPrompt
from qupath_sam.models.adapters.promptable import check_prompt
from qupath_sam.models.base import LOW_RES_SIZE, Capabilities, Embedding, MaskSet, WindowPrompts
from qupath_sam.models.devices import Execution, out_of_memory_mapped
from qupath_sam.networks.interactive.clicks import PixelClicks
from qupath_sam.networks.interactive.models import ClickNetwork

N = TypeVar("N", bound=ClickNetwork)

#: Logits are kept within plus and minus this: outside their crop these models are sure of the background.
_LOGIT_LIMIT = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One object in one window, as the networks want it; all on the device.

    Attributes:
        image: RGB ``(1, 3, H, W)`` in 0..1.
        previous: probabilities ``(1, 1, H, W)`` of the mask so far; 0 where there is none.
        clicks: all so far.
        newest: row and column of the newest click; None where it is not known which that is.
        is_first: whether no mask came with the clicks.
    """

    image: Tensor
    previous: Tensor
    clicks: PixelClicks
    newest: tuple[float, float] | None
    is_first: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.image.shape[-2], self.image.shape[-1]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """The mask so far, ``(H, W)``."""
        found: NDArray[np.float32] = self.previous[0, 0].cpu().numpy()
        return found

    @property
    def positive(self) -> NDArray[np.float32]:
        """Row and column of the positive clicks, ``(N, 2)``."""
        found: NDArray[np.float32] = self.clicks.places[self.clicks.positive].cpu().numpy()
        return found


class ClickSegmenter(abc.ABC, Generic[N]):
    """A `Segmenter` round networks that take clicks and a previous mask, and nothing else.

    Args:
        networks: with their weights, one; or one for each of the first clicks, the last one for all that follow. They
            are taken over.
        capabilities: of the model.
        execution: the device; the networks compute in fp32, as their authors have them.
    """

    #: Changes with anything that alters what is kept of a window.
    preprocessing: ClassVar[str] = "pixels-1"
    #: Probability above which a pixel is in the mask.
    threshold: ClassVar[float] = 0.49

    def __init__(self, networks: Sequence[N], *, capabilities: Capabilities, execution: Execution) -> None:
        with out_of_memory_mapped(execution.device):
            self.networks = [network.eval().requires_grad_(False).to(execution.device) for network in networks]
        self.execution = execution
        self._capabilities = capabilities

    @property
    def capabilities(self) -> Capabilities:
        """The prompts that these weights take, and the masks that they give."""
        return self._capabilities

    @property
    def preprocessing_version(self) -> str:
        """Version of what is kept of a window: its pixels, unchanged."""
        return self.preprocessing

    @abc.abstractmethod
    def probabilities(self, network: N, asked: Asked) -> Tensor:
        """Return probabilities ``(1, 1, H, W)`` over the window."""

    def embed(self, pixels: NDArray[np.uint8]) -> Embedding:
        """Keep the window's pixels: ``pixels``, uint8 ``(1, 3, H, W)``; see `Segmenter.embed`."""
        with out_of_memory_mapped(self.execution.device):
            # A copy: the pixels may be read-only, and torch would warn.
            image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].contiguous()
            return Embedding({"pixels": image.to(self.execution.device)}, (pixels.shape[0], pixels.shape[1]))

    def decode(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> list[MaskSet]:
        """Decode the masks of several objects, one each; see `Segmenter.decode`."""
        for prompt in prompts:
            check_prompt(prompt, self._capabilities)
            if not len(prompt.points):
                raise UnsupportedPrompt("this model takes clicks; give one beside the outline, or choose another model")
        with out_of_memory_mapped(self.execution.device), torch.inference_mode():
            image = embedding.tensors["pixels"].to(self.execution.device).float() / 255
            return [self._answer(image, prompt) for prompt in prompts]

    def _answer(self, image: Tensor, prompt: WindowPrompts) -> MaskSet:
        asked = self._asked(image, prompt)
        network = self.networks[min(len(asked.clicks), len(self.networks)) - 1]
        found = self.probabilities(network, asked)
        mask = found[0, 0] > self.threshold
        logits = (torch.logit(found.double()).float() - _logit(self.threshold)).clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)
        small = F.interpolate(logits, size=(LOW_RES_SIZE, LOW_RES_SIZE), mode="bilinear", antialias=True)
        return MaskSet(
            masks=mask[None].cpu().numpy(),
            scores=np.array([expected_iou(found[0, 0], mask)], np.float32),
            logits=small[0].cpu().numpy(),
        )

    def _asked(self, image: Tensor, prompt: WindowPrompts) -> Asked:
        device = image.device
        previous = torch.zeros_like(image[:, :1])
        if prompt.logits is not None:
            logits = torch.from_numpy(prompt.logits).to(device, torch.float32)[None, None]
            over_window = F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
            previous = torch.sigmoid(over_window + _logit(self.threshold))
        # From x and y on pixel edges to row and column of pixel indices.
        places = torch.from_numpy(prompt.points[:, ::-1] - np.float32(0.5)).to(device, torch.float32)
        newest = places[-1].tolist() if prompt.last_click else None
        return Asked(
            image,
            previous,
            PixelClicks(places, torch.from_numpy(prompt.labels == 1).to(device)),
            None if newest is None else (newest[0], newest[1]),
            is_first=prompt.logits is None,
        )


def expected_iou(probabilities: Tensor, mask: Tensor) -> float:
    """Return the IoU that a mask should have if each pixel's probability is right; 0 for an empty mask.

    These networks give no estimate of their own, and this one is as good as their probabilities are.
    """
    inside = probabilities[mask].sum()
    union = mask.sum() + probabilities[~mask].sum()
    return float(inside / union) if union > 0 else 0.0


def mirrored_answer(network: ClickNetwork, image: Tensor, previous: Tensor, clicks: PixelClicks) -> Tensor:
    """Return logits ``(1, 1, H, W)``: the mean of the answer and of the mirrored image's."""
    both = network.answer(
        torch.cat([image, image.flip(3)]),
        torch.cat([previous, previous.flip(3)]),
        [clicks, clicks.flipped(image.shape[-1])],
    ).logits
    return 0.5 * (both[:1] + both[1:].flip(3))


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
