"""Data sets in the formats they are published in, one reader a file.

A data set is asked for as ``FOLDER``, whose format is found out, or as ``FORMAT:FOLDER``. Whole slides always need the
format, for it says how tiles are cut. The annotations of a QuPath project are read by `qupath_sam.project.dataset`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from qupath_sam.datasets import dsb2018, exported, folder, indexed, monuseg, pannuke
from qupath_sam.datasets.annotated import AnnotationChoices
from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.slides import PAIP2019_WHOLE, read_camelyon16, read_geojson_slides, read_paip2019
from qupath_sam.errors import InvalidRequest

__all__ = ["FORMATS", "Dataset", "open_dataset"]

#: Readers of QuPath's GeoJSON by the format's name, to which a caller may say what of it counts.
GEOJSON_FORMATS: Mapping[str, Callable[..., Dataset]] = {
    "geojson": exported.read,
    "geojson-x5": partial(read_geojson_slides, magnification=5),
    "geojson-x10": partial(read_geojson_slides, magnification=10),
}

#: Readers by the format's name.
FORMATS: Mapping[str, Callable[[Path], Dataset]] = {
    "index": indexed.read,
    "folder": folder.read,
    "dsb2018": dsb2018.read,
    "pannuke": pannuke.read,
    "monuseg": monuseg.read,
    "paip2019-x5": partial(read_paip2019, magnification=5),
    "paip2019-whole-x5": partial(read_paip2019, magnification=5, annotation=PAIP2019_WHOLE),
    "camelyon16-x5": partial(read_camelyon16, magnification=5),
    "camelyon16-x10": partial(read_camelyon16, magnification=10),
    **GEOJSON_FORMATS,
}

#: Asked in this order; the first that recognises a folder reads it.
_RECOGNISED = {"index": indexed, "pannuke": pannuke, "dsb2018": dsb2018, "monuseg": monuseg, "folder": folder}


def open_dataset(specification: str, *, annotations: AnnotationChoices | None = None) -> Dataset:
    """Open the data set of ``FOLDER`` or ``FORMAT:FOLDER``.

    Args:
        specification: the text.
        annotations: which annotations are objects, for `GEOJSON_FORMATS`; the others know themselves.

    Raises:
        InvalidRequest: no such folder, or one of no known format.
        SlideError: a slide of the set cannot be read.
    """
    name, colon, rest = specification.partition(":")
    if colon and name in GEOJSON_FORMATS:
        return GEOJSON_FORMATS[name](_existing(rest), annotations)
    if colon and name in FORMATS:
        return FORMATS[name](_existing(rest))
    root = _existing(specification)
    for format_name, reader in _RECOGNISED.items():
        if reader.recognises(root):
            return FORMATS[format_name](root)
    raise InvalidRequest(
        f"{root} has files of no known format; name it as FORMAT:FOLDER with one of {', '.join(FORMATS)}"
    )


def _existing(path: str) -> Path:
    root = Path(path)
    if not root.is_dir():
        raise InvalidRequest(f"there is no folder {path!r}; formats are {', '.join(FORMATS)}, as in index:FOLDER")
    return root
