"""One embedding as one safetensors file that proves to be whole, and to be the one asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import safetensors.torch
import torch

from qupath_sam.errors import OutOfMemory
from qupath_sam.models.base import Embedding

#: To be changed with the meaning of the metadata; files of another version are computed again.
_FORMAT = "qupath-sam embedding 1"


def to_bytes(key: str, embedding: Embedding) -> bytes:
    """Return the file's content. Names, shapes, dtypes and values are kept; strides and the device are not.

    Layout: https://huggingface.co/docs/safetensors, with ``format``, ``key``, ``window_size`` ("height width") and
    ``sha256`` of all of it as metadata.
    """
    # Copies, because safetensors refuses tensors that share memory.
    tensors = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in embedding.tensors.items()
    }
    metadata = {
        "format": _FORMAT,
        "key": key,
        "window_size": f"{embedding.window_size[0]} {embedding.window_size[1]}",
        "sha256": _digest(key, embedding.window_size, tensors),
    }
    return safetensors.torch.save(tensors, metadata)


def from_bytes(data: bytes, key: str, *, device: str | torch.device = "cpu") -> Embedding:
    """Return the embedding of ``key`` that `to_bytes` wrote, its tensors on ``device``.

    Raises:
        ValueError: ``data`` is truncated, damaged, of another version, of another key, or something else entirely.
        OutOfMemory: the device has no room.
    """
    try:
        metadata = _metadata(data)
        tensors = safetensors.torch.load(data)
    except Exception as error:  # what the libraries make of arbitrary bytes is not theirs to promise
        raise ValueError(f"not a readable safetensors file: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"format is {metadata.get('format')!r}, expected {_FORMAT!r}")
    height, width = (int(side) for side in metadata.get("window_size", "").split(" "))
    if metadata.get("key") != key or metadata.get("sha256") != _digest(key, (height, width), tensors):
        raise ValueError("the content is damaged, or belongs to another key")
    try:
        return Embedding({name: tensor.to(device) for name, tensor in tensors.items()}, (height, width))
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"{device} has no room for an embedding; keep fewer of them in memory") from error


def _metadata(data: bytes) -> dict[str, str]:
    """Return the header's metadata. `safetensors.safe_open` maps the file, so that Windows cannot delete it."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    return {str(name): str(value) for name, value in metadata.items()}


def _digest(key: str, window_size: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the hex SHA-256 of everything that makes the embedding.

    A flipped dtype in the header would go unnoticed else.
    """
    names = sorted(tensors)
    description = [
        key,
        list(map(int, window_size)),
        [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names],
    ]
    digest = hashlib.sha256(json.dumps(description).encode("ascii"))
    for name in names:
        # numpy has no bfloat16, but every dtype is made of bytes.
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
