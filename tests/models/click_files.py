"""Checkpoint files of RITM, FocalClick and SimpleClick as their authors' code saves them, with random weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from qupath_sam.models.interactive.published import published_config
from qupath_sam.networks.interactive.config import NetworkConfig
from qupath_sam.networks.interactive.models import ClickNetwork

#: Small relatives of published networks: the same classes and keys, fewer channels.
SMALL: dict[str, dict[str, Any]] = {
    "ritm_hrnet18s": {"width": 4, "ocr_width": 8},
    "focalclick_hrnet18s_s1": {"width": 4, "ocr_width": 8},
    "focalclick_segformer_b0_s2": {},
    "simpleclick_vit_b": {
        "backbone_params": {
            "img_size": (448, 448),
            "patch_size": (32, 32),
            "embed_dim": 16,
            "depth": 4,
            "num_heads": 2,
        },
        "neck_params": {"in_dim": 16, "out_dims": [4, 8, 16, 32]},
        "head_params": {"channels": 8, "upsample": "x2"},
    },
}


def small_config(name: str) -> dict[str, Any]:
    """The ``config`` of a published model, of a small relative."""
    config = published_config(name)
    for key, value in SMALL[name].items():
        config["params"][key] = {"type": "builtin", "value": value, "specified": True}
    return config


def random_network(config: dict[str, Any], *, seed: int = 0, has_refiner: bool = False) -> ClickNetwork:
    """A network of that config whose answers depend on what it is asked."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NetworkConfig.read(config, has_refiner=has_refiner).build()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.dim() > 1:
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
            elif tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
        for module in network.modules():
            if isinstance(module, nn.ConvTranspose2d):
                # As smooth as trained ones are: noise from pixel to pixel is no mask.
                module.weight.copy_(module.weight.mean(dim=(2, 3), keepdim=True).expand_as(module.weight))
    return network.eval()


def small_network(name: str, *, seed: int = 0) -> ClickNetwork:
    """A small relative of a published model."""
    return random_network(small_config(name), seed=seed)


def checkpoint(name: str, *, seed: int = 0) -> dict[str, Any]:
    """What the authors' code saves of a small relative."""
    return {"state_dict": small_network(name, seed=seed).state_dict(), "config": small_config(name)}


def write_with_loss(content: dict[str, Any], path: Path, *, loss_module: str) -> Path:
    """Save a checkpoint with a pickled loss in its config, as SimpleClick's files have it."""
    with _module_with_loss(loss_module) as module:
        content["config"]["params"]["head_params"]["value"]["loss_decode"] = module.CrossEntropyLoss()
        torch.save(content, path)
        del content["config"]["params"]["head_params"]["value"]["loss_decode"]
    return path


@contextmanager
def _module_with_loss(name: str) -> Iterator[ModuleType]:
    """The module as pickle sees it while the file is written; gone afterwards, as on a user's machine."""
    module = ModuleType(name)

    class CrossEntropyLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.reduction, self.loss_weight, self.class_weight = "mean", 1.0, None
            self.cls_criterion = module.cross_entropy

    def cross_entropy() -> None:
        pass

    for item in (CrossEntropyLoss, cross_entropy):
        item.__module__, item.__qualname__ = name, item.__name__
        setattr(module, item.__name__, item)
    parents = [name.rsplit(".", depth)[0] for depth in range(name.count("."), 0, -1)]
    added = [parent for parent in [*parents, name] if parent not in sys.modules]
    for parent in added:
        sys.modules[parent] = module if parent == name else ModuleType(parent)
    try:
        yield module
    finally:
        for parent in added:
            del sys.modules[parent]
