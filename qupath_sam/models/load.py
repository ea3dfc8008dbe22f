"""From a model's name to a segmenter that is ready to work."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from qupath_sam.errors import InvalidRequest, WrongWeights
from qupath_sam.machine.imports import run_all
from qupath_sam.models import kept_networks
from qupath_sam.models.adapters.lite_medsam import LiteMedSamSegmenter
from qupath_sam.models.adapters.medsam import MedSamSegmenter
from qupath_sam.models.adapters.mobile_sam import MobileSamSegmenter
from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.adapters.sam import SamSegmenter
from qupath_sam.models.adapters.transformers_sam import family_beside, load_transformers_sam
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.base import Segmenter
from qupath_sam.models.dense import DenseMaps, dense_heads_for
from qupath_sam.models.devices import Execution, Precision, Runtime, choose_execution, compiled_networks
from qupath_sam.models.fake import FakeSegmenter
from qupath_sam.models.interactive.build import build_click_segmenter
from qupath_sam.models.registry import BUILT_IN
from qupath_sam.models.spec import (
    CLICK_FAMILIES,
    TRANSFORMERS_FAMILIES,
    Family,
    LocalWeights,
    ModelSpec,
    PackagedWeights,
    WeightsFile,
    default_capabilities,
)
from qupath_sam.models.weight_bytes import weight_bytes
from qupath_sam.models.weights.checkpoints import (
    ENCODER,
    Checkpoint,
    build_decoder_with,
    build_network_with,
    check_finite,
    check_fits,
    over_base,
    read_checkpoint,
)
from qupath_sam.models.weights.click_checkpoints import build_networks
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.interactive.models import ClickNetwork
from qupath_sam.types.choices import ObjectKind


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A segmenter with what is to be said of it in every result.

    Attributes:
        weights_sha256: hex digest of the file the weights came from.
        device: torch's name of where it runs.
        precision: number format of its encoder (`Precision` by value).
        dense: the dense heads of its encoder that are on this machine, by what they find.
        runtime: of its encoder and decoder (`Runtime` by value).
    """

    segmenter: Segmenter
    spec: ModelSpec
    weights_sha256: str
    device: str
    precision: str
    dense: Mapping[ObjectKind, DenseMaps] = field(default_factory=dict)
    runtime: str = Runtime.TORCH.value

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights on the device."""
        return weight_bytes(self.segmenter)


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of a whole network, by its keys, on the CPU, and the digest of the file they came from."""

    tensors: dict[str, Tensor]
    sha256: str


log = logging.getLogger(__name__)


def load_segmenter(
    name: str,
    *,
    device: str = "auto",
    precision: str | Precision = Precision.AUTO,
    runtime: str | Runtime = Runtime.TORCH,
    home: Path | None = None,
    dense: Path | None = None,
) -> LoadedModel:
    """Load a model by name. Nothing is downloaded.

    Args:
        device: auto, cpu, cuda, cuda:1, mps.
        precision: of the encoder; see `Precision`.
        runtime: of encoder and decoder on a CPU; see `Runtime`. With `Runtime.AUTO`, torch runs what OpenVINO cannot.
        home: folder of the `ModelStore`.
        dense: file of a dense head to take; else those of this encoder that the store has.

    Raises:
        UnknownModel: no model of that name.
        WeightsMissing: its weights are not on this machine; says how to get them.
        WrongWeights: the file is not what it says it is, or ``dense`` belongs to another encoder.
        InvalidRequest: no such device, precision or runtime, or OpenVINO cannot run this model.
        OutOfMemory: the device has no room.
    """
    store = ModelStore(home)
    spec = store.find(name)
    execution = choose_execution(device, precision, runtime)
    if spec.family is Family.FAKE:
        digest = hashlib.sha256(FakeSegmenter().preprocessing_version.encode()).hexdigest()
        return LoadedModel(FakeSegmenter(), spec, digest, "cpu", Precision.FP32.value)
    if spec.family in CLICK_FAMILIES:
        return _load_click_model(spec, store, execution)
    if spec.family in TRANSFORMERS_FAMILIES:
        return _load_transformers_model(spec, store, execution)
    weights = load_weights(spec, store)
    # Before the segmenter takes the tensors over.
    second = _second_decoder(spec, store, weights)
    heads = dense_heads_for(weights.tensors, store, named=dense)
    in_torch = replace(execution, runtime=Runtime.TORCH)
    try:
        segmenter = build_segmenter(spec, weights.tensors, execution)
    except InvalidRequest as error:
        if Runtime(runtime) is not Runtime.AUTO:
            raise
        log.warning("torch runs %s: %s", spec.name, error)
        execution = in_torch
        segmenter = build_segmenter(spec, weights.tensors, execution)
    if spec.boxes_checked_by:
        other = store.find(spec.boxes_checked_by)
        store.weights_path(other)  # that it is there is known now; it is loaded when it is asked
        # It is asked rarely: not worth a conversion.
        segmenter.check_boxes_with(lambda: build_segmenter(other, load_weights(other, store).tensors, in_torch))
    decoder = None if second is None else build_decoder(*second, execution)
    _remember_networks(spec, segmenter, decoder)
    return LoadedModel(
        segmenter if decoder is None else TwoDecoderSegmenter(segmenter, decoder),
        spec,
        weights.sha256,
        str(execution.device),
        execution.precision.value,
        dense={head.objects: DenseMaps(head, in_torch) for head in heads},
        runtime=execution.runtime.value,
    )


