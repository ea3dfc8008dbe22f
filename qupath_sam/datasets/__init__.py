"""Labelled images, for training and evaluation; `formats` reads them.

The names of `formats` are here too, and are imported when they are used: the command line offers the choices of
`options` without reading any image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qupath_sam.datasets.formats import FORMATS, Dataset, open_dataset

__all__ = ["FORMATS", "Dataset", "open_dataset"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qupath_sam.datasets import formats

    return getattr(formats, name)
