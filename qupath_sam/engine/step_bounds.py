"""Bounds ``(min_x, min_y, max_x, max_y)`` of prompts and masks, level-0 px: what a window is placed round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qupath_sam.engine.step import State, Step
from qupath_sam.types.prompts import Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region, Window


def mask_bounds(state: State) -> tuple[float, float, float, float] | None:
    """Return the bounds of the chosen mask, level-0 px; None where it is empty."""
    rows = np.flatnonzero(state.mask.any(axis=1))
    columns = np.flatnonzero(state.mask.any(axis=0))
    if rows.size == 0:
        return None
    min_x, min_y = state.window.to_level0(columns[0], rows[0])
    max_x, max_y = state.window.to_level0(columns[-1] + 1, rows[-1] + 1)
    return float(min_x), float(min_y), float(max_x), float(max_y)


def prompt_bounds(steps: Sequence[Step]) -> tuple[float, float, float, float]:
    """Return the bounds of all that is positive in the steps, level-0 px.

    Where there is nothing else they are those of the negative clicks.
    """
    clicks = tuple(click for s in steps for click in s.clicks if click.label is Label.POSITIVE)
    box = next((s.box for s in steps if s.box is not None), None)
    outline = next((s.outline for s in steps if s.outline is not None), None)
    if clicks or box is not None or outline is not None:
        return ObjectPrompts(clicks, box, outline).bounds
    return _click_bounds([click for s in steps for click in s.clicks])


def step_bounds(step: Step) -> tuple[float, float, float, float]:
    """Return the bounds of what a step brings, of either label. Level-0 px."""
    return _click_bounds(step.clicks) if step.clicks else prompt_bounds((step,))


def last_bounds(step: Step, *, is_first: bool) -> tuple[float, float, float, float]:
    """Return the bounds of `last_click` of a step, or of its box and outline. Level-0 px."""
    return _click_bounds([last_click(step, is_first=is_first)]) if step.clicks else prompt_bounds((step,))


def last_click(step: Step, *, is_first: bool) -> Click:
    """Return the last click of a step that has some; of a first step, without a mask yet, the last positive one."""
    wanted = [click for click in step.clicks if click.label is Label.POSITIVE] if is_first else ()
    return wanted[-1] if wanted else step.clicks[-1]


def _click_bounds(clicks: Sequence[Click]) -> tuple[float, float, float, float]:
    """Return the bounds of clicks of either label, level-0 px."""
    points = [point for click in clicks for point in click.points]
    (min_x, max_x), (min_y, max_y) = ((min(values), max(values)) for values in zip(*points, strict=True))
    return min_x, min_y, max_x, max_y


def joint_bounds(state: State, steps: Sequence[Step]) -> tuple[float, float, float, float]:
    """Return the bounds of the chosen mask and of the positive prompts, and of the newest clicks, of either label."""
    boxes = [prompt_bounds(steps), step_bounds(steps[-1])]
    mask = mask_bounds(state)
    if mask is not None:
        boxes.append(mask)
    return (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )


def touches_edge(mask: NDArray[np.bool_], window: Window, extent: Region) -> bool:
    """Return whether a mask (bool, window px) runs into an edge of its window beyond which the image goes on."""
    region = window.region
    return bool(
        (region.x > extent.x and mask[:, 0].any())
        or (region.y > extent.y and mask[0].any())
        or (region.right < extent.right and mask[:, -1].any())
        or (region.bottom < extent.bottom and mask[-1].any())
    )


def centre_of(bounds: tuple[float, float, float, float]) -> tuple[float, float]:
    """Return the middle of bounds, x and y."""
    return (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2


def longer_side(bounds: tuple[float, float, float, float]) -> float:
    """Return the longer of width and height."""
    return max(bounds[2] - bounds[0], bounds[3] - bounds[1])
