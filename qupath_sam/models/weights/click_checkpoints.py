"""Checkpoints of RITM, FocalClick and SimpleClick: dicts ``{state_dict, config}``, or a list with one for each click.

SimpleClick's config holds a pickled loss. Its class and its function are let in by name, as things that do nothing; all
else that is more than tensors is refused as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from qupath_sam.errors import WrongWeights
from qupath_sam.networks.interactive.config import NetworkConfig
from qupath_sam.networks.interactive.models import ClickNetwork
from qupath_sam.networks.meta import on_meta_device

_LOSS = "isegm.model.modeling.transformer_helper.cross_entropy_loss"
#: Dotted paths of all networks of these houses begin so.
_CLASSES = "isegm."
#: Counters of batch norm that only training reads; a file may lack them.
_COUNTERS = ".num_batches_tracked"


class _Loss:
    """Stands where SimpleClick's loss was."""


def _loss_function() -> None:
    """Stand where the function was that this loss calls."""


def loss_globals() -> list[Any]:
    """Return entries for `torch.serialization.safe_globals`, so that torch's reader passes over SimpleClick's loss."""
    return [(_Loss, f"{_LOSS}.CrossEntropyLoss"), (_loss_function, f"{_LOSS}.cross_entropy")]


def click_checkpoints_of(content: Any) -> list[Mapping[str, Any]]:
    """Return the checkpoints in a file of one of these houses, one for each click; empty for files of others."""
    found = content if isinstance(content, list) else [content]
    return list(found) if found and all(_is_one(each) for each in found) else []


def networks_of(checkpoints: Sequence[Mapping[str, Any]]) -> tuple[tuple[NetworkConfig, ...], dict[str, Tensor]]:
    """Return networks, and their tensors by ``<number>.<key>``.

    Raises:
        ValueError: a network that is not hosted here.
    """
    configs: list[NetworkConfig] = []
    tensors: dict[str, Tensor] = {}
    for number, checkpoint in enumerate(checkpoints):
        state = {k: v for k, v in checkpoint["state_dict"].items() if isinstance(k, str) and isinstance(v, Tensor)}
        has_refiner = any(key.startswith("refiner.") for key in state)
        configs.append(NetworkConfig.read(checkpoint["config"], has_refiner=has_refiner))
        tensors |= {f"{number}.{key}": value for key, value in state.items()}
    if len({config.house for config in configs}) > 1:
        raise ValueError("its networks are of different houses")
    return tuple(configs), tensors


def build_networks(
    configs: Sequence[NetworkConfig], tensors: Mapping[str, Tensor], *, where: str
) -> list[ClickNetwork]:
    """Build the networks with their weights, on the CPU, in fp32.

    Args:
        configs: of the networks.
        tensors: by ``<number>.<key>``; they are taken over.
        where: names the file in messages.

    Raises:
        WrongWeights: tensors and configs do not fit each other.
    """
    networks = []
    for number, config in enumerate(configs):
        # On the meta device nothing is allocated or initialised for a state that is replaced at once.
        try:
            with on_meta_device():
                network = config.build()
        except ValueError as error:
            raise WrongWeights(f"{where} cannot be used: {error}; use another model") from error
        prefix = f"{number}."
        state = {
            key.removeprefix(prefix): tensor.float() if tensor.is_floating_point() else tensor
            for key, tensor in tensors.items()
            if key.startswith(prefix)
        }
        expected = network.state_dict()
        state |= {
            k: torch.zeros_like(v, device="cpu")
            for k, v in expected.items()
            if k.endswith(_COUNTERS) and k not in state
        }
        _check(state, expected, config, where)
        network.load_state_dict(state, assign=True)
        networks.append(network)
    return networks


def _check(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], config: NetworkConfig, where: str) -> None:
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshaped = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    parts = ((missing, "missing"), (unexpected, "unexpected"), (misshaped, "of another shape"))
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' * (len(keys) > 3)})" for keys, what in parts if keys
    ]
    if problems:
        raise WrongWeights(
            f"{where} does not fit the {config.class_path} that its config describes: {'; '.join(problems)}; "
            "use the file that the model's authors published, unchanged"
        )


def _is_one(content: Any) -> bool:
    if not isinstance(content, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        return False
    config = content.get("config")
    return isinstance(config, Mapping) and str(config.get("class", "")).startswith(_CLASSES)
