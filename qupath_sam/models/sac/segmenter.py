"""A Segment Any Cell model made ready for inference: a square of an image to one semantic mask of its cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qupath_sam.models.devices import Execution, out_of_memory_mapped
from qupath_sam.models.load import ADAPTERS
from qupath_sam.models.sac.answer import semantic_logits
from qupath_sam.models.sac.files import SacWeights
from qupath_sam.models.sac.prompts import NO_POINTS, Points, PromptOptions, choose_points
from qupath_sam.models.spec import default_capabilities
from qupath_sam.models.weights.checkpoints import build_network_with
from qupath_sam.networks.meta import on_meta_device
from qupath_sam.networks.prompt_generator import PromptGenerator


@dataclass(frozen=True, slots=True, eq=False)
class SemanticAnswer:
    """What a model makes of one square.

    Attributes:
        probability: float32 ``(256, 256)`` over the square, that a pixel is of a cell.
        points: the prompts that led to it.
    """

    probability: NDArray[np.float32]
    points: Points


class SacSegmenter:
    """Calls come one at a time, as those of a `Segmenter`.

    Args:
        weights: of `read_sac`; taken over.
        execution: device and number format.
    """

    def __init__(self, weights: SacWeights, execution: Execution) -> None:
        network = build_network_with(weights.network, weights.spec.family)
        self._encoder = ADAPTERS[weights.spec.family](
            network, capabilities=default_capabilities(weights.spec.family), execution=execution
        )
        self._generator: PromptGenerator | None = None
        if weights.generator is not None:
            with on_meta_device():
                generator = PromptGenerator()
            generator.load_state_dict(weights.generator, assign=True)
            self._generator = generator.eval().requires_grad_(False).to(execution.device)
        self._execution = execution
        with torch.inference_mode():
            self._dense_position = network.prompt_encoder.get_dense_pe()
        self.prompts = weights.prompts
        self.sha256 = weights.sha256

    @property
    def generates_prompts(self) -> bool:
        """Whether the model places its prompts itself; else it answers without any."""
        return self._generator is not None

    def generate(self, pixels: NDArray[np.uint8], options: PromptOptions | None = None) -> Points:
        """Place prompts in a square; see `segment`."""
        if self._generator is None:
            return NO_POINTS
        device = self._execution.device
        with out_of_memory_mapped(device), torch.inference_mode():
            image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].to(device)
            cells = torch.sigmoid(self._generator(image))[0, 0].float().cpu().numpy()
        return choose_points(cells, options or self.prompts)

    def segment(
        self, pixels: NDArray[np.uint8], options: PromptOptions | None = None, *, expert: Points | None = None
    ) -> SemanticAnswer:
        """Find the cells of a square window.

        Args:
            pixels: uint8 ``(S, S, 3)`` RGB.
            options: which generated prompts reach the decoder; None takes those of the training.
            expert: points that a person adds, in px of a square of 256.

        Raises:
            ValueError: the window is no square.
            OutOfMemory: the device has no room.
        """
        if pixels.shape[0] != pixels.shape[1]:
            raise ValueError(f"Segment Any Cell sees squares, not {pixels.shape[1]} x {pixels.shape[0]} px")
        points = self.generate(pixels, options).and_also(expert)
        device = self._execution.device
        embedding = self._encoder.embed(pixels)
        with out_of_memory_mapped(device), torch.inference_mode():
            image = embedding.tensors["image"].to(device, torch.float32)
            logits = semantic_logits(self._encoder.network, image, points, dense_position=self._dense_position)
            probability: NDArray[np.float32] = torch.sigmoid(logits.float())[0, 0].cpu().numpy()
        return SemanticAnswer(probability, points)
