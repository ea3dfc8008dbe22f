"""Types beside tensors that checkpoints of common trainers hold, and that do nothing when they are read."""

from __future__ import annotations

import argparse
import codecs
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np


class _Attributes(dict[str, Any]):
    """Stands for the dict of hyperparameters of Lightning, which need not be installed."""


class _Path(str):
    """Stands for a path of any system."""

    __slots__ = ()

    def __new__(cls, *parts: str) -> _Path:
        return super().__new__(cls, "/".join(parts))


def _dtype(name: str, *_: object) -> np.dtype[Any]:
    """Return a NumPy type of numbers; no other is made for a checkpoint."""
    dtype = np.dtype(str(name))
    if dtype.kind not in "biuf":
        raise ValueError(f"{name} is no type of numbers")
    return dtype


def _scalar(dtype: np.dtype[Any], data: bytes) -> Any:
    """Return a NumPy number."""
    return np.frombuffer(data, _dtype(dtype.str), count=1)[0]


_LIGHTNING = (
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
)
_PATHS = (
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib.Path",
    "pathlib._local.PosixPath",
)


def harmless_globals() -> Iterator[Any]:
    """Return entries for `torch.serialization.safe_globals`: NumPy's numbers, options, paths, hyperparameters."""
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        yield _scalar, f"{module}.scalar"
    yield _dtype, "numpy.dtype"
    for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        yield type(np.dtype(name))
    for name in ("float16", "float32", "float64"):
        yield type(np.dtype(name))
    yield codecs.encode, "_codecs.encode"
    yield from (argparse.Namespace, OrderedDict, defaultdict)
    for name in _LIGHTNING:
        yield _Attributes, name
    for name in _PATHS:
        yield _Path, name
