"""Pictures with red objects on white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.datasets.objects import Tile


def disc(size: int, x: float, y: float, radius: float) -> NDArray[np.bool_]:
    """Pixels whose centre is within ``radius`` of ``(x, y)``."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def painted(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """White, and red where there are objects."""
    return np.where((labels > 0)[..., None], [220, 20, 60], [255, 255, 255]).astype(np.uint8)


def tile(labels: NDArray[np.integer], *, image_id: str = "a", group: str = "g", dataset: str = "set") -> Tile:
    """A tile of `painted` labels."""
    return Tile(dataset, image_id, group, "validation", None, lambda: painted(labels), lambda: labels)


def two_discs(size: int = 64) -> NDArray[np.int32]:
    """Two objects: a larger one (1) and a smaller one (2)."""
    return np.where(disc(size, 20, 20, 10), 1, np.where(disc(size, 45, 45, 8), 2, 0)).astype(np.int32)


def save(array: NDArray[np.generic], path: Path) -> None:
    """Write an image file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
