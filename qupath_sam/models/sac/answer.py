"""The answer of Segment Any Cell's decoder: all points of an image at once, one semantic mask of all cells."""

from __future__ import annotations

import torch
from torch import Tensor

from qupath_sam.models.sac.prompts import Points
from qupath_sam.networks.canvas import CANVAS_SIZE
from qupath_sam.networks.network import PromptableNetwork


def semantic_logits(network: PromptableNetwork, embedding: Tensor, points: Points, *, dense_position: Tensor) -> Tensor:
    """Return logits ``(1, 1, 256, 256)`` of cells over the model's square: the mask for unambiguous prompts.

    Args:
        network: tuned by Segment Any Cell.
        embedding: of one image, ``(1, 256, 64, 64)``.
        points: generated ones and the expert's; without any the decoder gets no prompt at all.
        dense_position: ``prompt_encoder.get_dense_pe()``.
    """
    asked = None
    if len(points):
        # SAM adds one half to what it takes for pixel indices; see `PromptableNetwork.decode`.
        xy = torch.from_numpy(points.xy).to(embedding.device) * (network.input_size / CANVAS_SIZE) - 0.5
        asked = xy[None], torch.from_numpy(points.positive).to(embedding.device, torch.int64)[None]
    decoded = network.decode(embedding, asked, None, None, dense_position=dense_position)
    return decoded.logits[:, :1]
