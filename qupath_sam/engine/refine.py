"""Better outlines for objects that have one: what the model is asked, and the verdict on its answer.

Scripts, command line and project writer ask the engine for this, so that the same outline is refined, or refused, the
same way wherever it was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import shapely
from shapely.errors import GEOSException
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.boundary import BoundaryOptions, refine_boundary
from qupath_sam.engine.refine_guards import (
    Guards,
    intersection_over_union,
    old_refusal,
    without_strangers,
)
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.engine.refine_prompts import prompts_from_outline
from qupath_sam.errors import InvalidPrompt
from qupath_sam.polygons.cleaning import clean_against
from qupath_sam.types.refinements import Refinement, Refusal
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import ObjectRequest
from qupath_sam.types.results import ObjectResult, Outline

#: Side of the smallest part or hole that a model is expected to see, window px.
SEEN_PX = 4


@dataclass(frozen=True, slots=True)
class RefineContext:
    """What the verdict depends on beside the outlines.

    Attributes:
        extent: the image.
        mpp: um per level-0 px; None where unknown.
        window_px: side of the model's window.
        clean_share: scraps beside the object, and holes and parts below this share of it, go; 0 keeps all.
    """

    extent: Region
    mpp: float | None
    window_px: int
    clean_share: float


#: Segments one object in a window that is given: level-0 px, and level-0 px per window px.
PredictWindow = Callable[[ObjectRequest, Region, float], ObjectResult]


def refine_objects(
    objects: Sequence[ObjectRequest],
    options: RefineOptions,
    context: RefineContext,
    predict: Callable[[Sequence[ObjectRequest]], Sequence[ObjectResult]],
    predict_window: PredictWindow,
) -> list[ObjectResult]:
    """Refine objects: one result each with a `Refinement`; those of refused ones are without outlines.

    Args:
        objects: with an outline each, and no other prompts.
        options: how.
        context: of the image and the model.
        predict: segments objects; is called once at most.
        predict_window: segments an object in one window of the border of an outline that is too large for a window.

    Raises:
        InvalidPrompt: an object has no outline, or other prompts beside it.
    """
    outlines = [outline_of(item) for item in objects]
    refusals = [_old_refusal(outline, options, context) for outline in outlines]
    asked = [
        replace(item, prompts=prompts_from_outline(outline, context.extent, options.prompts))
        for item, outline, refusal in zip(objects, outlines, refusals, strict=True)
        if refusal is None
    ]
    answers = iter(predict(asked) if asked else ())
    results = []
    for item, outline, refusal in zip(objects, outlines, refusals, strict=True):
        if refusal is None:
            results.append(judged(next(answers), outline, options.guards, context))
        elif refusal is Refusal.LARGER_THAN_WINDOW and options.along_border:
            results.append(_along_border(item, outline, options, context, predict_window))
        else:
            results.append(not_asked(item, outline, refusal))
    return results


def _along_border(
    item: ObjectRequest,
    outline: Polygon | MultiPolygon,
    options: RefineOptions,
    context: RefineContext,
    predict_window: PredictWindow,
) -> ObjectResult:
    """Refine an outline that is larger than a window along its border."""
    boundary = BoundaryOptions(options.coarsest_mpp / (context.mpp or 1.0), context.window_px)
    answers: list[ObjectResult] = []

    def refine(window: Region, part: Polygon | MultiPolygon) -> tuple[Polygon | MultiPolygon, float] | None:
        visible = window.intersection(context.extent)
        if visible is None:
            return None
        prompts = prompts_from_outline(part, visible, options.prompts)
        answers.append(predict_window(replace(item, prompts=prompts, token=b""), window, boundary.downsample))
        best = answers[-1].outlines[0] if answers[-1].outlines else None
        return None if best is None else (best.geometry, best.score)

    refined = refine_boundary(outline, context.extent, boundary, refine)
    if refined.left_out == refined.windows:  # what is left is the old outline, drawn on a coarse grid
        found = any(answer.outlines for answer in answers)
        return not_asked(item, outline, Refusal.LOW_IOU if found else Refusal.EMPTY)
    geometry = clean_against(refined.geometry, outline, context.clean_share)
    area_um2 = geometry.area * context.mpp**2 if context.mpp else None
    whole = replace(
        answers[-1],
        outlines=(Outline(geometry, refined.score, geometry.area, area_um2),),
        touches_window_edge=False,
        token=b"",
        doubts=(),
    )
    return judged(whole, outline, options.guards, context)


def judged(result: ObjectResult, old: Polygon | MultiPolygon, guards: Guards, context: RefineContext) -> ObjectResult:
    """Return a result with the verdict on its best outline; without outlines where that is refused.

    Args:
        result: the answer to what `prompts_from_outline` asks.
        old: the outline that it would replace, level-0 px.
        guards: what it has to fulfil.
        context: of the image and the model.
    """
    if not result.outlines:
        return replace(result, refinement=Refinement(Refusal.EMPTY))
    best = result.outlines[0]
    try:
        cleans = context.clean_share > 0 and best.geometry.is_valid
        new = without_strangers(best.geometry, old) if cleans else best.geometry
        refusal = guards.refusal(
            old,
            new,
            score=best.score,
            touches_window_edge=result.touches_window_edge,
            extent=context.extent,
            least_area=(SEEN_PX * result.window.downsample) ** 2,
        )
        iou = intersection_over_union(old, new) if new.is_valid and not new.is_empty else float("nan")
    except GEOSException:
        new, refusal, iou = best.geometry, Refusal.INVALID, float("nan")
    if refusal is not None:
        wkb = shapely.to_wkb(new, output_dimension=2)
        return replace(result, outlines=(), refinement=Refinement(refusal, iou, wkb, best.score))
    area_um2 = new.area * context.mpp**2 if context.mpp else None
    kept = best if new is best.geometry else Outline(new, best.score, new.area, area_um2)
    return replace(result, outlines=(kept,), refinement=Refinement(None, iou, score=best.score))


def outline_of(item: ObjectRequest) -> Polygon | MultiPolygon:
    """Return the outline of an object that is to be refined, level-0 px.

    Raises:
        InvalidPrompt: it has none, or other prompts beside it.
    """
    prompts = item.prompts
    if prompts.outline is None or prompts.clicks or prompts.box is not None:
        name = f"object {item.object_id!r}: " if item.object_id else ""
        raise InvalidPrompt(f"{name}to be refined it needs an outline, and no clicks and no box beside it")
    return prompts.outline


def _old_refusal(outline: Polygon | MultiPolygon, options: RefineOptions, context: RefineContext) -> Refusal | None:
    refusal = old_refusal(outline, locked=False, extent=context.extent)
    if refusal is None and options.coarsest_mpp:
        side = context.window_px * options.coarsest_mpp / (context.mpp or 1.0)
        min_x, min_y, max_x, max_y = outline.bounds
        if max(max_x - min_x, max_y - min_y) > 0.75 * side:
            return Refusal.LARGER_THAN_WINDOW
    return refusal


def not_asked(item: ObjectRequest, outline: Polygon | MultiPolygon, refusal: Refusal) -> ObjectResult:
    """Return the result of an object that no model is asked about."""
    return ObjectResult(item.object_id, (), _round(outline), False, b"", 0, None, Refinement(refusal))


def kept_as_it_is(item: ObjectRequest, outline: Polygon | MultiPolygon, context: RefineContext) -> ObjectResult:
    """Return the result of an object whose outline is right: the outline itself."""
    area_um2 = outline.area * context.mpp**2 if context.mpp else None
    same = Outline(outline, 1.0, outline.area, area_um2)
    return ObjectResult(item.object_id, (same,), _round(outline), False, b"", 0, None, Refinement(None, 1.0, score=1.0))


def _round(outline: Polygon | MultiPolygon) -> Window:
    """Return the window of one px round an outline: of what no model has seen."""
    left, top, right, bottom = (
        (math.floor(value) if index < 2 else math.ceil(value)) for index, value in enumerate(outline.bounds)
    )
    return Window(Region(left, top, max(1, right - left), max(1, bottom - top)), 1, 1)
