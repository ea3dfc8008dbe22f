"""An image encoder cut in two: an early half that stays as it was released, and a late one that is tuned.

What an encoder sees first (edges, textures) serves any stain; what it makes of them last is what has to know glands
and nuclei. With the early half frozen its map can be kept for each view, and the other half costs less than half of
the whole to train: after Yosinski et al. 2014, "How transferable are features in deep neural networks?".
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from qupath_sam.errors import InvalidRequest
from qupath_sam.networks.sam_parts import ImageEncoderViT
from qupath_sam.networks.tiny_vit import TinyViT

#: Stages of TinyViT that are early: those at 256 and 128 cells a side.
_EARLY_STAGES = 2
#: Share of a vision transformer's blocks that are late, besides the neck.
_LATE_SHARE = 1 / 3


def late_modules(encoder: nn.Module) -> list[nn.Module]:
    """Return the modules of the late half.

    Raises:
        InvalidRequest: an encoder of another kind.
    """
    if isinstance(encoder, TinyViT):
        return [*encoder.layers[_EARLY_STAGES:], encoder.neck]
    if isinstance(encoder, ImageEncoderViT):
        return [*encoder.blocks[_early_blocks(encoder) :], encoder.neck]
    raise InvalidRequest(f"a {type(encoder).__name__} has no halves; train all of the encoder, or by LoRA")


def early_map(encoder: nn.Module, image: Tensor) -> Tensor:
    """Run the early half on a normalised image ``(B, 3, S, S)``; returns ``(B, C, 64, 64)``."""
    if isinstance(encoder, TinyViT):
        x: Tensor = encoder.patch_embed(image)
        for stage in encoder.layers[:_EARLY_STAGES]:
            x, _ = stage(x)
        return x
    vit = cast("ImageEncoderViT", encoder)
    x = vit.patch_embed(image)
    if vit.pos_embed is not None:
        x = x + vit.pos_embed
    for block in vit.blocks[: _early_blocks(vit)]:
        x = block(x)
    return x.permute(0, 3, 1, 2)


def late_map(encoder: nn.Module, early: Tensor) -> Tensor:
    """Return the embedding ``(B, 256, 64, 64)`` of an `early_map`."""
    x = early
    if isinstance(encoder, TinyViT):
        for stage in encoder.layers[_EARLY_STAGES:]:
            x, _ = stage(x)
        embedding: Tensor = encoder.neck(x)
        return embedding
    vit = cast("ImageEncoderViT", encoder)
    x = x.permute(0, 2, 3, 1)
    for block in vit.blocks[_early_blocks(vit) :]:
        x = block(x)
    embedding = vit.neck(x.permute(0, 3, 1, 2))
    return embedding


def _early_blocks(encoder: ImageEncoderViT) -> int:
    return len(encoder.blocks) - max(1, round(_LATE_SHARE * len(encoder.blocks)))
