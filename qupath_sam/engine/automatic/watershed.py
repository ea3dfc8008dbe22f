"""From the three maps of a dense head to one label an object.

Seeds are places that are near a centre and far from a border; the foreground is divided among them by a watershed, as
in micro-sam's automatic instance segmentation (Archit et al. 2025, Nature Methods 22:579). The watershed is a minimum
spanning forest rooted in the seeds (watershed cuts, Cousty et al. 2009, IEEE TPAMI 31:1362), which scipy computes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.networks.dense_head import BORDER, CENTRE, FOREGROUND
from qupath_sam.types.choices import ObjectKind

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)
#: Weight of an edge within a seed: below any other, and not 0, which is no edge.
_WITHIN_SEED = 1e-6


@dataclass(frozen=True, slots=True)
class WatershedOptions:
    """Our choice, on training tiles; micro-sam's thresholds are .5 each.

    Attributes:
        foreground: least foreground of an object's pixels.
        seed: least height of a seed's pixels, see `height_of`.
        smoothing: sigma of the Gaussian over the height, px.
        min_seed: least area of a seed, px.
        min_area: least area of an object, px.
    """

    foreground: float = 0.5
    seed: float = 0.5
    smoothing: float = 1.0
    min_seed: int = 4
    min_area: int = 20


#: By what a head finds. Glands are long and bent, so a head is less sure where their centres are: lower, wider hills.
WATERSHEDS = {
    ObjectKind.NUCLEI: WatershedOptions(),
    ObjectKind.GLANDS: WatershedOptions(seed=0.35, smoothing=5.0, min_seed=40, min_area=200),
}


def height_of(maps: NDArray[np.float32], *, smoothing: float) -> NDArray[np.float32]:
    """Return the mean of proximity to the centre and distance from the border, smoothed: one hill an object.

    Args:
        maps: float32 ``(3, H, W)`` in 0..1.
        smoothing: sigma, px.

    Returns:
        float32 ``(H, W)`` in 0..1.
    """
    height: NDArray[np.float32] = (maps[CENTRE] + maps[BORDER]) / 2
    return np.asarray(ndimage.gaussian_filter(height, smoothing), np.float32) if smoothing > 0 else height


def label_objects(maps: NDArray[np.float32], options: WatershedOptions | None = None) -> NDArray[np.int32]:
    """Return one label an object, from 1 without gaps, by rows.

    A part of the foreground without a seed is one object.

    Args:
        maps: float32 ``(3, H, W)`` in 0..1: foreground, proximity to the centre, distance from the border.
        options: thresholds.

    Returns:
        int32 ``(H, W)``; 0 is background. An object's pixels hang together, by edges or corners.
    """
    options = options or WatershedOptions()
    inside = maps[FOREGROUND] >= options.foreground
    height = height_of(maps, smoothing=options.smoothing)
    seeds = _large_enough(ndimage.label((height >= options.seed) & inside, _EIGHT_CONNECTED)[0], options.min_seed)
    labels = watershed(1 - height, seeds, inside)
    return _large_enough(labels, options.min_area)


def watershed(cost: NDArray[np.float32], seeds: NDArray[np.integer], inside: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Divide a mask among seeds along the crests of a relief.

    Args:
        cost: float ``(H, W)``, 0 or more: what it costs to go over a pixel.
        seeds: ``(H, W)``; 0 is none.
        inside: bool ``(H, W)``: what is divided. Seeds outside of it are not there.

    Returns:
        int32 ``(H, W)``; a part of the mask that no seed reaches has a label of its own, above the seeds'.
    """
    # Here: a server that starts waits a quarter of a second for it, and clicks need no graphs.
    from scipy import sparse
    from scipy.sparse import csgraph

    height, width = inside.shape
    count = int(np.count_nonzero(inside))
    labels = np.zeros((height, width), np.int32)
    if not count:
        return labels
    number = np.full((height, width), -1, np.int64)
    number[inside] = np.arange(count)
    seed_of = seeds[inside]
    cost_of = np.maximum(cost[inside].astype(np.float64), 0) + 2 * _WITHIN_SEED
    starts, ends = _neighbours(number)
    weights = np.maximum(cost_of[starts], cost_of[ends])
    both = (seed_of[starts] > 0) & (seed_of[ends] > 0)
    same = both & (seed_of[starts] == seed_of[ends])
    weights[same] = _WITHIN_SEED
    kept = ~both | same
    # One more node is the root of all seeds.
    first = np.unique(seed_of, return_index=True)
    roots = first[1][first[0] > 0]
    starts = np.concatenate([starts[kept], np.full(len(roots), count)])
    ends = np.concatenate([ends[kept], roots])
    weights = np.concatenate([weights[kept], np.full(len(roots), _WITHIN_SEED / 2)])
    graph = sparse.coo_array((weights, (starts, ends)), shape=(count + 1, count + 1)).tocsr()
    forest = csgraph.minimum_spanning_tree(graph).tocoo()
    cut = (forest.row != count) & (forest.col != count)
    trees = sparse.coo_array((forest.data[cut], (forest.row[cut], forest.col[cut])), shape=(count, count)).tocsr()
    tree_of = csgraph.connected_components(trees, directed=False)[1]
    # A tree has its seed's label, or one of its own.
    of_tree = np.zeros(tree_of.max() + 1, np.int32)
    of_tree[tree_of[seed_of > 0]] = seed_of[seed_of > 0]
    without = np.flatnonzero(of_tree == 0)
    of_tree[without] = int(seeds.max(initial=0)) + 1 + np.arange(len(without))
    labels[inside] = of_tree[tree_of]
    return labels


def _neighbours(number: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of numbers of pixels that touch by an edge or a corner."""
    pairs = []
    for one, other in (
        (number[:, :-1], number[:, 1:]),
        (number[:-1], number[1:]),
        (number[:-1, :-1], number[1:, 1:]),
        (number[:-1, 1:], number[1:, :-1]),
    ):
        present = (one >= 0) & (other >= 0)
        pairs.append((one[present], other[present]))
    return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])


def _large_enough(labels: NDArray[np.integer], area: int) -> NDArray[np.int32]:
    """Return labels without those of fewer px, numbered again by the first pixel of each."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    kept = np.flatnonzero(areas >= max(area, 1))
    if not len(kept):
        return np.zeros(labels.shape, np.int32)
    first = np.full(len(areas), labels.size)
    np.minimum.at(first, labels.ravel(), np.arange(labels.size))
    renumbered = np.zeros(len(areas), np.int32)
    renumbered[kept[np.argsort(first[kept])]] = np.arange(1, len(kept) + 1)
    whole: NDArray[np.int32] = renumbered[labels]
    return whole
