"""Masks and label images to polygons, exactly as QuPath traces them.

The contract is that of QuPath's ``ContourTracing.createTracedGeometry``: vertices lie on pixel *edges* (pixel
``(i, j)`` covers ``[i, i + 1] x [j, j + 1]``, origin at the top left, y down), foreground is 4-connected (pixels that
touch only by a corner belong to two polygons), holes and parts are kept, collinear vertices are merged, every geometry
is valid by the OGC rules, and its area is the number of its pixels.

`corners` finds the vertices, `rings` joins them to closed outlines; here the outlines become polygons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.polygons.corners import Corners, corners_of_labels, corners_of_mask, stable_order
from qupath_sam.polygons.rings import Edges, Rings, find_rings


def trace_mask(mask: NDArray[np.bool_]) -> Polygon | MultiPolygon:
    """Return the outline of a mask, in the mask's px (pixel edges).

    Args:
        mask: bool ``(H, W)``.

    Returns:
        A Polygon where the mask is one 4-connected piece, else a MultiPolygon of its pieces in raster order; an empty
        Polygon for an empty mask.

    Raises:
        ValueError: not a bool array of two dimensions.
    """
    if mask.ndim != 2:
        raise ValueError(f"a mask has two dimensions, got shape {mask.shape}")
    return trace_masks(mask[None])[0]


def trace_masks(masks: NDArray[np.bool_] | Sequence[NDArray[np.bool_]]) -> list[Polygon | MultiPolygon]:
    """Return the outline of each of several masks, which may overlap: as `trace_mask` for each, in less time.

    Args:
        masks: bool ``(N, H, W)``, or N of any shapes ``(H, W)``.

    Raises:
        ValueError: not bool arrays of these dimensions.
    """
    for mask in masks:
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise ValueError(f"masks are bool arrays (H, W), got {mask.dtype} {mask.shape}; threshold them first")
    if not len(masks):
        return []
    traced = _trace(Corners.concatenate([corners_of_mask(mask, index) for index, mask in enumerate(masks)]))
    return [traced.get(index, Polygon()) for index in range(len(masks))]


def trace_labels(labels: NDArray[np.integer[Any]]) -> dict[int, Polygon | MultiPolygon]:
    """Return the outline of every label of an image, in the image's px (pixel edges), by rising label.

    All labels together cost little more than one, so do not loop over labels.

    Args:
        labels: integer ``(H, W)``; 0 is background.

    Raises:
        ValueError: not an integer array of two dimensions, or a label is negative.
    """
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"a label image is an integer array (H, W), got {labels.dtype} {labels.shape}")
    corners = corners_of_labels(labels)
    if corners.label.size and corners.label[0] < 0:
        raise ValueError(f"labels must not be negative, got {corners.label[0]}; 0 is background")
    return _trace(corners)


def _trace(corners: Corners) -> dict[int, Polygon | MultiPolygon]:
    if not corners.x.size:
        return {}
    edges, rings = find_rings(corners)
    is_shell = edges.rightwards[rings.first]  # the label lies below the topmost edge of a shell, above that of a hole
    polygon = (np.cumsum(is_shell) - 1)[_owners(edges, rings, is_shell)]
    # A shell begins above its holes, so that a stable sort leaves it the first ring of its polygon.
    by_polygon = stable_order(polygon)
    linear_rings = _linear_rings(edges, rings)[by_polygon]
    polygons = np.asarray(shapely.polygons(linear_rings, indices=polygon[by_polygon]))

    label = edges.label[rings.first[is_shell]]
    begin = np.flatnonzero(np.r_[True, label[1:] != label[:-1]])
    parts = np.split(polygons, begin[1:])
    return {
        int(value): part[0] if part.size == 1 else MultiPolygon(part.tolist())
        for value, part in zip(label[begin], parts, strict=True)
    }


def _linear_rings(edges: Edges, rings: Rings) -> NDArray[np.object_]:
    vertices = np.empty((rings.edges.size, 2, 2))
    vertices[:, 0, 0] = edges.start_x[rings.edges]
    vertices[:, 1, 0] = edges.end_x[rings.edges]
    vertices[:, :, 1] = edges.y[rings.edges, None]
    ring_of_vertex = np.repeat(rings.ring_of_edge[rings.edges], 2)
    return np.asarray(shapely.linearrings(vertices.reshape(-1, 2), indices=ring_of_vertex))


def _owners(edges: Edges, rings: Rings, is_shell: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each ring the shell of its polygon, which for a shell is itself; intp ``(r,)``."""
    owner = np.arange(is_shell.size)
    holes, shells = np.flatnonzero(~is_shell), np.flatnonzero(is_shell)
    label_of_hole, label_of_shell = edges.label[rings.first[holes]], edges.label[rings.first[shells]]
    candidate = np.searchsorted(label_of_shell, label_of_hole, "left")
    is_only_one = np.searchsorted(label_of_shell, label_of_hole, "right") - candidate == 1
    owner[holes[is_only_one]] = shells[candidate[is_only_one]]
    unclear = holes[~is_only_one]
    if unclear.size:
        owner[unclear] = _left_neighbours(edges, rings, unclear)
        while not is_shell[owner].all():  # the neighbour may be a hole, whose own neighbour is further on the way
            owner = owner[owner]
    return owner


def _left_neighbours(edges: Edges, rings: Rings, holes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each hole the ring that is met first on the way left from its topmost pixel.

    The way leads through pixels of the label alone, so that the ring met bounds the same polygon: its shell or another
    of its holes (Suzuki & Abe 1985, "Topological structural analysis of digitized binary images by border following").
    """
    # Number the pixel rows in which a hole begins, a row once for each label.
    label = np.unique(edges.label[rings.first[holes]])
    rank = np.minimum(np.searchsorted(label, edges.label), label.size - 1)
    height = edges.y.max() + 1
    row = rank * height + edges.y
    rows, row_of_hole = np.unique(row[rings.first[holes]], return_inverse=True)

    # Cut the vertical edges, each from the end of a horizontal one to its successor, into a piece for each such row.
    vertical = np.flatnonzero(label[rank] == edges.label)
    ends = row[vertical], row[edges.successor[vertical]]
    begin, end = np.searchsorted(rows, np.minimum(*ends)), np.searchsorted(rows, np.maximum(*ends))
    count = end - begin
    piece = np.repeat(vertical, count)
    row_of_piece = np.arange(piece.size) + np.repeat(begin - np.cumsum(count) + count, count)

    # Sorted by row and column, the piece before that of the hole is the neighbour.
    width = max(edges.start_x.max(), edges.end_x.max()) + 1
    position = row_of_piece * width + edges.end_x[piece]
    order = np.argsort(position)
    hole_x = np.minimum(edges.start_x, edges.end_x)[rings.first[holes]]
    at = np.searchsorted(position, row_of_hole * width + hole_x, sorter=order)
    neighbour: NDArray[np.intp] = rings.ring_of_edge[piece[order[at - 1]]]
    return neighbour