def _remember_networks(spec: ModelSpec, *segmenters: PromptableSegmenter | None) -> None:
    """Note which kept networks a model uses, so that the next process can load them while it imports torch."""
    used = [part.kept for each in segmenters if each is not None for part in compiled_networks(each.network)]
    kept_networks.remember(spec.name, used, kept_networks.default_folder())


def _load_click_model(spec: ModelSpec, store: ModelStore, execution: Execution) -> LoadedModel:
    path = store.weights_path(spec)
    digest = store.digests.sha256(path)
    check_digest(spec, path, digest)
    networks = click_networks(read_checkpoint(path), spec.family, where=str(path))
    execution = replace(execution, precision=Precision.FP32)
    segmenter = build_click_segmenter(networks, spec.family, capabilities=spec.capabilities, execution=execution)
    return LoadedModel(segmenter, spec, digest, str(execution.device), execution.precision.value)


def _load_transformers_model(spec: ModelSpec, store: ModelStore, execution: Execution) -> LoadedModel:
    run_all()  # transformers builds networks on the meta device, whose operators a part of torch registers
    path = store.weights_path(spec)
    digest = store.digests.sha256(path)
    check_digest(spec, path, digest)
    execution = replace(execution, precision=Precision.FP32)
    segmenter = load_transformers_sam(path, family=spec.family, capabilities=spec.capabilities, execution=execution)
    return LoadedModel(segmenter, spec, digest, str(execution.device), execution.precision.value)


def check_content(checkpoint: Checkpoint, path: Path, family: Family, store: ModelStore, *, where: str) -> None:
    """Raise `WrongWeights` unless a checkpoint fits a family.

    Args:
        path: of the checkpoint.
        where: names it in the message.

    Raises:
        WeightsMissing: the base of a delta is not on this machine.
    """
    if family in TRANSFORMERS_FAMILIES:
        if family_beside(path) is not family:
            raise WrongWeights(
                f"{where} has no config.json beside it that describes a {family.value}; keep the publisher's there"
            )
        # Whether they fit their config, loading tells, with the extra installed; this runs without it.
        check_finite(checkpoint.tensors, where)
    elif family in CLICK_FAMILIES:
        click_networks(checkpoint, family, where=where)
    else:
        check_fits(complete(checkpoint, path, store), family, where=where)


def click_networks(checkpoint: Checkpoint, family: Family, *, where: str) -> list[ClickNetwork]:
    """Load the networks of a checkpoint of RITM, FocalClick or SimpleClick, with their weights.

    Raises:
        WrongWeights: it is none, of another of these families, or its tensors do not fit its config.
    """
    if not checkpoint.networks:
        raise WrongWeights(
            f"{where} is no {family.value} checkpoint: it has no config that names its network; "
            "use the file that the model's authors published, unchanged"
        )
    own = checkpoint.networks[0].house.value
    if own != family.value:
        raise WrongWeights(f"{where} does not fit {family.value}; this is a {own} checkpoint; use family {own}")
    check_finite(checkpoint.tensors, where)
    return build_networks(checkpoint.networks, checkpoint.tensors, where=where)


def load_weights(spec: ModelSpec, store: ModelStore) -> Weights:
    """Load all tensors of a model: check the digest, put a delta on its base, and check the shapes.

    Raises:
        WeightsMissing: not on this machine.
        WrongWeights: wrong digest, layout or shapes.
    """
    path = store.weights_path(spec)
    digest = store.digests.sha256(path)
    check_digest(spec, path, digest)
    checkpoint = read_checkpoint(path)
    tensors = complete(checkpoint, path, store)
    if not _is_known(spec):
        check_fits(tensors, spec.family, where=str(path))
    return Weights(tensors, digest)


