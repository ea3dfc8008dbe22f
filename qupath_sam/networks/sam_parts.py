"""The parts of `segment_anything` (Apache-2.0) that networks here are made of, imported without the rest of it.

The package itself imports its predictor, and with it torchvision and torch's compiler: more than half of what the first
click waits for, and nothing here uses them.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NAME = "segment_anything"


@contextmanager
def _package_not_run() -> Iterator[None]:
    """Let modules of the package be imported as if its own ``__init__`` were empty; afterwards it can be imported."""
    spec = importlib.util.find_spec(NAME)
    if spec is None or NAME in sys.modules:
        yield
        return
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[NAME]


with _package_not_run():
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
    from segment_anything.modeling.common import LayerNorm2d
    from segment_anything.modeling.mask_decoder import MLP
    from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock

__all__ = [
    "MLP",
    "Attention",
    "ImageEncoderViT",
    "LayerNorm2d",
    "MaskDecoder",
    "PromptEncoder",
    "TwoWayAttentionBlock",
    "TwoWayTransformer",
]
