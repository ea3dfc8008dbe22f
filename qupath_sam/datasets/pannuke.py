"""PanNuke (Gamper et al. 2020, "PanNuke Dataset Extension"), in its own folds of ``.npy`` files.

A fold is three arrays: ``images.npy`` ``(N, 256, 256, 3)`` of 0..255 (stored as floating point), ``masks.npy``
``(N, 256, 256, 6)`` with an instance map for each of five cell classes and the background last, and ``types.npy``
``(N,)`` with the tissue. Published as ``Fold 1/images/fold1/images.npy`` and ``Fold 1/masks/fold1/masks.npy``; folders
that hold all three are read as well. 40x, 0.25 um/px.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qupath_sam.datasets.base import Dataset, walk_folders
from qupath_sam.datasets.objects import Tile
from qupath_sam.errors import InvalidRequest

MPP = 0.25
_CELL_CLASSES = 5


@dataclass(frozen=True, slots=True)
class Fold:
    """Paths of the arrays of a fold."""

    name: str
    images: Path
    masks: Path
    types: Path


def recognises(root: Path) -> bool:
    """Return whether some folder in or below ``root`` is a fold."""
    return root.is_dir() and bool(_folds(root))


def read(root: Path) -> Dataset:
    """Read each patch with a cell, of each fold under ``root``.

    PanNuke names no patients; its protocol trains on some folds and scores on another. So a group is a tissue within a
    fold, ``fold1/Breast``: a model that has seen one fold may be scored on the next.
    """
    name = root.resolve().name
    tiles: list[Tile] = []
    for fold in _folds(root):
        tissues, masks, images = (_load(path) for path in (fold.types, fold.masks, fold.images))
        if not len(tissues) == len(masks) == len(images):
            raise InvalidRequest(f"the arrays of {fold.name} differ in length; fetch the fold again")
        if images.ndim != 4 or images.shape[-1] != 3 or masks.ndim != 4 or masks.shape[-1] < _CELL_CLASSES:
            raise InvalidRequest(
                f"{fold.images} and {fold.masks} are of shapes {images.shape} and {masks.shape}, expected (N, H, W, 3) "
                f"and (N, H, W, {_CELL_CLASSES} or more); fetch the fold again"
            )
        tiles += [
            Tile(
                dataset=name,
                image_id=f"{fold.name}/{index:05d}",
                group=f"{fold.name}/{tissue}",
                split=None,
                mpp=MPP,
                read_pixels=partial(_read_pixels, fold.images, index),
                read_labels=partial(_read_cells, fold.masks, index),
                organ=str(tissue).replace("_", " ").lower(),
            )
            for index, tissue in enumerate(tissues)
        ]
    return Dataset(name, tuple(tiles))


def _load(path: Path) -> NDArray[Any]:
    """Map an array rather than read it: a fold's masks take 8 GB."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise InvalidRequest(f"{path} is no array that can be read ({error}); fetch the fold again") from error
    return array


def _read_pixels(images: Path, index: int) -> NDArray[np.uint8]:
    values = np.asarray(_load(images)[index])
    if np.issubdtype(values.dtype, np.floating) and 0 < values.max() <= 1:
        raise InvalidRequest(f"{images} holds values of 0 to 1, PanNuke's are 0 to 255; multiply them by 255")
    return values.round().clip(0, 255).astype(np.uint8)


def _read_cells(path: Path, index: int) -> NDArray[np.integer]:
    """Read the cells of all classes as one label image; ids are unique in a class only, so they get new numbers."""
    masks = _load(path)
    labels = np.zeros(masks.shape[1:3], dtype=np.int32)
    last = 0
    for class_index in range(_CELL_CLASSES):
        instances = np.asarray(masks[index, ..., class_index]).astype(np.int32)
        for value in np.unique(instances[instances > 0]):
            last += 1
            labels[instances == value] = last
    return labels


def _folds(root: Path) -> list[Fold]:
    found = []
    for folder in walk_folders(root):
        for images, masks in ((folder, folder), *_published_layout(folder)):
            # "Fold 1" and "fold1" are the same one, in two layouts.
            name = "".join(images.name.lower().split())
            fold = Fold(name, images / "images.npy", masks / "masks.npy", images / "types.npy")
            if fold.images.is_file() and fold.masks.is_file() and fold.types.is_file():
                found.append(fold)
    return found


def _published_layout(folder: Path) -> list[tuple[Path, Path]]:
    images, masks = folder / "images", folder / "masks"
    if not (images.is_dir() and masks.is_dir()):
        return []
    return [(fold, masks / fold.name) for fold in sorted(images.iterdir()) if fold.is_dir()]
