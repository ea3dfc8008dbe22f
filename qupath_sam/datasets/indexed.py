"""A folder with ``index.csv``: one row a tile, with columns image, instances, group and split.

Columns that may be there: mpp, kind (region, gland or nucleus: see `Kind`; one for all rows), stain and organ. A group
with rows of several splits is one group a split: the index says that they may be kept apart.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from qupath_sam.datasets.base import Dataset, crop_of, min_area_of, read_rgb
from qupath_sam.datasets.kinds import Kind, kind_of
from qupath_sam.datasets.label_images import read_labels
from qupath_sam.datasets.objects import Tile
from qupath_sam.errors import InvalidRequest

INDEX = "index.csv"
_COLUMNS = {"image", "instances", "group", "split"}


def recognises(root: Path) -> bool:
    """Return whether the folder holds an index."""
    return (root / INDEX).is_file()


def read(root: Path) -> Dataset:
    """Read the tiles of the index.

    Its kind decides from which area on objects are scored, and whether tiles are cropped.

    Raises:
        InvalidRequest: the index is no UTF-8, lacks a column, a row or a cell, a pixel size is no number, or a kind is
            unknown or not the same in all rows.
    """
    rows = _rows(root / INDEX)
    name = root.resolve().name
    kind = _kind(name, [row for _, row in rows], root / INDEX)
    shared = _in_several_splits([row for _, row in rows])
    tiles = tuple(
        Tile(
            dataset=name,
            image_id=row["image"],
            group=f"{row['group']}, {row['split']}" if row["group"] in shared else row["group"],
            split=row["split"] or None,
            mpp=_mpp(row.get("mpp"), f"{root / INDEX}, row {number}"),
            read_pixels=partial(read_rgb, root / row["image"]),
            read_labels=partial(read_labels, root / row["instances"]),
            organ=(row.get("organ") or "").strip().lower(),
        )
        for number, row in rows
    )
    return Dataset(name, tiles, kind=kind, min_area=min_area_of(kind), crop=crop_of(kind))


def _in_several_splits(rows: Sequence[Mapping[str, str]]) -> frozenset[str]:
    """Return groups with rows of more than one split."""
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    return frozenset(group for group, found in splits.items() if len(found) > 1)


def _kind(name: str, rows: Sequence[Mapping[str, str]], index: Path) -> Kind:
    stated = {row.get("kind") or "" for row in rows}
    if len(stated) > 1:
        kinds = ", ".join(sorted(stated))
        raise InvalidRequest(f"{index} names several kinds ({kinds}); put each into a set of its own")
    try:
        return kind_of(name, stated=stated.pop(), stain=rows[0].get("stain") or "")
    except ValueError as error:
        known = ", ".join(kind.value for kind in Kind)
        raise InvalidRequest(f"{index}: unknown kind {rows[0]['kind']!r}; known: {known}") from error


def _rows(index: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of the index, each with the number of its line."""
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
