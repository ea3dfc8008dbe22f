"""Data Science Bowl 2018, stage 1, in its own layout (Caicedo et al. 2019, "Nucleus segmentation across...").

``<image id>/images/<image id>.png`` and, for every nucleus, one binary ``<image id>/masks/<mask id>.png``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qupath_sam.datasets.base import Dataset, read_rgb
from qupath_sam.datasets.label_images import read_mask
from qupath_sam.datasets.objects import Tile
from qupath_sam.errors import InvalidRequest


def recognises(root: Path) -> bool:
    """Return whether some folder of ``root`` holds an image of its own name, and masks."""
    return root.is_dir() and any(_image(folder) is not None for folder in root.iterdir())


def read(root: Path) -> Dataset:
    """Read one tile for every image that has masks; each image is its own group, as the set names no patients."""
    name = root.resolve().name
    tiles = []
    for folder in sorted(root.iterdir()):
        image = _image(folder)
        if image is not None:
            tiles.append(
                Tile(
                    dataset=name,
                    image_id=folder.name,
                    group=folder.name,
                    split=None,
                    mpp=None,
                    read_pixels=partial(read_rgb, image),
                    read_labels=partial(read_nuclei, folder / "masks"),
                )
            )
    return Dataset(name, tuple(tiles))


def read_nuclei(masks: Path) -> NDArray[np.integer]:
    """Read the masks of a folder as one label image, numbered in the order of their names. No two masks overlap.

    Raises:
        InvalidRequest: the folder holds no mask, or masks of several sizes.
    """
    files = sorted(masks.glob("*.png"))
    if not files:
        raise InvalidRequest(f"{masks} holds no mask; fetch the data set again")
    labels = np.zeros(read_mask(files[0]).shape, dtype=np.int32)
    for number, file in enumerate(files, start=1):
        nucleus = read_mask(file)
        if nucleus.shape != labels.shape:
            raise InvalidRequest(f"{file} differs in size from the other masks of its image; fetch the data set again")
        labels[nucleus] = number
    return labels


def _image(folder: Path) -> Path | None:
    image = folder / "images" / f"{folder.name}.png"
    return image if image.is_file() and (folder / "masks").is_dir() else None
