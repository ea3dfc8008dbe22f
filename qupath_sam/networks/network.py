"""What all models of the family share: an image encoder, a prompt encoder and a mask decoder under SAM's names.

Source: Segment Anything, Kirillov et al. 2023 (arXiv 2304.02643), whose package `segment_anything` (Apache-2.0)
supplies the prompt encoder and the mask decoder.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from qupath_sam.networks.frozen_decoder import FrozenMaskDecoder
from qupath_sam.networks.histology_decoder import REPLACED_PARTS, HistologyMaskDecoder
from qupath_sam.networks.mask_decoder import Decoded, DecodesMasks, SamMaskDecoder
from qupath_sam.networks.refinement_head import RefinementHead
from qupath_sam.networks.sam_parts import PromptEncoder

#: Cells a side of the embedding, and channels of each; the same for every model of the family.
EMBEDDING_SIZE = 64
EMBEDDING_CHANNELS = 256


class DecoderKind(enum.Enum):
    """Which mask decoder a network has."""

    SAM = "sam"
    HISTOLOGY = "histology"


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a network beside image encoder and prompt encoder; a checkpoint's keys show them.

    Attributes:
        decoder: the mask decoder.
        refinement_head: whether a head corrects the decoder's masks.
    """

    decoder: DecoderKind = DecoderKind.SAM
    refinement_head: bool = False

    @classmethod
    def of(cls, keys: Iterable[str]) -> Parts:
        """Return the parts of a network with these keys in its state dict."""
        keys = tuple(keys)
        histology = any(key.startswith("mask_decoder.global_attention.") for key in keys)
        return cls(
            DecoderKind.HISTOLOGY if histology else DecoderKind.SAM,
            refinement_head=any(key.startswith("refinement_head.") for key in keys),
        )

    def is_replaced(self, key: str) -> bool:
        """Return whether a key of the original network has no place in one of these parts."""
        replaced = tuple(f"mask_decoder.{part}" for part in REPLACED_PARTS)
        return self.decoder is DecoderKind.HISTOLOGY and key.startswith(replaced)


class PromptableNetwork(nn.Module):
    """The three parts of a promptable model; its state dict has the keys of the original checkpoints.

    Args:
        image_encoder: ``(B, 3, input_size, input_size)`` to ``(B, 256, 64, 64)``.
        input_size: side of the square that the image encoder takes, px.
        parts: SAM's where nothing else is said.
    """

    def __init__(self, image_encoder: nn.Module, *, input_size: int, parts: Parts | None = None) -> None:
        super().__init__()
        parts = Parts() if parts is None else parts
        self.input_size = input_size
        self.image_encoder = image_encoder
        self.prompt_encoder = _prompt_encoder(input_size)
        self.mask_decoder: DecodesMasks = (
            SamMaskDecoder() if parts.decoder is DecoderKind.SAM else HistologyMaskDecoder()
        )
        self.refinement_head = RefinementHead() if parts.refinement_head else None

    @property
    def gives_one_mask(self) -> bool:
        """Whether an ambiguous prompt gets one answer like any other."""
        return isinstance(self.mask_decoder, HistologyMaskDecoder)

    @torch.no_grad()
    def freeze_decoder(self) -> None:
        """Put a mask decoder of SAM's kind into its inference form, in place; it can no longer be trained."""
        # In channels-last order a mask prompt gives its cells as the decoder wants them.
        self.prompt_encoder.mask_downscaling.to(memory_format=torch.channels_last)
        if isinstance(self.mask_decoder, SamMaskDecoder):
            self.mask_decoder = FrozenMaskDecoder(self.mask_decoder, self.prompt_encoder.get_dense_pe())

    def decode(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        *,
        dense_position: Tensor,
    ) -> Decoded:
        """Answer B prompts of one kind.

        Args:
            embedding: ``(1, 256, 64, 64)``, or ``(B, 256, 64, 64)`` of several images.
            points: coordinates ``(B, N, 2)`` in model px and labels ``(B, N)``, 1 positive, 0 negative, -1 padding.
                SAM counts pixel *indices* and adds one half itself, so a position on edges needs one half less.
            boxes: ``(B, 4)``, ``min_x, min_y, max_x, max_y``, in the same frame.
            masks: logits ``(B, 1, 256, 256)`` over the model's whole square.
            dense_position: ``prompt_encoder.get_dense_pe()``, which never changes.
        """
        prompts = self.prompt_encoder(points=points, boxes=boxes, masks=masks)
        sparse, dense = cast("tuple[Tensor, Tensor]", prompts)
        return self.mask_decoder.decode(embedding, sparse, dense, dense_position=dense_position)


def _prompt_encoder(input_size: int) -> PromptEncoder:
    return PromptEncoder(
        embed_dim=EMBEDDING_CHANNELS,
        image_embedding_size=(EMBEDDING_SIZE, EMBEDDING_SIZE),
        input_image_size=(input_size, input_size),
        mask_in_chans=16,
    )
