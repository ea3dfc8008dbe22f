"""The size at which a dense head sees the objects that it finds: in training, and where it is used."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qupath_sam.types.choices import ObjectKind


@dataclass(frozen=True, slots=True)
class DenseScale:
    """Sizes of the objects of a head.

    Attributes:
        trained: least and largest median diameter of the objects of a training crop, px of its 256.
        diameter: median diameter at which a head is at its best, px of a tile.
        mpp: um per tile px at which most of them have it.
        beyond: a tile is at most so many times as wide as the region, where the scale is guessed from the objects. What
            lies beyond an image is its mirror image: nuclei are whole or cut there, glands grow together.
    """

    trained: tuple[float, float]
    diameter: float
    mpp: float
    beyond: float


#: Our choice. Nuclei have 4 to 15 um, glands 30 to 150 um.
DENSE_SCALES = {
    ObjectKind.NUCLEI: DenseScale(trained=(13.0, 44.0), diameter=26.0, mpp=0.25, beyond=math.inf),
    ObjectKind.GLANDS: DenseScale(trained=(32.0, 128.0), diameter=64.0, mpp=1.0, beyond=1.0),
}