def _is_known(spec: ModelSpec) -> bool:
    """Return whether this package names the digest of the weights: its tests have seen that their content fits."""
    known = BUILT_IN.get(spec.name)
    return (
        known is not None
        and isinstance(spec.weights, PackagedWeights)
        and (spec.weights, spec.family) == (known.weights, known.family)
    )


def check_digest(spec: ModelSpec, path: Path, digest: str) -> None:
    """Raise `WrongWeights` where a file's digest is known and another."""
    match spec.weights:
        case WeightsFile(sha256=str(expected)) | PackagedWeights(sha256=expected) | LocalWeights(sha256=expected):
            if digest != expected:
                raise WrongWeights(
                    f"{path} is not the file that {spec.name} was registered with "
                    f"(SHA-256 {digest[:12]}… instead of {expected[:12]}…); "
                    f"remove it and get it again (see `qupath-sam models info {spec.name}`)"
                )


def build_segmenter(spec: ModelSpec, tensors: dict[str, Tensor], execution: Execution) -> PromptableSegmenter:
    """Build the adapter of the model's family round a network with these weights; they must fit."""
    network = build_network_with(tensors, spec.family)
    capabilities = spec.capabilities
    if spec.first_clicks_with:
        # Each decoder by itself gives what its family does.
        capabilities = replace(capabilities, mask_count=default_capabilities(spec.family).mask_count)
    return ADAPTERS[spec.family](network, capabilities=capabilities, execution=execution)


def build_decoder(spec: ModelSpec, tensors: dict[str, Tensor], execution: Execution) -> PromptableSegmenter:
    """Build the same without an image encoder, for embeddings of another segmenter with the same one."""
    network = build_decoder_with(tensors, spec.family)
    return ADAPTERS[spec.family](network, capabilities=spec.capabilities, execution=execution)


def _second_decoder(spec: ModelSpec, store: ModelStore, first: Weights) -> tuple[ModelSpec, dict[str, Tensor]] | None:
    """Load the model that answers first clicks beside this one, and its tensors; None where there is none.

    Raises:
        WrongWeights: it has another encoder.
    """
    if not spec.first_clicks_with:
        return None
    second = store.find(spec.first_clicks_with)
    path = store.weights_path(second)
    check_digest(second, path, store.digests.sha256(path))
    checkpoint = read_checkpoint(path)
    metadata = checkpoint.metadata
    fits = metadata is not None and metadata.format == "delta" and metadata.base_sha256 == first.sha256
    if not fits or any(key.startswith(ENCODER) for key in checkpoint.tensors):
        raise WrongWeights(f"{path} is no decoder for the encoder of {spec.name}; install qupath-sam again")
    tensors = over_base(checkpoint.tensors, first.tensors)
    if not _is_known(second):
        check_fits(tensors, second.family, where=str(path))
    # Copies: a network takes its tensors over, and what is no part of the delta belongs to the first.
    return second, {key: tensor.clone() for key, tensor in tensors.items() if not key.startswith(ENCODER)}


ADAPTERS: dict[Family, type[PromptableSegmenter]] = {
    Family.LITE_MEDSAM: LiteMedSamSegmenter,
    Family.MOBILE_SAM: MobileSamSegmenter,
    Family.SAM_VIT_B: SamSegmenter,
    Family.SAM_VIT_L: SamSegmenter,
    Family.SAM_VIT_H: SamSegmenter,
    Family.MEDSAM_VIT_B: MedSamSegmenter,
}


def complete(checkpoint: Checkpoint, path: Path, store: ModelStore) -> dict[str, Tensor]:
    """Return all tensors of the network: a delta's over those of its base, others unchanged.

    Raises:
        WrongWeights: the base is another than the delta was made for.
        WeightsMissing: the base is not on this machine.
    """
    metadata = checkpoint.metadata
    if metadata is None or metadata.format != "delta":
        return {key: _single(tensor) for key, tensor in checkpoint.tensors.items()}
    base = load_weights(store.find(metadata.base), store)
    if metadata.base_sha256 and base.sha256 != metadata.base_sha256:
        raise WrongWeights(
            f"{path} changes {metadata.base} with SHA-256 {metadata.base_sha256[:12]}…, "
            f"but the one here has {base.sha256[:12]}…; install the version it was made for"
        )
    return over_base(checkpoint.tensors, base.tensors)


def _single(tensor: Tensor) -> Tensor:
    """Convert to fp32, where a file was saved in half the precision."""
    return tensor.float() if tensor.is_floating_point() else tensor
