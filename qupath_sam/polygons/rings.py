"""From corners to rings: closed outlines that pass no point twice.

Along a lattice row, the outlines of a label alternately begin and end a horizontal edge. So in raster order its corners
0 and 1, 2 and 3, ... are the ends of an edge each; and in column order they are the ends of the vertical edges. Each
horizontal edge thus leads over one vertical edge to the next horizontal one: a permutation, whose cycles are the rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qupath_sam.polygons.corners import ABOVE_RIGHT, BELOW_LEFT, BELOW_RIGHT, Corners, is_saddle, stable_order


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Horizontal edges, directed so that the label lies on their right; ordered by label, then row, then column.

    Attributes:
        y, start_x, end_x: lattice positions, intp ``(m,)``.
        label: integer ``(m,)``.
        rightwards: bool ``(m,)``, whether the label lies below the edge.
        successor: intp ``(m,)``, the next horizontal edge of the same ring.
    """

    y: NDArray[np.intp]
    start_x: NDArray[np.intp]
    end_x: NDArray[np.intp]
    label: NDArray[np.integer[Any]]
    rightwards: NDArray[np.bool_]
    successor: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """Cycles of edges, in the order of their first edges; the first is the topmost, and of those the leftmost.

    Attributes:
        edges: intp ``(m,)``, numbers of edges, ring after ring.
        first: intp ``(r,)``, the first edge of each ring.
        ring_of_edge: intp ``(m,)``, by number of edge.
    """

    edges: NDArray[np.intp]
    first: NDArray[np.intp]
    ring_of_edge: NDArray[np.intp]


def find_rings(corners: Corners) -> tuple[Edges, Rings]:
    """Return the rings of at least one corner, shells clockwise (y down), holes anticlockwise.

    In a saddle both outlines first turn so that each stays with its own pixel; that is 4-connectedness. If they turn
    out to be one ring, it meets itself there, which OGC rings must not, and turning the other way cuts it in two. A
    ring never crosses itself, so the saddles in which it meets itself nest like brackets: turning the other way in all
    of them at once leaves rings that are simple.
    """
    saddles = np.flatnonzero(is_saddle(corners.code))[::2]
    # Staying with its pixel, the edge from the left goes on upwards when that pixel is above, downwards when below.
    crossed = corners.code[saddles] == (ABOVE_RIGHT | BELOW_LEFT)
    by_column = stable_order(corners.x)
    if corners.label[0] != corners.label[-1]:
        by_column = by_column[stable_order(corners.label[by_column])]
    edges = _link(corners, by_column, saddles[crossed])
    rings = _follow(edges.successor)
    meets_itself = rings.ring_of_edge[saddles >> 1] == rings.ring_of_edge[(saddles + 1) >> 1]
    if meets_itself.any():
        edges = _link(corners, by_column, saddles[crossed ^ meets_itself])
        rings = _follow(edges.successor)
    return edges, rings


def _link(corners: Corners, by_column: NDArray[np.intp], crossed_saddles: NDArray[np.intp]) -> Edges:
    """Join corners to horizontal edges, and each of those to its successor.

    Args:
        corners: in each row and in each column of a label their number is even.
        by_column: order of the corners by label, then column, then row.
        crossed_saddles: first corner of each saddle whose left edge goes on downwards.
    """
    # In a column, the first corner of a saddle ends the edge above it, and the second begins the edge below.
    is_crossed = np.zeros(by_column.size, np.bool_)
    is_crossed[crossed_saddles] = True
    at = np.flatnonzero(is_crossed[by_column])
    by_column = by_column.copy()
    by_column[at], by_column[at + 1] = by_column[at + 1], by_column[at]

    vertical_partner = np.empty_like(by_column)
    vertical_partner[by_column[::2]] = by_column[1::2]
    vertical_partner[by_column[1::2]] = by_column[::2]

    left = np.arange(0, by_column.size, 2)
    rightwards = (corners.code[left] & BELOW_RIGHT) != 0
    start, end = left + ~rightwards, left + rightwards
    return Edges(
        y=corners.y[left],
        start_x=corners.x[start],
        end_x=corners.x[end],
        label=corners.label[left],
        rightwards=rightwards,
        successor=vertical_partner[end] >> 1,
    )


def _follow(successor: NDArray[np.intp]) -> Rings:
    """Return the cycles of a permutation.

    Plain Python on purpose: it visits an edge once, where the vectorised way (pointer doubling) takes 15 to 20 passes.
    """
    following: list[int] = successor.tolist()
    edges: list[int] = []
    starts: list[int] = []
    for first in range(len(following)):
        if following[first] < 0:  # already in a ring
            continue
        starts.append(len(edges))
        edge = first
        while True:
            edges.append(edge)
            after = following[edge]
            following[edge] = -1
            if after == first:
                break
            edge = after
    order, begin = np.array(edges), np.array(starts)
    ring_of_edge = np.empty_like(order)
    ring_of_edge[order] = np.repeat(np.arange(begin.size), np.diff(begin, append=order.size))
    return Rings(order, order[begin], ring_of_edge)
