"""Clicks hold: the place of each is on its side in the mask that is traced, however many came after it.

A model's rules see to it in its own logits. An outline is traced on a finer grid, between whose pixels a single one
that a rule has turned is lost, and other models have no rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from qupath_sam.models.base import LOW_RES_SIZE
from qupath_sam.types.masks import Mask
from qupath_sam.types.prompts import Click, Label
from qupath_sam.types.regions import Window

#: Row and column of a grid's px, and whether it belongs to the object.
Places = Mapping[tuple[int, int], bool]


def places_of(clicks: Sequence[Click], grid: Window) -> Places:
    """Return the px of the grid that points of clicks lie in; of two on one px, the later one counts.

    Args:
        clicks: in order, level-0 px; points outside the grid are left out.
        grid: on which masks lie.
    """
    places: dict[tuple[int, int], bool] = {}
    for click in clicks:
        for point in click.points:
            x, y = grid.to_window(*point)
            column, row = math.floor(x), math.floor(y)
            if 0 <= column < grid.width and 0 <= row < grid.height:
                places[row, column] = click.label is Label.POSITIVE
    return places


def hold(mask: Mask, places: Places, grid: Window, at: tuple[int, int], *, side: bool) -> tuple[Mask, tuple[int, int]]:
    """Return the mask with all places of one side on it.

    Where a place is on the other side, the px of the logits that holds it changes sides, but for places in it that
    belong to the other side. An empty mask stays empty: nothing was found.

    Args:
        mask: bool, cropped from the grid; left as it is.
        places: see `places_of`.
        grid: on which the mask lies.
        at: column and row of the grid at which it begins.
        side: which places.

    Returns:
        The mask, and where it begins; the same one where nothing changes.
    """
    wrong = [place for place, wanted in places.items() if wanted == side and _value(mask, place, at) != side]
    if not wrong or not mask.any():
        return mask, at
    whole = np.zeros((grid.height, grid.width), np.bool_)
    whole[at[1] : at[1] + mask.shape[0], at[0] : at[0] + mask.shape[1]] = mask
    for row, column in wrong:
        whole[_cell(row, grid.height), _cell(column, grid.width)] = side
    for place, wanted in places.items():
        if wanted != side:
            whole[place] = _value(mask, place, at)
    return whole, (0, 0)


def _cell(position: int, side: int) -> slice:
    """Return the px of a grid's side that lie in the same px of the logits as the one at ``position``."""
    number = position * LOW_RES_SIZE // side
    first, last = -(-number * side // LOW_RES_SIZE), -(-(number + 1) * side // LOW_RES_SIZE)
    return slice(min(first, position), max(last, position + 1))


def _value(mask: Mask, place: tuple[int, int], at: tuple[int, int]) -> bool:
    row, column = place[0] - at[1], place[1] - at[0]
    inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
    return inside and bool(mask[row, column])
