"""Reading checkpoint files in the layouts of their makers, without running code from them.

=====================  ============================================================================================
Meta SAM, MobileSAM    a flat state dict; MobileSAM's also has the classification head of its teacher's encoder
MedSAM, LiteMedSAM     flat, or with optimiser and epoch beside it under ``model``
micro-sam, PathoSAM    flat, or a training checkpoint with ``model_state`` (keys begin with ``sam.``)
Lightning and others   under ``state_dict``, ``model_state_dict``, ``net``, ...; what stands before the network's own
                       names (``model.``, ``module.model.``, ``_orig_mod.``, ``net.``) is taken off
RITM, FocalClick,      ``state_dict`` and a ``config`` that says which network; or a list of such, one a click
SimpleClick
safetensors            any of these as tensors; ours say in their metadata what they are (see `CheckpointMetadata`)
=====================  ============================================================================================
"""

from __future__ import annotations

import enum
import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from qupath_sam.errors import InvalidRequest, WeightsMissing, WrongWeights
from qupath_sam.models.spec import Family
from qupath_sam.models.weights.click_checkpoints import click_checkpoints_of, loss_globals, networks_of
from qupath_sam.models.weights.harmless import harmless_globals
from qupath_sam.models.weights.other_families import other_family
from qupath_sam.models.weights.other_files import what_else
from qupath_sam.networks.interactive.config import NetworkConfig
from qupath_sam.networks.meta import on_meta_device
from qupath_sam.networks.network import Parts, PromptableNetwork

#: Key of our own entry in the metadata of a safetensors file.
METADATA_KEY = "qupath_sam"
#: Entry of that metadata for a network of RITM's kind: a list of ``config`` as its authors write them, one for each of
#: the first clicks. The tensors' keys begin with the number of their network.
NETWORKS = "networks"

#: What the keys of the image encoder begin with.
ENCODER = "image_encoder."

