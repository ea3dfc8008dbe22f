"""SAM's mask decoder (Kirillov et al. 2023, appendix A), giving its feature map beside the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from qupath_sam.networks.sam_parts import MaskDecoder, TwoWayTransformer

#: Channels of the map from which every decoder of the family makes its masks.
FEATURE_CHANNELS = 32
_CHANNELS = 256


@dataclass(frozen=True, slots=True)
class Decoded:
    """A mask decoder's output for B prompts.

    Attributes:
        logits: ``(B, M, 256, 256)`` over the model's square; the first mask is the one for unambiguous prompts, the
            others, where there are any, are SAM's three for ambiguous ones.
        scores: ``(B, M)`` predicted IoU.
        features: ``(B, FEATURE_CHANNELS, 256, 256)``, the map that the masks were made from.
    """

    logits: Tensor
    scores: Tensor
    features: Tensor

    def one_by_one(self) -> list[Decoded]:
        """Return the same for each prompt by itself, B of 1."""
        rows = [slice(i, i + 1) for i in range(len(self.scores))]
        return [Decoded(self.logits[row], self.scores[row], self.features[row]) for row in rows]

    def only_first(self) -> Decoded:
        """Return the same with the first mask alone."""
        return Decoded(self.logits[:, :1], self.scores[:, :1], self.features)

    @staticmethod
    def together(several: Sequence[Decoded]) -> Decoded:
        """Return the outputs for several prompts as one; each has as many masks as the others."""
        if len(several) == 1:
            return several[0]
        parts = zip(*((each.logits, each.scores, each.features) for each in several), strict=True)
        return Decoded(*(torch.cat(part) for part in parts))


class DecodesMasks(Protocol):
    """The interface of a mask decoder in `PromptableNetwork`."""

    def decode(self, embedding: Tensor, sparse: Tensor, dense: Tensor, *, dense_position: Tensor) -> Decoded:
        """Decode a batch of prompts; all masks.

        Args:
            embedding: ``(1, 256, 64, 64)`` where all prompts are of one image, else ``(B, 256, 64, 64)``.
            sparse: ``(B, N, 256)``.
            dense: ``(B, 256, 64, 64)``.
            dense_position: ``(1, 256, 64, 64)``.
        """
        ...


def two_way_transformer() -> TwoWayTransformer:
    """Build SAM's: two blocks, eight heads."""
    return TwoWayTransformer(depth=2, embedding_dim=_CHANNELS, mlp_dim=2048, num_heads=8)


class SamMaskDecoder(MaskDecoder):
    """SAM's mask decoder with its parameter names. Unlike the original's, a batch may be of several images."""

    def __init__(self) -> None:
        super().__init__(
            num_multimask_outputs=3,
            transformer=two_way_transformer(),
            transformer_dim=_CHANNELS,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )

    def decode(self, embedding: Tensor, sparse: Tensor, dense: Tensor, *, dense_position: Tensor) -> Decoded:
        """See `DecodesMasks.decode`: four masks."""
        image = embedding + dense
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])[None].expand(len(sparse), -1, -1)
        tokens, image_tokens = self.transformer(image, dense_position, torch.cat([own, sparse], dim=1))
        features = self.output_upscaling(image_tokens.transpose(1, 2).view_as(image))
        weights = torch.stack(
            [layers(tokens[:, 1 + index]) for index, layers in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        logits = torch.einsum("bmc,bchw->bmhw", weights, features)
        return Decoded(logits, self.iou_prediction_head(tokens[:, 0]), features)
