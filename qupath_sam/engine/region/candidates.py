"""From what a proposer says of a tile to outlines in level-0 px, with the edges of the tile that cut them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.logits import mask_on_grid, traced_grid
from qupath_sam.engine.region.proposals import Proposal
from qupath_sam.engine.region.stitching import Candidate, Edge
from qupath_sam.polygons import clip, place, trace_masks
from qupath_sam.types.regions import Region, Window


def candidates_of(proposals: Sequence[Proposal], window: Window, extent: Region) -> list[Candidate]:
    """Return the candidates of proposals, without those of which nothing lies in the image.

    Args:
        proposals: of one tile.
        window: of the tile.
        extent: where the image has pixels, level-0 px; nothing outside it is taken.
    """
    masks = [_traced(proposal, window) for proposal in proposals]
    outlines = trace_masks([mask for mask, _, _ in masks])
    candidates = []
    for proposal, outline, (_, at, grid) in zip(proposals, outlines, masks, strict=True):
        geometry = place(outline, grid, at=at)
        if not extent.encloses(window.region):
            geometry = clip(geometry, shapely.box(*extent.bounds))
        if geometry.is_empty:
            continue
        candidates.append(
            Candidate(
                geometry=geometry,
                score=float(proposal.score),
                point=_point_in(geometry) if proposal.point is None else window.to_level0(*proposal.point),
                tile=window.region.bounds,
                likeness=proposal.likeness,
                edges=cut_edges(proposal, window, extent),
            )
        )
    return candidates


def _point_in(geometry: Polygon | MultiPolygon) -> tuple[float, float]:
    inside = geometry.representative_point()
    return inside.x, inside.y


def cut_edges(proposal: Proposal, window: Window, extent: Region) -> frozenset[Edge]:
    """Return the edges of the tile, beyond which the image goes on, that a proposal's mask runs into."""
    mask, (column, row), region = proposal.mask, proposal.at, window.region
    height, width = mask.shape
    cuts = {
        Edge.LEFT: region.x > extent.x and column <= 0 and mask[:, 0].any(),
        Edge.TOP: region.y > extent.y and row <= 0 and mask[0].any(),
        Edge.RIGHT: region.right < extent.right and column + width >= window.width and mask[:, -1].any(),
        Edge.BOTTOM: region.bottom < extent.bottom and row + height >= window.height and mask[-1].any(),
    }
    return frozenset(edge for edge, cut in cuts.items() if cut)


def _traced(proposal: Proposal, window: Window) -> tuple[NDArray[np.bool_], tuple[int, int], Window]:
    """Return the mask to trace, the column and row at which it begins, and the grid on which it lies."""
    grid = traced_grid(window)
    if proposal.logits is None or grid == window:
        return proposal.mask, proposal.at, window
    fine, (x0, y0) = mask_on_grid(proposal.mask, proposal.logits, window, grid)
    # The logits may show other objects too: only what lies at the mask is meant.
    whole = np.zeros((window.height, window.width), bool)
    (column, row), (height, width) = proposal.at, proposal.mask.shape
    whole[row : row + height, column : column + width] = proposal.mask
    near = ndimage.binary_dilation(whole, np.ones((3, 3), bool))
    rows = (np.arange(y0, y0 + fine.shape[0]) * window.height) // grid.height
    columns = (np.arange(x0, x0 + fine.shape[1]) * window.width) // grid.width
    return fine & near[rows[:, None], columns[None, :]], (x0, y0), grid
