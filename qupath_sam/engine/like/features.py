"""What a square window shows, cell by cell, as numbers to compare: the embedding's maps, and colours at four scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch.nn import functional as F

from qupath_sam.models.base import Embedding

#: Cells along each side of a window: those of SAM's image embedding.
CELLS = 64
#: Pixels of a cell from which its colours are taken, along each side.
_CELL_PX = 4
#: Sigmas of the smoothed colours, cells: what lies round a cell.
_SIGMAS = (1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True, eq=False)
class CellFeatures:
    """The cells of a window, row by row.

    Attributes:
        late: float32 ``(CELLS ** 2, C)``, the maps of the embedding; C is 0 where it has none.
        early: float32 ``(CELLS ** 2, 15)``: mean and standard deviation of red, green and blue, and their means over
            three neighbourhoods, in 0..1.
    """

    late: NDArray[np.float32]
    early: NDArray[np.float32]


def cell_features(pixels: NDArray[np.uint8], embedding: Embedding) -> CellFeatures:
    """Return the features of a window. Calls on tensors are made here: to be run on the inference thread.

    Args:
        pixels: uint8 ``(S, S, 3)`` RGB, of any side.
        embedding: of the same pixels.
    """
    return CellFeatures(_late(embedding), _early(pixels))


def _late(embedding: Embedding) -> NDArray[np.float32]:
    """Return all maps that decoders see: ``image`` of SAM's; ``map0`` and so on where a model keeps several."""
    maps = []
    with torch.inference_mode():
        for name, tensor in sorted(embedding.tensors.items()):
            if (name == "image" or name.startswith("map")) and tensor.ndim == 4 and tensor.shape[-1] > 1:
                even = tensor.float()
                if tuple(even.shape[-2:]) != (CELLS, CELLS):
                    even = F.interpolate(even, size=(CELLS, CELLS), mode="bilinear", antialias=True)
                maps.append(even[0].flatten(1).T.cpu().numpy())
    return np.concatenate(maps, axis=1) if maps else np.zeros((CELLS * CELLS, 0), np.float32)


def _early(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    side = CELLS * _CELL_PX
    image = Image.fromarray(pixels)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BOX)
    blocks = (np.asarray(image, np.float32) / 255).reshape(CELLS, _CELL_PX, CELLS, _CELL_PX, 3)
    mean = blocks.mean(axis=(1, 3))
    planes = [mean, blocks.std(axis=(1, 3))]
    planes += [ndimage.gaussian_filter(mean, (sigma, sigma, 0), mode="nearest") for sigma in _SIGMAS]
    return np.concatenate(planes, axis=2).reshape(CELLS * CELLS, -1).astype(np.float32)
