"""From an object's masks to the outlines that are returned: traced, cut, cleaned, measured."""

from __future__ import annotations

import math

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.clicked_places import hold, places_of
from qupath_sam.engine.logits import mask_on_grid, traced_grid
from qupath_sam.engine.step import State
from qupath_sam.models.base import LOW_RES_SIZE
from qupath_sam.models.click_rules import PINHOLE_AREA
from qupath_sam.models.one_object import in_one_piece
from qupath_sam.polygons import clean_against, clip, drop_small_parts, fill_holes, place, simplify, trace_mask
from qupath_sam.types.masks import Mask
from qupath_sam.types.prompts import Label, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import MaskChoice, OutputOptions
from qupath_sam.types.results import Outline


def outlines_of(
    state: State, prompts: ObjectPrompts, output: OutputOptions, *, extent: Region, mpp: float | None
) -> tuple[Outline, ...]:
    """Return the outlines of a state, level-0 px, the likeliest first; none where nothing is left.

    Args:
        state: its candidates.
        prompts: what was said of the object.
        output: which masks, and what to do to them.
        extent: where the image has pixels, level-0 px; nothing outside it is returned.
        mpp: um per level-0 px, the unit of ``output``'s lengths and areas; None takes px.
    """
    shown = range(len(state.candidates)) if output.choice is MaskChoice.ALL else [state.chosen]
    outlines = []
    for index in shown:
        candidate = state.candidates[index]
        grid = traced_grid(candidate.window)
        mask, at = mask_on_grid(candidate.mask, candidate.logits, candidate.window, grid)
        reaches_beyond = not extent.encloses(candidate.window.region)
        if reaches_beyond:
            # Beyond the image's edge the window was painted white: what a model saw there is no tissue, and joins none.
            mask = _inside(mask, grid, at, extent)
        places = places_of(prompts.clicks, grid)
        held, at = hold(mask, places, grid, at, side=False)
        if (reaches_beyond or grid != candidate.window or held is not mask) and not output.keep_parts:
            held = _in_one_piece(held, prompts, grid, at)
        # Last, as no part is another object's only because a click lies beside it.
        held, at = hold(held, places, grid, at, side=True)
        geometry = place(trace_mask(held), grid, at=at)
        if reaches_beyond:
            # A pixel may lie across the edge.
            geometry = clip(geometry, shapely.box(*extent.bounds))
        geometry = _without_scraps(geometry, prompts, output)
        geometry = cleaned(geometry, output, mpp or 1.0)
        if not geometry.is_empty:
            area_um2 = geometry.area * mpp**2 if mpp else None
            elsewhere = None if candidate.window == state.window else candidate.window
            outlines.append(Outline(geometry, candidate.score, geometry.area, area_um2, index, elsewhere))
    return tuple(outlines)


def _inside(mask: Mask, grid: Window, at: tuple[int, int], extent: Region) -> Mask:
    """Return the mask without the pixels that lie wholly outside the image.

    Args:
        mask: bool, cropped from the grid.
        grid: on which it lies.
        at: column and row of the grid at which it begins.
        extent: where the image has pixels, level-0 px.
    """
    left, top, right, bottom = extent.bounds
    (first_column, first_row), (last_column, last_row) = grid.to_window(left, top), grid.to_window(right, bottom)
    rows = slice(max(0, math.floor(first_row) - at[1]), max(0, math.ceil(last_row) - at[1]))
    columns = slice(max(0, math.floor(first_column) - at[0]), max(0, math.ceil(last_column) - at[0]))
    inside = np.zeros_like(mask)
    inside[rows, columns] = mask[rows, columns]
    return inside


def _in_one_piece(mask: Mask, prompts: ObjectPrompts, grid: Window, at: tuple[int, int]) -> Mask:
    """Return the mask that clicks alone point at: a finer grid may part what hangs together in the window.

    Args:
        mask: bool, cropped from the grid.
        prompts: of the object.
        grid: on which it lies.
        at: column and row of the grid at which it begins.
    """
    if prompts.box is not None or prompts.outline is not None:
        return mask
    pixels: dict[Label, list[tuple[int, int]]] = {label: [] for label in Label}
    for click in prompts.clicks:
        for x, y in (grid.to_window(*point) for point in click.points):
            pixels[click.label].append((math.floor(y) - at[1], math.floor(x) - at[0]))
    area = PINHOLE_AREA * (max(grid.width, grid.height) / LOW_RES_SIZE) ** 2
    return in_one_piece(mask, pixels[Label.POSITIVE], pixels[Label.NEGATIVE], pinhole_area=area)


def _without_scraps(
    geometry: Polygon | MultiPolygon, prompts: ObjectPrompts, output: OutputOptions
) -> Polygon | MultiPolygon:
    """Drop what is too small to be meant, unless a click asked for it.

    Too small beside the outline that is refined, or, in the answer to a box, beside its largest part: a box may ask for
    several parts, but not for specks. The answer to clicks alone hangs together already.
    """
    points = {label: [p for c in prompts.clicks if c.label is label for p in c.points] for label in Label}
    if prompts.outline is not None:
        beside = prompts.outline
    elif prompts.box is not None and not output.keep_parts and not geometry.is_empty:
        beside = Polygon(max(shapely.get_parts(geometry), key=lambda part: float(part.area)).exterior)
    else:
        return geometry
    keep_parts, keep_holes = points[Label.POSITIVE], points[Label.NEGATIVE]
    return clean_against(geometry, beside, output.clean_share, keep_parts=keep_parts, keep_holes=keep_holes)


def cleaned(geometry: Polygon | MultiPolygon, output: OutputOptions, unit: float) -> Polygon | MultiPolygon:
    """Return an outline after what is asked of it, in the order that `OutputOptions` states.

    Args:
        geometry: level-0 px.
        output: what is asked.
        unit: um per level-0 px.
    """
    if output.fill_holes_area:
        geometry = fill_holes(geometry, output.fill_holes_area / unit**2)
    if output.min_area:
        geometry = drop_small_parts(geometry, output.min_area / unit**2)
    if output.simplify_tolerance:
        geometry = simplify(geometry, output.simplify_tolerance / unit)
    if output.clip is not None:
        geometry = clip(geometry, output.clip)
    return geometry
