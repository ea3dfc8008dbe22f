"""A folder with ``index.csv``: one row a tile, with columns image, instances, group and split (and perhaps mpp)."""

from __future__ import annotations

import csv
import math
from functools import partial
from pathlib import Path

from qupath_sam.datasets.base import MIN_AREA_GLANDS, MIN_AREA_NUCLEI, Dataset, read_rgb
from qupath_sam.datasets.label_images import read_labels
from qupath_sam.datasets.objects import Tile
from qupath_sam.errors import InvalidRequest

INDEX = "index.csv"
_COLUMNS = {"image", "instances", "group", "split"}


def recognises(root: Path) -> bool:
    """Whether the folder holds an index."""
    return (root / INDEX).is_file()


def read(root: Path) -> Dataset:
    """The tiles of the index. Sets named ``ebhi...`` hold glands, which are scored from 400 px on; others nuclei.

    Raises:
        InvalidRequest: the index is no UTF-8, lacks a column, a row or a cell, or a pixel size is no number.
    """
    rows = _rows(root / INDEX)
    name = root.resolve().name
    tiles = tuple(
        Tile(
            dataset=name,
            image_id=row["image"],
            group=row["group"],
            split=row["split"] or None,
            mpp=_mpp(row.get("mpp"), f"{root / INDEX}, row {number}"),
            read_pixels=partial(read_rgb, root / row["image"]),
            read_labels=partial(read_labels, root / row["instances"]),
        )
        for number, row in rows
    )
    glands = name.lower().startswith("ebhi")
    return Dataset(name, tiles, min_area=MIN_AREA_GLANDS if glands else MIN_AREA_NUCLEI)


def _rows(index: Path) -> list[tuple[int, dict[str, str]]]:
    """Its rows, each with the number of its line."""
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        # Excel begins a file with a byte order mark.
        with index.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = _COLUMNS - set(reader.fieldnames or ())
            if missing:
                raise InvalidRequest(f"{index} lacks the column(s) {', '.join(sorted(missing))}; add them")
            for row in reader:
                short = sorted(column for column in _COLUMNS if row[column] is None)
                if short:
                    raise InvalidRequest(f"{index}, row {reader.line_num} ends before {', '.join(short)}; complete it")
                rows.append((reader.line_num, row))
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{index} is not in UTF-8 ({error}); save it as CSV UTF-8") from error
    if not rows:
        raise InvalidRequest(f"{index} names no image; add a row for each")
    return rows


def _mpp(text: str | None, place: str) -> float | None:
    if not text:
        return None
    try:
        mpp = float(text)
    except ValueError:
        mpp = math.nan
    if not 0 < mpp < math.inf:
        raise InvalidRequest(f"{place}: mpp is {text!r}; write um per px as a number such as 0.25, or leave it empty")
    return mpp
