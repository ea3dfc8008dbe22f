"""What the three maps of a crop should be, made of its labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.networks.dense_head import BORDER, CENTRE, FOREGROUND, MAPS

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def dense_targets(labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return foreground, proximity to the centre and distance from the border, each object's own in 0..1.

    The centre of an object is its pixel that is farthest from its border, the mean of them where there are several.
    Proximity falls linearly from 1 there to 0 at the object's farthest pixel; the distance from the border is divided
    by the object's largest (per-object distances as micro-sam's AIS, Archit et al. 2025). Touching objects have a
    border where they touch. What the crop's edge cuts has no border there.

    Args:
        labels: ``(H, W)``; 0 is background.

    Returns:
        float32 ``(3, H, W)``.

    Raises:
        ValueError: a label is negative.
    """
    maps = np.zeros((MAPS, *labels.shape), dtype=np.float32)
    compact = np.unique(np.append(labels.ravel(), 0), return_inverse=True)[1][:-1].reshape(labels.shape)
    if (labels < 0).any():
        raise ValueError("labels are 0 for the background and positive for objects")
    for value, place in enumerate(ndimage.find_objects(compact), start=1):
        if place is None:
            continue
        # Where a crop mirrors its tile, one label has two places.
        parts = ndimage.label(compact[place] == value, structure=_EIGHT_CONNECTED)[0]
        for part, within in enumerate(ndimage.find_objects(parts), start=1):
            inside = parts[within] == part
            where = tuple(
                slice(outer.start + inner.start, outer.start + inner.stop)
                for outer, inner in zip(place, within, strict=True)
            )
            centre, border = _distances(inside, where, labels.shape)
            maps[FOREGROUND][where][inside] = 1
            maps[CENTRE][where][inside] = centre[inside]
            maps[BORDER][where][inside] = border[inside]
    return maps


def _distances(
    inside: NDArray[np.bool_], where: tuple[slice, ...], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return proximity to the centre and distance from the border over the bounding box of one object."""
    # A frame of background where the object ends, none where the crop does.
    frame = [(int(span.start > 0), int(span.stop < extent)) for span, extent in zip(where, shape, strict=True)]
    padded = np.pad(inside, frame)
    if padded.all():
        depth = np.ones(inside.shape)
    else:
        distance = ndimage.distance_transform_edt(padded)
        depth = distance[frame[0][0] :, frame[1][0] :][: inside.shape[0], : inside.shape[1]]
    deepest = np.argwhere(depth >= depth.max() - 1e-6).mean(axis=0)
    rows, columns = np.indices(inside.shape, dtype=np.float64)
    away = np.hypot(rows - deepest[0], columns - deepest[1])
    farthest = max(float(away[inside].max()), 1.0)
    return 1 - away / farthest, depth / depth.max()
