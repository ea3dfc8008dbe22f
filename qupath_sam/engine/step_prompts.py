"""The prompts of steps in the px of a window, and whether a window holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from qupath_sam.engine.logits import carry_logits, outline_logits
from qupath_sam.engine.step import State, Step
from qupath_sam.engine.step_bounds import last_bounds, last_click, prompt_bounds
from qupath_sam.errors import InvalidPrompt
from qupath_sam.models.base import WindowPrompts
from qupath_sam.types.prompts import Click
from qupath_sam.types.regions import Region, Window


def window_prompts(steps: Sequence[Step], window: Window, previous: State | None) -> WindowPrompts:
    """Return all prompts so far in window px; points outside the window are left out, a box is cut to it."""
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    strokes: list[int] = []
    newest = 0
    box = None
    logits = None
    for step in steps:
        before = len(points)
        for click in step.clicks:
            inside = [
                (x, y)
                for x, y in (window.to_window(*point) for point in click.points)
                if 0 <= x <= window.width and 0 <= y <= window.height
            ]
            points += inside
            labels += [click.label.value] * len(inside)
            strokes.append(len(inside))
        newest = len(points) - before
        if step.box is not None:
            left, top = window.to_window(step.box.min_x, step.box.min_y)
            right, bottom = window.to_window(step.box.max_x, step.box.max_y)
            box = max(0.0, left), max(0.0, top), min(float(window.width), right), min(float(window.height), bottom)
        if step.outline is not None and previous is None:
            logits = outline_logits(step.outline, window)
            if box is None:
                box = _window_bounds(step.outline.bounds, window)
    if box is not None and (box[2] <= box[0] or box[3] <= box[1]):
        box = None
    if previous is not None:
        logits = carry_logits(previous.current.logits, previous.window, window)
    return WindowPrompts(
        points=np.asarray(points, np.float32).reshape(-1, 2),
        labels=np.asarray(labels, np.int64),
        box=box,
        logits=logits,
        last_click=newest,
        # With an outline, the points of a click are places far apart, as `prompts_from_outline` chooses them.
        strokes=() if any(step.outline is not None for step in steps) else tuple(strokes),
        decoder=None if previous is None else previous.current.decoder,
    )


def _window_bounds(bounds: tuple[float, float, float, float], window: Window) -> tuple[float, float, float, float]:
    left, top = window.to_window(bounds[0], bounds[1])
    right, bottom = window.to_window(bounds[2], bounds[3])
    return max(0.0, left), max(0.0, top), min(float(window.width), right), min(float(window.height), bottom)


def holds(window: Window, step: Step) -> bool:
    """Return whether every point of the clicks lies in the window; box and outline only ever come first."""
    return all(_covers(window.region, click) for click in step.clicks)


def check_fits(step: Step, window: Window, *, is_first: bool) -> None:
    """Raise `InvalidPrompt` where a scribble is longer than the window that is to show it.

    Clicks that were made together may lie further apart: the window shows the last of them (`last_click`), as it does
    when they come one by one.
    """
    if not step.clicks:
        return
    shown = last_click(step, is_first=is_first)
    if len(shown.points) == 1 or _covers(window.region, shown):
        return
    raise InvalidPrompt(
        f"a scribble with bounds {last_bounds(step, is_first=is_first)} does not fit into a window of "
        f"{window.region.width} level-0 px; draw a shorter one or ask for a larger downsample"
    )


def _covers(region: Region, click: Click) -> bool:
    """Return whether all points lie in the region; its right and lower edges are inside, unlike `Region.contains`."""
    return all(region.x <= x <= region.right and region.y <= y <= region.bottom for x, y in click.points)


def check_inside(step: Step, window: Window) -> None:
    """Raise `InvalidPrompt` where a click lies outside the window, or where box or outline share nothing with it."""
    region = window.region
    if not holds(window, step):
        raise InvalidPrompt(
            f"a click with bounds {prompt_bounds((step,))} lies outside the window {region.bounds} that was asked for; "
            "move the window or leave it to the server"
        )
    for name, shape in (("box", step.box), ("outline", step.outline)):
        if shape is not None and not shapely.box(*shape.bounds).intersection(shapely.box(*region.bounds)).area:
            raise InvalidPrompt(
                f"the {name} lies outside the window {region.bounds} that was asked for; move the window"
            )
