"""The file of a Segment Any Cell model: what was trained of a network, LoRA merged, and the prompt generator.

It is safetensors with JSON under `METADATA_KEY`: ``format`` (`FORMAT`), ``base`` and ``base_sha256`` of the model that
it was trained from, ``generates`` (whether it has a generator), ``selection`` and ``most`` of its prompts,
``groups_seen`` and how it was trained. Keys of the generator begin with `GENERATOR`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from qupath_sam.errors import InvalidRequest, WeightsMissing, WrongWeights
from qupath_sam.machine.files import atomic_write
from qupath_sam.models.load import ADAPTERS, Weights, load_weights
from qupath_sam.models.sac.prompts import PromptOptions, Selection
from qupath_sam.models.spec import ModelSpec
from qupath_sam.models.weights.checkpoints import METADATA_KEY, check_finite, check_fits, over_base, read_entry
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.meta import on_meta_device
from qupath_sam.networks.prompt_generator import PromptGenerator

#: Value of ``format`` in the metadata.
FORMAT = "segment any cell"
GENERATOR = "prompt_generator."
_HEAD = "refinement_head."


@dataclass(frozen=True, slots=True, eq=False)
class SacWeights:
    """A model in fp32, and what its file says of it.

    Attributes:
        spec: of the model that it was trained from.
        network: all tensors of a network of that family.
        generator: by the names of `PromptGenerator`; None where it was trained without prompts.
        prompts: which points it was trained with.
        sha256: of the file.
        entry: all metadata.
    """

    spec: ModelSpec
    network: dict[str, Tensor]
    generator: dict[str, Tensor] | None
    prompts: PromptOptions
    sha256: str
    entry: Mapping[str, Any]


def load_backbone(name: str, store: ModelStore) -> tuple[ModelSpec, Weights]:
    """Load a model that Segment Any Cell can be trained from, without its refinement head.

    Raises:
        InvalidRequest: its network is not of SAM's kind.
        ModelError: it cannot be had.
    """
    spec = store.find(name)
    if spec.family not in ADAPTERS:
        known = ", ".join(sorted(family.value for family in ADAPTERS))
        raise InvalidRequest(
            f"Segment Any Cell needs a model with SAM's parts, and {name} is a {spec.family.value}; "
            f"start from a model of one of the families {known} (--init)"
        )
    weights = load_weights(spec, store)
    # A head corrects one clicked object; here all cells are one mask.
    return spec, Weights({k: v for k, v in weights.tensors.items() if not k.startswith(_HEAD)}, weights.sha256)


def write_sac(
    path: Path,
    network: Mapping[str, Tensor],
    generator: Mapping[str, Tensor] | None,
    entry: Mapping[str, Any],
) -> None:
    """Write a model in fp16; what was there stays until the new file is whole.

    Args:
        path: ``.safetensors``.
        network: what differs from the base.
        generator: None where it was trained without prompts.
        entry: metadata with ``base``, ``base_sha256``, ``selection`` and ``most``; the rest is added.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    named = {f"{GENERATOR}{key}": tensor for key, tensor in (generator or {}).items()}
    halves = {key: tensor.detach().cpu().half().contiguous().clone() for key, tensor in {**network, **named}.items()}
    metadata = {"format": FORMAT, "generates": generator is not None, **entry}
    with atomic_write(path) as file:
        file.write(save(halves, metadata={METADATA_KEY: json.dumps(metadata)}))


def read_sac(path: Path, store: ModelStore) -> SacWeights:
    """Read a file of `write_sac`, over the model that it was trained from.

    Raises:
        WeightsMissing: no such file, or that model is not on this machine.
        WrongWeights: it is none, is damaged, or the model on this machine is another one.
    """
    if not path.is_file():
        raise WeightsMissing(f"there is no file {path}; name the sac.safetensors of a run of `train --method sac`")
    entry = read_entry(path)
    try:
        if entry["format"] != FORMAT:
            raise KeyError("format")
        base, digest = str(entry["base"]), str(entry["base_sha256"])
        most = entry["most"]
        prompts = PromptOptions(Selection(entry["selection"]), None if most is None else int(most))
    except (KeyError, ValueError, TypeError) as error:
        raise WrongWeights(f"{path} is no model of Segment Any Cell; make one with `train ... --method sac`") from error
    content = path.read_bytes()
    try:
        tensors = {key: tensor.float() for key, tensor in load(content).items()}
    except SafetensorError as error:
        raise WrongWeights(f"{path} is damaged ({error}); get it again") from error
    check_finite(tensors, str(path))
    spec, backbone = load_backbone(base, store)
    if backbone.sha256 != digest:
        raise WrongWeights(
            f"{path} changes {base} with SHA-256 {digest[:12]}…, but the one here has {backbone.sha256[:12]}…; "
            "install the version it was made for"
        )
    generator = {key.removeprefix(GENERATOR): t for key, t in tensors.items() if key.startswith(GENERATOR)}
    network = over_base({k: t for k, t in tensors.items() if not k.startswith(GENERATOR)}, backbone.tensors)
    check_fits(network, spec.family, where=str(path))
    _check_generator(generator, path, wanted=bool(entry.get("generates")))
    sha256 = hashlib.sha256(content).hexdigest()
    return SacWeights(spec, network, generator or None, prompts, sha256, entry)


def _check_generator(tensors: Mapping[str, Tensor], path: Path, *, wanted: bool) -> None:
    with on_meta_device():
        expected = {key: tensor.shape for key, tensor in PromptGenerator().state_dict().items()} if wanted else {}
    if {key: tensor.shape for key, tensor in tensors.items()} != expected:
        raise WrongWeights(f"{path} holds a generator of another version; train it again, or update qupath-sam")
