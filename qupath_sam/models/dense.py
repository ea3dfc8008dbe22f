"""The file of a dense head, and the head made ready: three maps of a window from its pixels and its embedding.

A file is safetensors with JSON under `METADATA_KEY`: ``format`` (`FORMAT`), ``encoder_sha256`` (`encoder_digest` of the
encoder that it was trained on, and the only one it understands), ``objects`` (`ObjectKind` by value: what it finds;
absent for nuclei), ``groups_seen`` and how it was trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.machine.files import atomic_write
from qupath_sam.models.base import Embedding
from qupath_sam.models.dense_scales import DENSE_SCALES, DenseScale
from qupath_sam.models.devices import Execution, out_of_memory_mapped
from qupath_sam.models.weights.checkpoints import METADATA_KEY, check_finite, read_entry
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.dense_head import DENSE_SIZE, DenseHead
from qupath_sam.networks.meta import on_meta_device
from qupath_sam.types.choices import ObjectKind

#: Value of ``format`` in the metadata.
FORMAT = "dense head"
#: Folder of the store with the user's own heads, and those that may come with the package.
FOLDER = "dense"
PACKAGED = {
    ObjectKind.NUCLEI: "assets/nuclei_dense.safetensors",
    ObjectKind.GLANDS: "assets/glands_dense.safetensors",
}


@dataclass(frozen=True, slots=True, eq=False)
class DenseWeights:
    """A dense head's tensors in fp32, and what its file says of it.

    Attributes:
        tensors: by the names of `DenseHead`.
        encoder_sha256: of the encoder that it belongs to.
        objects: that it finds.
        sha256: of the file.
        entry: all metadata.
    """

    tensors: dict[str, Tensor]
    encoder_sha256: str
    objects: ObjectKind
    sha256: str
    entry: Mapping[str, Any]


def encoder_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the hex SHA-256 of the image encoder among a network's tensors, in fp32.

    That of a delta with a frozen encoder is its base's.
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        if key.startswith("image_encoder."):
            digest.update(key.encode())
            digest.update(tensor.float().numpy().tobytes())
    return digest.hexdigest()


def write_dense_head(path: Path, tensors: Mapping[str, Tensor], entry: Mapping[str, Any]) -> None:
    """Write a head in fp16; what was there stays until the new file is whole.

    Args:
        path: ``.safetensors``.
        tensors: of `DenseHead.state_dict`.
        entry: metadata with ``encoder_sha256``; ``format`` is added.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {key: tensor.detach().cpu().half().contiguous().clone() for key, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(halves, metadata={METADATA_KEY: json.dumps({"format": FORMAT, **entry})}))


def read_dense_head(path: Path) -> DenseWeights:
    """Read a file of `write_dense_head`.

    Raises:
        WrongWeights: it is none, or is damaged.
    """
    entry = read_entry(path)
    if entry.get("format") != FORMAT or not isinstance(entry.get("encoder_sha256"), str):
        raise WrongWeights(f"{path} is no dense head; make one with `qupath-sam train ... --method dense`")
    objects = _objects_of(entry, path)
    content = path.read_bytes()
    try:
        tensors = {key: tensor.float() for key, tensor in load(content).items()}
    except SafetensorError as error:
        raise WrongWeights(f"{path} is damaged ({error}); get it again") from error
    with on_meta_device():
        expected = {key: tensor.shape for key, tensor in DenseHead().state_dict().items()}
    if {key: tensor.shape for key, tensor in tensors.items()} != expected:
        raise WrongWeights(f"{path} holds a dense head of another version; train it again, or update qupath-sam")
    check_finite(tensors, str(path))
    return DenseWeights(tensors, entry["encoder_sha256"], objects, hashlib.sha256(content).hexdigest(), entry)


def add_dense_head(file: Path, store: ModelStore) -> Path:
    """Copy a head into the store, where every model with its encoder finds it.

    It takes the place of an earlier one for the same objects.

    Raises:
        WeightsMissing: no such file.
        WrongWeights: it is no dense head.
    """
    if not file.is_file():
        raise WeightsMissing(f"there is no file {file}; name the dense.safetensors of a training run")
    weights = read_dense_head(file)
    target = _kept_path(weights, store)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as kept:
        kept.write(file.read_bytes())
    return target


