"""Writing what was trained so that `models add`, `serve` and `evaluate` take it at once: safetensors and our metadata.

Metadata is JSON under `METADATA_KEY`: ``format``, ``base``, ``base_sha256``, ``family`` and ``mask_count``
as in `CheckpointMetadata`; ``initial_model``, ``groups_seen``, ``config``, ``data_digest``,
``code_version`` and ``metrics``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from qupath_sam import __version__
from qupath_sam.datasets.seen import GROUPS_SEEN, groups_seen
from qupath_sam.errors import InvalidRequest
from qupath_sam.machine.files import atomic_write
from qupath_sam.models.load import load_weights
from qupath_sam.models.registry import BUILT_IN
from qupath_sam.models.spec import Family, ModelSpec
from qupath_sam.models.weights.checkpoints import METADATA_KEY, over_base, read_checkpoint
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.lora import LowRankLinear
from qupath_sam.networks.network import PromptableNetwork

#: A delta is worth it while it is smaller than this share of all tensors.
_LARGEST_DELTA = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A built-in model that a delta may be written on: its name, all its tensors, and the digest of its file."""

    name: str
    tensors: Mapping[str, Tensor]
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The model that a run started from, and the one that its checkpoint may be a delta on.

    Attributes:
        spec: of the model it started from.
        tensors: all of that model's.
        base: itself, or where it is a delta, the model below it; None where that is no built-in one, as on another
            machine its name would mean nothing.
        seen: ``(data set, group)`` that the model was trained on before.
    """

    spec: ModelSpec
    tensors: dict[str, Tensor]
    base: Base | None
    seen: frozenset[tuple[str, str]]


def load_origin(name: str, store: ModelStore) -> Origin:
    """Load a model to start from.

    Raises:
        InvalidRequest: it is the fake.
        UnknownModel, WeightsMissing, WrongWeights: it cannot be had.
    """
    spec = store.find(name)
    if spec.family is Family.FAKE:
        raise InvalidRequest("the fake has nothing to train; start from another model (--init)")
    weights = load_weights(spec, store)
    metadata = read_checkpoint(store.weights_path(spec)).metadata
    if metadata is not None and metadata.format == "delta":
        base = load_base(metadata.base, store)
    else:
        base = Base(name, weights.tensors, weights.sha256) if name in BUILT_IN else None
    return Origin(spec, weights.tensors, base, groups_seen(spec, store))


def load_base(name: str, store: ModelStore) -> Base | None:
    """Load the base of a delta; None where the model is not built in."""
    if name not in BUILT_IN:
        return None
    weights = load_weights(store.find(name), store)
    return Base(name, weights.tensors, weights.sha256)


@dataclass(frozen=True, slots=True)
class Report:
    """The part of a checkpoint's metadata that says how it was made.

    Attributes:
        config: all settings.
        data_digest: of pixels and labels.
        groups: that were trained on, by data set.
        metrics: of the run.
    """

    config: Mapping[str, Any]
    data_digest: str
    groups: Mapping[str, list[str]]
    metrics: Mapping[str, Any]


def network_state(network: PromptableNetwork, replaced: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return all tensors under the names of a plain network, LoRA merged; on the CPU.

    Args:
        network: as it is trained; left as it is.
        replaced: parameters to take in the place of the network's own, by its names: their average.
    """
    state = {key: tensor.detach() for key, tensor in {**network.state_dict(), **(replaced or {})}.items()}
    for name, module in network.named_modules():
        if isinstance(module, LowRankLinear):
            own = {key.removeprefix(f"{name}."): state.pop(key) for key in list(state) if key.startswith(f"{name}.")}
            state[f"{name}.weight"] = own["linear.weight"] + module.scale * own["up"] @ own["down"]
            if "linear.bias" in own:
                state[f"{name}.bias"] = own["linear.bias"]
    return {key: tensor.cpu() for key, tensor in state.items()}


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], origin: Origin, report: Report, *, half: bool = True
) -> None:
    """Write what a run has trained; see `write_checkpoint`.

    Args:
        path: ``.safetensors``; what was there stays until the new file is whole.
        tensors: of `network_state`.
        origin: what the run started from.
        report: goes into the metadata.
        half: in fp16; they are read as fp32.
    """
    entry = {
        "family": origin.spec.family.value,
        # With one mask, every answer in training is held to one truth: SAM's other three masks fall behind.
        "mask_count": report.config.get("masks", 1),
        "initial_model": origin.spec.name,
        GROUPS_SEEN: merged_groups(report.groups, origin.seen),
        "config": dict(report.config),
        "data_digest": report.data_digest,
        "metrics": dict(report.metrics),
    }
    write_checkpoint(path, tensors, entry, base=origin.base, half=half)


def merged_groups(groups: Mapping[str, Iterable[str]], more: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return groups by data set, sorted, with ``(data set, group)`` added to them."""
    merged = {name: set(each) for name, each in groups.items()}
    for name, group in more:
        merged.setdefault(name, set()).add(group)
    return {name: sorted(each) for name, each in sorted(merged.items())}


def write_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], entry: Mapping[str, Any], *, base: Base | None, half: bool = True
) -> None:
    """Write a network's weights: what differs from the base where most of it does not, else everything.

    Args:
        path: ``.safetensors``; what was there stays until the new file is whole.
        tensors: all of the network, under the names of a plain one.
        entry: metadata; ``format``, what a delta needs to find its base, and ``code_version`` are added.
        base: None writes everything.
        half: in fp16; they are read as fp32.
    """
    kept = dict(tensors)
    form: dict[str, Any] = {"format": "full"}
    if base is not None:
        changed = {
            key: tensor
            for key, tensor in tensors.items()
            if not (key in base.tensors and _same(tensor, base.tensors[key]))
        }
        small = _numbers(changed) < _LARGEST_DELTA * _numbers(tensors)
        # A network that does without a part of the base, such as its head, must not get it back.
        if small and over_base(changed, base.tensors).keys() == tensors.keys():
            kept = changed
            form = {"format": "delta", "base": base.name, "base_sha256": base.sha256}
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = {key: _saved(tensor, half=half) for key, tensor in kept.items()}
    metadata = json.dumps({**form, **entry, "code_version": __version__})
    with atomic_write(path) as file:
        file.write(save(saved, metadata={METADATA_KEY: metadata}))


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _numbers(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _saved(tensor: Tensor, *, half: bool) -> Tensor:
    # Of its own, for tensors of one memory cannot be saved; fp16 holds weights closer than bf16 does.
    tensor = tensor.half() if half and tensor.is_floating_point() else tensor
    return tensor.contiguous().clone()