#: Entries that original files hold beside what the networks need.
_NOT_NEEDED = ("pixel_mean", "pixel_std", "image_encoder.norm_head.", "image_encoder.head.")
#: What compiling, distributing and checkpointing put into the names of a network's parts, at any place.
_WRAPPERS = frozenset(
    {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_original_module"}
)
#: Parts of every network here; what stands before them in a key is a wrapper's.
_ANCHORS = ("image_encoder", "mask_decoder", "prompt_encoder")


class Layout(enum.Enum):
    """How a file wraps its tensors."""

    FLAT = "flat"
    MODEL = "model"
    MODEL_STATE = "model_state"
    STATE_DICT = "state_dict"
    MODEL_STATE_DICT = "model_state_dict"
    NET = "net"
    NETWORK = "network"
    WEIGHTS = "weights"
    PARAMS = "params"
    MODULE = "module"
    OTHER = "other"
    SAFETENSORS = "safetensors"


#: How deep the dicts of a file are looked into for a network.
_MOST_WRAPPERS = 4
_WRAPPING_LAYOUTS = tuple(layout for layout in Layout if layout not in (Layout.FLAT, Layout.OTHER, Layout.SAFETENSORS))


@dataclass(frozen=True, slots=True)
class CheckpointMetadata:
    """The metadata of a checkpoint of ours, JSON under `METADATA_KEY`.

    Attributes:
        format: "full", or "delta" where it holds only the tensors that differ from those of ``base``.
        base: built-in model that a delta belongs on.
        base_sha256: digest of that model's weights file.
        family: architecture; None in files of early versions.
        mask_count: masks that a first prompt may return; None where the family's number holds.
    """

    format: str
    base: str = ""
    base_sha256: str = ""
    family: Family | None = None
    mask_count: int | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Tensors by the keys of `PromptableNetwork`, on the CPU.

    Attributes:
        layout: how the file wrapped them.
        metadata: None for files that are not ours.
        networks: what a file of RITM, FocalClick or SimpleClick says of its networks, one for each of the first clicks;
            the tensors' keys begin with their numbers. Empty for files of others.
    """

    tensors: dict[str, Tensor]
    layout: Layout
    metadata: CheckpointMetadata | None = None
    networks: tuple[NetworkConfig, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of any of the layouts.

    Raises:
        WeightsMissing: no such file, or it may not be read.
        WrongWeights: no checkpoint, truncated, or one that would run code.
    """
    try:
        other = what_else(path)
        with path.open("rb") as file:
            head = file.read(16)
    except IsADirectoryError as error:
        raise WeightsMissing(f"{path} is a folder; name the weights file in it") from error
    except OSError as error:
        raise WeightsMissing(f"cannot read {path}: {error.strerror or error}; check the path and its rights") from error
    if other:
        raise WrongWeights(f"{path} {other}")
    if _looks_like_safetensors(head):
        return _read_safetensors(path)
    return _read_torch(path)


def read_entry(path: Path) -> dict[str, Any]:
    """Read all metadata of a checkpoint of ours, without its tensors; empty for other files.

    What a file is, its content tells, not its name: that can be changed.

    Raises:
        WrongWeights: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if not _looks_like_safetensors(head):
            return {}
        with safe_open(path, framework="numpy") as tensors:
            entry: Any = json.loads((tensors.metadata() or {}).get(METADATA_KEY, "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise WrongWeights(f"{path} has metadata that cannot be read ({error}); add the model again") from error
    if not isinstance(entry, dict):
        raise WrongWeights(f"{path} has metadata that is no object; add the model again")
    return entry


def over_base(delta: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all tensors of a delta's network, in fp32: the delta's over those of its base."""
    parts = Parts.of(delta)
    tensors = {key: tensor for key, tensor in base.items() if not parts.is_replaced(key)}
    tensors |= delta
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def check_fits(tensors: Mapping[str, Tensor], family: Family, *, where: str) -> None:
    """Raise `WrongWeights` unless the tensors are exactly those of the family's network with the parts they name.

    Numbers that are not finite, as diverged training leaves them, are refused too: such a network finds nothing.

    Args:
        where: names the file in the message.
    """
    expected = expected_shapes(family, Parts.of(tensors))
    missing = [key for key in expected if key not in tensors]
    unexpected = [key for key in tensors if key not in expected]
    misshaped = [
        f"{key} {tuple(tensors[key].shape)} instead of {expected[key]}"
        for key in expected
        if key in tensors and tuple(tensors[key].shape) != expected[key]
    ]
    if not (missing or unexpected or misshaped):
        check_finite(tensors, where)
        return
    problems = [
        _name_some("missing", missing),
        _name_some("unexpected", unexpected),
        _name_some("of another shape", misshaped),
    ]
    looks_like = guess_family(tensors)
    if looks_like is not None and expected_shapes(looks_like) != expected_shapes(family):
        advice = f"this is a {looks_like.value} checkpoint; use family {looks_like.value}"
    else:
        advice = other_family(tensors) or "use the file that the model's authors published, unchanged"
    raise WrongWeights(f"{where} does not fit {family.value}: {'; '.join(p for p in problems if p)}; {advice}")


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise `WrongWeights` where a tensor holds NaN or an infinity; ``where`` names the file."""
    # One pass without a copy: a sum is finite only if all its terms are, and double precision does not overflow.
    broken = [
        key
        for key, tensor in tensors.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum(dtype=torch.float64))
    ]
    if broken:
        raise WrongWeights(
            f"{where} holds numbers that are not finite (NaN or infinity) in {len(broken)} of {len(tensors)} tensors "
            f"({_first_of(broken)}): its training has diverged; use an earlier checkpoint of it"
        )


def guess_family(tensors: Mapping[str, Tensor]) -> Family | None:
    """Guess the architecture from the first layer of the encoder."""
    patches = tensors.get("image_encoder.patch_embed.proj.weight")
    if patches is not None:
        sizes = {768: Family.SAM_VIT_B, 1024: Family.SAM_VIT_L, 1280: Family.SAM_VIT_H}
        return sizes.get(patches.shape[0])
    stem = tensors.get("image_encoder.patch_embed.seq.0.c.weight")
    if stem is not None:
        return Family.LITE_MEDSAM if stem.shape[-1] == 1 else Family.MOBILE_SAM
    return None


@cache
def expected_shapes(family: Family, parts: Parts | None = None) -> dict[str, tuple[int, ...]]:
    """Return the keys and shapes of the family's state dict."""
    with on_meta_device():
        network = build_network(family, parts)
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def build_network(family: Family, parts: Parts | None = None, *, encoder: nn.Module | None = None) -> PromptableNetwork:
    """Build the family's network without weights; on the current default device (``with torch.device(...)``).

    Args:
        encoder: stands in for the family's image encoder.
    """
    # Imported here, so that one adapter's imports are not all models'.
    from qupath_sam.models.adapters.lite_medsam import build_lite_medsam
    from qupath_sam.models.adapters.mobile_sam import build_mobile_sam
    from qupath_sam.models.adapters.sam import VitSize, build_sam

    match family:
        case Family.LITE_MEDSAM:
            return build_lite_medsam(parts, encoder=encoder)
        case Family.MOBILE_SAM:
            return build_mobile_sam(parts, encoder=encoder)
        case Family.SAM_VIT_B | Family.MEDSAM_VIT_B:
            return build_sam(VitSize.B, parts, encoder=encoder)
        case Family.SAM_VIT_L:
            return build_sam(VitSize.L, parts, encoder=encoder)
        case Family.SAM_VIT_H:
            return build_sam(VitSize.H, parts, encoder=encoder)
        case _:
            raise InvalidRequest(f"a {family.value} has no network of SAM's kind; take a model that has one")


def build_network_with(tensors: Mapping[str, Tensor], family: Family) -> PromptableNetwork:
    """Build the family's network with these weights, on the CPU; the tensors are taken over, not copied."""
    # On the meta device nothing is allocated or initialised for a state that is replaced at once.
    with on_meta_device():
        network = build_network(family, Parts.of(tensors))
    network.load_state_dict(tensors, assign=True)
    return network


def build_decoder_with(tensors: Mapping[str, Tensor], family: Family) -> PromptableNetwork:
    """Build the same with nothing in the place of the image encoder, whose weights are left out."""
    others = {key: tensor for key, tensor in tensors.items() if not key.startswith(ENCODER)}
    with on_meta_device():
        network = build_network(family, Parts.of(tensors), encoder=nn.Identity())
    network.load_state_dict(others, assign=True)
    return network


def _read_torch(path: Path) -> Checkpoint:
    try:
        with torch.serialization.safe_globals([*harmless_globals(), *loss_globals()]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WrongWeights(
            f"{path} holds more than tensors, or is no checkpoint; it is refused because reading it could run code. "
            "Save the weights alone (torch.save(model.state_dict(), ...) or safetensors) and add that file"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # what torch's reader meets in arbitrary bytes has no common type
        raise WrongWeights(
            f"{path} is no checkpoint, or only part of one ({type(error).__name__}); download it again"
        ) from error
    if clicked := click_checkpoints_of(content):
        try:
            networks, tensors = networks_of(clicked)
        except ValueError as error:
            raise WrongWeights(f"{path} cannot be used: {error}; use another model") from error
        return Checkpoint(tensors, Layout.STATE_DICT, networks=networks)
    layout, state = _unwrap(content, path)
    return Checkpoint(_cleaned(state, path), layout)


def _unwrap(content: Any, path: Path) -> tuple[Layout, Mapping[str, Tensor]]:
    """Return the state dict in a file: under the first of the usual names that holds tensors, else the file's own."""
    if isinstance(content, Mapping):
        for layout in _WRAPPING_LAYOUTS:
            states = _states_in(content.get(layout.value), layout.value)
            if states:
                return layout, _only_network(states, path) or next(iter(states.values()))
        if tensors := _tensors_of(content):
            return Layout.FLAT, tensors
        if network := _only_network(_states_in(content), path):  # under a name of its own
            return Layout.OTHER, network
    names = ", ".join(repr(layout.value) for layout in _WRAPPING_LAYOUTS)
    raise WrongWeights(
        f"{path} holds a {type(content).__name__} without tensors; use a file with a state dict, flat or under {names}"
    )


def _states_in(content: Any, name: str = "", depth: int = _MOST_WRAPPERS) -> dict[str, dict[str, Tensor]]:
    """Return state dicts by their place, such as "model.state_dict": ``content`` itself, or those in it."""
    if not isinstance(content, Mapping) or not depth:
        return {}
    if tensors := _tensors_of(content):
        return {name: tensors}
    found: dict[str, dict[str, Tensor]] = {}
    for key, inner in content.items():
        found |= _states_in(inner, f"{name}.{key}".lstrip("."), depth - 1)
    return found


def _only_network(states: Mapping[str, dict[str, Tensor]], path: Path) -> dict[str, Tensor] | None:
    """Return the state dict with a network's parts; None where none has them.

    Raises:
        WrongWeights: several have.
    """
    networks = [
        name for name, state in states.items() if any(part in key.split(".") for key in state for part in _ANCHORS)
    ]
    if len(networks) > 1:
        raise _several_networks(path, networks)
    return states[networks[0]] if networks else None


def _several_networks(path: Path, names: Iterable[str]) -> WrongWeights:
    return WrongWeights(
        f"{path} holds several networks ({', '.join(sorted(names))}); save the state dict of one of them and add that"
    )


def _tensors_of(mapping: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in mapping.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _cleaned(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Drop what wrappers have put before the names, and what no network here needs."""
    state = {_without_wrappers(key): tensor for key, tensor in state.items()}
    prefix = _prefix_of(state, path)
    if prefix:
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    return {key: tensor for key, tensor in state.items() if not key.startswith(_NOT_NEEDED)}


def _without_wrappers(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _prefix_of(keys: Iterable[str], path: Path) -> str:
    """Return the prefix of the network's parts, such as ``model.``; empty where there is none.

    Raises:
        WrongWeights: the file holds several networks, such as a student and its teacher.
    """
    parts: dict[str, set[str]] = {}
    for key in keys:
        names = key.split(".")
        for position, name in enumerate(names):
            if name in _ANCHORS:
                parts.setdefault("".join(f"{each}." for each in names[:position]), set()).add(name)
                break
    whole = [prefix for prefix, found in parts.items() if {"image_encoder", "mask_decoder"} <= found]
    if "" in whole or not whole:
        return ""
    if len(whole) > 1:
        raise _several_networks(path, (prefix.rstrip(".") for prefix in whole))
    return whole[0]


def _looks_like_safetensors(head: bytes) -> bool:
    """Return whether a file begins with eight bytes of header length, then JSON."""
    return head[8:9] == b"{" and head[:2] != b"PK"


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copied, for the file must not stay mapped: on Windows it could not be replaced.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WrongWeights(f"{path} is no safetensors file, or only part of one ({error}); get it again") from error
    ours = _metadata(metadata.get(METADATA_KEY), path, tensors)
    if ours is None:
        return Checkpoint(_cleaned(tensors, path), Layout.SAFETENSORS)
    networks = _click_networks(json.loads(metadata[METADATA_KEY]), path, tensors)
    return Checkpoint(tensors, Layout.SAFETENSORS, ours, networks)


def _click_networks(entry: Mapping[str, Any], path: Path, keys: Iterable[str]) -> tuple[NetworkConfig, ...]:
    """Return what the metadata of a file of ours say of click networks (`NETWORKS`); empty for other models."""
    has_refiner = any(".refiner." in key for key in keys)
    try:
        return tuple(NetworkConfig.read(config, has_refiner=has_refiner) for config in entry.get(NETWORKS, ()))
    except ValueError as error:
        raise WrongWeights(f"{path} cannot be used: {error}; use another model") from error


#: Values of ``format`` in files of ours that are no model to click with, and what they are for. Their own modules
#: (`qupath_sam.models.sac.files`, `qupath_sam.models.dense`) import this one.
_OTHER_FORMATS = {
    "segment any cell": (
        "a model of Segment Any Cell, which takes no clicks; evaluate it with "
        "`qupath-sam evaluate --automatic --sac FILE`"
    ),
    "dense head": "a dense head, which belongs to a model; add it with `qupath-sam models add-dense FILE`",
}


def _metadata(text: str | None, path: Path, keys: Iterable[str]) -> CheckpointMetadata | None:
    if text is None:
        return None
    try:
        entry = json.loads(text)
        metadata = CheckpointMetadata(
            entry["format"],
            entry.get("base", ""),
            entry.get("base_sha256", ""),
            Family(entry["family"]) if entry.get("family") else None,
            entry.get("mask_count"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongWeights(f"{path} has metadata that this version cannot read ({error}); update qupath-sam") from error
    if entry.get("box_decoder") or any(key.startswith("box_decoder.") for key in keys):
        raise WrongWeights(
            f"{path} answers boxes with a second decoder (`train --boxes original` of an earlier version), "
            "which this version does not have; train the model again"
        )
    if (way_out := _OTHER_FORMATS.get(str(metadata.format))) is not None:
        raise WrongWeights(f"{path} is {way_out}")
    if metadata.format not in ("full", "delta"):
        raise WrongWeights(
            f"{path} has format {metadata.format!r}, which this version does not know; update qupath-sam"
        )
    return metadata


def _name_some(what: str, keys: list[str]) -> str:
    return f"{len(keys)} {what} ({_first_of(keys)})" if keys else ""


def _first_of(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{', '.join(keys[:3])}{more}"
