"""What all models of the family share: an image encoder, a prompt encoder and a mask decoder under SAM's names.

Source: Segment Anything, Kirillov et al. 2023 (arXiv 2304.02643), whose package `segment_anything` (Apache-2.0)
supplies the prompt encoder and the mask decoder.
"""

from __future__ import annotations

from typing import cast

from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

#: Cells a side of the embedding, and channels of each; the same for every model of the family.
EMBEDDING_SIZE = 64
EMBEDDING_CHANNELS = 256


class PromptableNetwork(nn.Module):
    """The three parts of a promptable model; its state dict has the keys of the original checkpoints.

    Args:
        image_encoder: ``(B, 3, input_size, input_size)`` to ``(B, 256, 64, 64)``.
        input_size: side of the square that the image encoder takes, px.
    """

    def __init__(self, image_encoder: nn.Module, *, input_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(
            embed_dim=EMBEDDING_CHANNELS,
            image_embedding_size=(EMBEDDING_SIZE, EMBEDDING_SIZE),
            input_image_size=(input_size, input_size),
            mask_in_chans=16,
        )
        self.mask_decoder = MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=EMBEDDING_CHANNELS, mlp_dim=2048, num_heads=8),
            transformer_dim=EMBEDDING_CHANNELS,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )

    def encode_prompts(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Sparse ``(B, N, 256)`` and dense ``(B, 256, 64, 64)`` prompt embeddings.

        Args:
            points: coordinates ``(B, N, 2)`` in model px and labels ``(B, N)``, 1 positive, 0 negative, -1 padding.
                SAM counts pixel *indices* and adds one half itself, so a position on edges needs one half less.
            boxes: ``(B, 4)``, ``min_x, min_y, max_x, max_y``, in the same frame.
            masks: logits ``(B, 1, 256, 256)`` over the model's whole square.
        """
        return cast("tuple[Tensor, Tensor]", self.prompt_encoder(points=points, boxes=boxes, masks=masks))

    def decode(
        self, embedding: Tensor, sparse: Tensor, dense: Tensor, *, dense_position: Tensor, several_masks: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits ``(B, M, 256, 256)`` over the model's square and predicted IoU ``(B, M)``; M is 3 or 1.

        Args:
            embedding: ``(1, 256, 64, 64)``.
            sparse, dense: from `encode_prompts`.
            dense_position: ``prompt_encoder.get_dense_pe()``, which never changes.
            several_masks: the three masks for ambiguous prompts instead of the single one.
        """
        logits, scores = self.mask_decoder(
            image_embeddings=embedding,
            image_pe=dense_position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several_masks,
        )
        return logits, scores