def dense_head_paths(
    tensors: Mapping[str, Tensor], store: ModelStore, *, named: Path | None = None
) -> dict[ObjectKind, Path]:
    """Return where the dense heads of an encoder lie, by what they find.

    A head in the store comes before one of the package, and a named one is the only one.

    Args:
        tensors: of the model, with its encoder.
        store: of this machine.
        named: by the caller.

    Raises:
        WeightsMissing: the named file is not there.
        WrongWeights: the named file belongs to another encoder.
    """
    if named is not None and not named.is_file():
        raise WeightsMissing(f"there is no file {named}; name the dense.safetensors of a training run")
    packaged = [Path(str(files("qupath_sam") / name)) for name in PACKAGED.values()]
    candidates = [named] if named is not None else [*sorted((store.home / FOLDER).glob("*.safetensors")), *packaged]
    present = [path for path in candidates if path.is_file()]
    if not present:
        return {}
    digest = encoder_digest(tensors)
    found: dict[ObjectKind, Path] = {}
    for path in present:
        entry = read_entry(path)
        if entry.get("encoder_sha256") == digest:
            found.setdefault(_objects_of(entry, path), path)
    if named is not None and not found:
        read_dense_head(named)  # says so where it is none at all
        raise WrongWeights(
            f"{named} belongs to another encoder; choose the model that it was trained on "
            f"({read_entry(named).get('initial_model', 'unknown')}), or train a head for this one"
        )
    return found


def dense_heads_for(
    tensors: Mapping[str, Tensor], store: ModelStore, *, named: Path | None = None
) -> list[DenseWeights]:
    """Return the dense heads of an encoder; see `dense_head_paths`."""
    return [read_dense_head(path) for path in dense_head_paths(tensors, store, named=named).values()]


def _objects_of(entry: Mapping[str, Any], path: Path) -> ObjectKind:
    try:
        return ObjectKind(entry.get("objects", ObjectKind.NUCLEI.value))
    except ValueError as error:
        raise WrongWeights(
            f"{path} is a dense head for {entry.get('objects')!r}, which this version does not know; update qupath-sam"
        ) from error


def _kept_path(weights: DenseWeights, store: ModelStore) -> Path:
    objects = "" if weights.objects is ObjectKind.NUCLEI else f"-{weights.objects.value}"
    return store.home / FOLDER / f"{weights.encoder_sha256[:16]}{objects}.safetensors"


class DenseMaps:
    """A head made ready for inference. Calls come one at a time, as those of a `Segmenter`.

    Args:
        weights: of the head.
        execution: device; the head itself computes in fp32.
    """

    def __init__(self, weights: DenseWeights, execution: Execution) -> None:
        with on_meta_device():
            head = DenseHead()
        head.load_state_dict(weights.tensors, assign=True)
        self._head = head.eval().requires_grad_(False).to(execution.device).to(memory_format=torch.channels_last)
        self._execution = execution
        self.sha256 = weights.sha256
        self.objects = weights.objects

    @property
    def scale(self) -> DenseScale:
        """The size at which the head sees its objects."""
        return DENSE_SCALES[self.objects]

    def __call__(self, pixels: NDArray[np.uint8], embedding: Embedding) -> NDArray[np.float32]:
        """Return foreground, proximity to the centre and distance from the border of the objects of a square window.

        Args:
            pixels: uint8 ``(S, S, 3)`` RGB of the window.
            embedding: of the same pixels, by the model that the head belongs to.

        Returns:
            float32 ``(3, 256, 256)`` in 0..1 over the window.

        Raises:
            ValueError: the window is no square.
            OutOfMemory: the device has no room.
        """
        if pixels.shape[0] != pixels.shape[1]:
            raise ValueError(f"a dense head sees squares, not {pixels.shape[1]} x {pixels.shape[0]} px")
        device = self._execution.device
        with out_of_memory_mapped(device), torch.inference_mode():
            image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
            if image.shape[-1] != DENSE_SIZE:
                image = F.interpolate(image, size=(DENSE_SIZE, DENSE_SIZE), mode="bilinear", antialias=True)
            image = image.to(device).float().contiguous(memory_format=torch.channels_last)
            maps = torch.sigmoid(self._head(image, embedding.tensors["image"].to(device).float()))[0]
            found: NDArray[np.float32] = maps.float().cpu().numpy()
        return found
