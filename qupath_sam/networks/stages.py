"""An image encoder cut in two: an early half that stays as it was released, and a late one that is tuned.

What an encoder sees first (edges, textures) serves any stain; what it makes of them last is what has to know glands
and nuclei. With the early half frozen its map can be kept for each view, and the other half costs less than half of
the whole to train: after Yosinski et al. 2014, "How transferable are features in deep neural networks?".
"""

from __future__ import annotations

import enum
from typing import cast

from torch import Tensor, nn

from qupath_sam.errors import InvalidRequest
from qupath_sam.networks.sam_parts import ImageEncoderViT
from qupath_sam.networks.tiny_vit import TinyViT


class Late(enum.Enum):
    """What of an encoder is late, besides its neck."""

    HALF = "half"
    """TinyViT's two last stages, which have 64 cells a side; the last third of a vision transformer's blocks."""
    LAST_STAGE = "last stage"
    """TinyViT's last stage, half the cost of the late half; a vision transformer's last block."""


#: The stages of TinyViT that come before.
_EARLY_STAGES = {Late.HALF: 2, Late.LAST_STAGE: 3}


def late_modules(encoder: nn.Module, late: Late = Late.HALF) -> list[nn.Module]:
    """Return the late modules.

    Raises:
        InvalidRequest: an encoder of another kind.
    """
    if isinstance(encoder, TinyViT):
        return [*encoder.layers[_EARLY_STAGES[late] :], encoder.neck]
    if isinstance(encoder, ImageEncoderViT):
        return [*encoder.blocks[_early_blocks(encoder, late) :], encoder.neck]
    raise InvalidRequest(f"a {type(encoder).__name__} has no halves; train all of the encoder, or by LoRA")


def early_map(encoder: nn.Module, image: Tensor, late: Late = Late.HALF) -> Tensor:
    """Run what comes before the late modules on a normalised image ``(B, 3, S, S)``; returns ``(B, C, 64, 64)``."""
    if isinstance(encoder, TinyViT):
        x: Tensor = encoder.patch_embed(image)
        for stage in encoder.layers[: _EARLY_STAGES[late]]:
            x, _ = stage(x)
        return x
    vit = cast("ImageEncoderViT", encoder)
    x = vit.patch_embed(image)
    if vit.pos_embed is not None:
        x = x + vit.pos_embed
    for block in vit.blocks[: _early_blocks(vit, late)]:
        x = block(x)
    return x.permute(0, 3, 1, 2)


def late_map(encoder: nn.Module, early: Tensor, late: Late = Late.HALF) -> Tensor:
    """Return the embedding ``(B, 256, 64, 64)`` of an `early_map`."""
    x = early
    if isinstance(encoder, TinyViT):
        for stage in encoder.layers[_EARLY_STAGES[late] :]:
            x, _ = stage(x)
        embedding: Tensor = encoder.neck(x)
        return embedding
    vit = cast("ImageEncoderViT", encoder)
    x = x.permute(0, 2, 3, 1)
    for block in vit.blocks[_early_blocks(vit, late) :]:
        x = block(x)
    embedding = vit.neck(x.permute(0, 3, 1, 2))
    return embedding


def _early_blocks(encoder: ImageEncoderViT, late: Late) -> int:
    blocks = len(encoder.blocks)
    return blocks - (max(1, round(blocks / 3)) if late is Late.HALF else 1)
