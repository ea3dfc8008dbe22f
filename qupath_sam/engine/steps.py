"""The steps from prompts to a mask: which window and which logits each step uses. No pixels, no model, no clock.

`steps_of` turns an object's prompts into steps: box and outline first, together, then each click, or the clicks that
say that they are one step. `run_step` is a generator: it yields a `DecodeRequest` (a window and prompts in it), is sent
the `MaskSet` that a model made of it, and returns the state after the step. The same prompts therefore give the same
answer whether they come at once or click by click: a state that is no longer held is made again from the first step on.

Feeding the previous logits back as mask prompt, and asking for several masks on the first click only, is SAM's own
interactive protocol (Kirillov et al. 2023, sec. 5 and appendix A).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.doubts import LOW_SCORE, is_large
from qupath_sam.engine.embedded_windows import EmbeddedWindows
from qupath_sam.engine.logits import carry_logits, outline_logits
from qupath_sam.engine.windows import SMALL_SHARE, ZOOMED_SHARE, Scales
from qupath_sam.errors import InvalidPrompt
from qupath_sam.models.base import MaskSet, WindowPrompts
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import MaskChoice, WindowRequest

#: Most changes of scale in one step; each costs an encode.
MAX_SCALE_CHANGES = 3
#: Most times that one step zooms in, and in how many of an object's first steps; each costs an encode.
MAX_ZOOMS, STEPS_WITH_ZOOMS = 2, 3
#: The finer mask replaces the coarse one only where this share of the smaller of both lies in the other: seen from
#: afar, touching nuclei are one.
ZOOM_AGREEMENT = 0.6


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a box and/or an outline, or one click, or several that are taken together."""

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    outline: Polygon | MultiPolygon | None = None

    @property
    def from_mask(self) -> int | None:
        """Which mask of the step before it goes on from; None leaves that to the request's `MaskChoice`."""
        return self.clicks[0].from_mask if self.clicks else None


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What is known of an object after a step.

    Attributes:
        window: that the step used.
        masks: the step's answer over that window, best score first.
        chosen: index in ``masks`` of the one that the next step continues from.
    """

    window: Window
    masks: MaskSet
    chosen: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The chosen mask: bool ``(height, width)`` over the window."""
        chosen: NDArray[np.bool_] = self.masks.masks[self.chosen]
        return chosen

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return self.masks.masks.nbytes + self.masks.scores.nbytes + self.masks.logits.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class DecodeRequest:
    """What a step asks of a model."""

    window: Window
    prompts: WindowPrompts
    several_masks: bool


def steps_of(prompts: ObjectPrompts) -> tuple[Step, ...]:
    """Return the steps of an object: box and outline together (where given), then the clicks."""
    first = (Step(box=prompts.box, outline=prompts.outline),) if prompts.box or prompts.outline else ()
    together: list[list[Click]] = []
    for click in prompts.clicks:
        if click.same_step:
            together[-1].append(click)
        else:
            together.append([click])
    return (*first, *(Step(clicks=tuple(clicks)) for clicks in together))


def run_step(
    steps: Sequence[Step],
    previous: State | None,
    *,
    scales: Scales,
    request: WindowRequest,
    choice: MaskChoice = MaskChoice.BEST,
    embedded: EmbeddedWindows | None = None,
) -> Generator[DecodeRequest, MaskSet, State]:
    """Run the last of the steps; yields what to decode, returns the state after it.

    Args:
        steps: of the object up to this one.
        previous: after the step before; None where this is the first.
        scales: scales and windows for this image and model.
        request: what the caller says about the window.
        choice: which mask of an ambiguous first step to continue from.
        embedded: windows to be preferred; None prefers none.

    Raises:
        InvalidPrompt: a prompt lies outside a window that the caller fixed, or a click names a mask that there is not.
        InvalidRegion: the caller's window is impossible.
    """
    previous = _from_chosen_mask(previous, steps[-1])
    fixed = scales.explicit(request)
    if fixed is not None:
        _check_inside(steps[-1], fixed)
        return (yield from _decode(steps, fixed, previous, choice=choice))
    scale = scales.for_request(request)
    if scale is not None:
        window = previous.window if previous is not None else scales.window_at(*_centre(_bounds(steps)), scale)
        if not _holds(window, steps[-1]):
            window = scales.window_at(*_centre(_step_bounds(steps[-1])), scale)
        if not _holds(window, steps[-1]):
            window = scales.window_at(*_centre(_bounds_of_last(steps[-1])), scale)
        _check_fits(steps[-1], window)
        return (yield from _decode(steps, window, previous, choice=choice))
    return (
        yield from _step_in_engine_windows(
            steps, previous, scales=scales, request=request, choice=choice, embedded=embedded
        )
    )


def _from_chosen_mask(previous: State | None, step: Step) -> State | None:
    """Return the state that a step goes on from: where its click names another mask than the state does, that one."""
    if previous is None or step.from_mask is None:
        return previous
    if step.from_mask >= len(previous.masks.masks):
        raise InvalidPrompt(
            f"from_mask {step.from_mask}: the step before has {len(previous.masks.masks)} masks, counted from 0"
        )
    return replace(previous, chosen=step.from_mask)


def _step_in_engine_windows(
    steps: Sequence[Step],
    previous: State | None,
    *,
    scales: Scales,
    request: WindowRequest,
    choice: MaskChoice,
    embedded: EmbeddedWindows | None,
) -> Generator[DecodeRequest, MaskSet, State]:
    """Run one step in windows that the engine chooses: coarser while the mask is cut off, finer where it is small."""
    window = _engine_window(steps, previous, scales=scales, request=request)
    _check_fits(steps[-1], window)
    held = embedded.in_place_of(window, _bounds(steps)) if embedded is not None and previous is None else window
    state = yield from _decode(steps, held, previous, choice=choice)
    if held != window and touches_edge(state.mask, held, scales.extent):
        # The window that the engine would have chosen has more room round the click.
        state = yield from _decode(steps, window, previous, choice=choice)
    first, changes = state, 0
    while changes < MAX_SCALE_CHANGES and touches_edge(state.mask, state.window, scales.extent):
        coarser = scales.coarser(state.window.downsample)
        if coarser is None:
            break
        window = scales.window_around(_joint_bounds(state, steps), coarser)
        if not _holds(window, steps[-1]):
            # The coarsest scale, and still too small for all of it: what was clicked last counts.
            break
        state = yield from _decode(steps, window, previous, choice=choice)
        changes += 1
    if changes and previous is None and _runs_away(state, request=request, scales=scales):
        inside = yield from _whole_masks(first, steps, scales=scales, choice=choice)
        if inside is not None:
            # Another decoder sees an object in the first window, where this one is unsure of what fills the slide.
            state, changes = inside, 0
    if changes == 0 and len(steps) <= STEPS_WITH_ZOOMS:
        state = yield from _zoom_in(state, steps, previous, scales=scales, choice=choice, embedded=embedded)
    return state


def _runs_away(state: State, *, request: WindowRequest, scales: Scales) -> bool:
    """Return whether the model doubts a mask that is larger than its window, or than what a person may have meant."""
    bounds = _mask_bounds(state)
    if bounds is None or state.masks.scores[state.chosen] >= LOW_SCORE:
        return False
    if touches_edge(state.mask, state.window, scales.extent):
        return True
    region = state.window.region
    area = np.count_nonzero(state.mask) / state.mask.size * region.width * region.height
    return is_large(bounds, float(area), request=request, scales=scales)


def _whole_masks(
    state: State, steps: Sequence[Step], *, scales: Scales, choice: MaskChoice
) -> Generator[DecodeRequest, MaskSet, State | None]:
    """Return a state with those masks of its window that are not empty and not cut off; None where there are none."""
    if len(state.masks.masks) == 1:
        return None
    every = yield from _decode(steps, state.window, None, choice=choice, refine_all=True)
    masks = every.masks
    whole = [
        i for i, mask in enumerate(masks.masks) if mask.any() and not touches_edge(mask, state.window, scales.extent)
    ]
    if not whole:
        return None
    decoders = tuple(masks.decoder_of(i) for i in whole)
    kept = MaskSet(masks.masks[whole], masks.scores[whole], masks.logits[whole], decoders)
    return State(state.window, kept, _choose(kept, choice))


def _zoom_in(
    state: State,
    steps: Sequence[Step],
    previous: State | None,
    *,
    scales: Scales,
    choice: MaskChoice,
    embedded: EmbeddedWindows | None,
) -> Generator[DecodeRequest, MaskSet, State]:
    """Zoom in while the mask is small in its window and what is seen there is still the same object."""
    for _ in range(MAX_ZOOMS):
        finer = _finer_window(state, steps, scales, embedded)
        if finer is None:
            break
        closer = yield from _decode(steps, finer, previous, choice=choice)
        if touches_edge(closer.mask, closer.window, scales.extent) or not _agree(state, closer):
            break
        state = closer
    return state


def _engine_window(steps: Sequence[Step], previous: State | None, *, scales: Scales, request: WindowRequest) -> Window:
    if previous is not None:
        if _holds(previous.window, steps[-1]):
            return previous.window
        bounds = _joint_bounds(previous, steps)
        window = scales.window_around(bounds, scales.for_object(_longer_side(bounds)))
        if not _holds(window, steps[-1]):
            # The coarsest scale, and still too small for all of it: what was clicked last counts.
            window = scales.window_around(_bounds_of_last(steps[-1]), window.downsample)
        return window
    bounds = _bounds(steps)
    # A box or outline says how large the object is; a scribble only that it is no smaller.
    extent = None if steps[0].clicks else _longer_side(bounds)
    downsample = scales.first(object_extent=extent, view_downsample=request.view_downsample)
    return scales.window_around(bounds, downsample)


def _finer_window(
    state: State, steps: Sequence[Step], scales: Scales, embedded: EmbeddedWindows | None
) -> Window | None:
    """Return a finer window for a mask that is small in its own, or None."""
    bounds = _mask_bounds(state)
    if bounds is None:
        return None
    min_x, min_y, max_x, max_y = bounds
    if max(max_x - min_x, max_y - min_y) >= SMALL_SHARE * state.window.region.width:
        return None
    joint = _joint_bounds(state, steps)
    if embedded is not None and (held := embedded.for_object(joint, finer_than=state.window.downsample)) is not None:
        return held
    # A grid window of the finer scale may cut the object off: then this one is the window already.
    window = scales.window_around(joint, scales.for_object(_longer_side(joint), share=ZOOMED_SHARE))
    return window if window.downsample < state.window.downsample else None


def _decode(
    steps: Sequence[Step], window: Window, previous: State | None, *, choice: MaskChoice, refine_all: bool = False
) -> Generator[DecodeRequest, MaskSet, State]:
    several = previous is None and len(steps) == 1 and bool(steps[0].clicks)
    prompts = _window_prompts(steps, window, previous)
    # Any of several masks may be chosen, or shown: each is to be as good as the best one.
    prompts = replace(prompts, refine_all=several and (refine_all or choice is not MaskChoice.BEST))
    answer = yield DecodeRequest(window, prompts, several)
    return State(window, answer, _choose(answer, choice))


def _window_prompts(steps: Sequence[Step], window: Window, previous: State | None) -> WindowPrompts:
    """Return all prompts so far in window px; points outside the window are left out, a box is cut to it."""
    points: list[tuple[float, float]] = []
    labels: list[int] = []
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
        logits = carry_logits(previous.masks.logits[previous.chosen], previous.window, window)
    return WindowPrompts(
        points=np.asarray(points, np.float32).reshape(-1, 2),
        labels=np.asarray(labels, np.int64),
        box=box,
        logits=logits,
        last_click=newest,
        decoder=None if previous is None else previous.masks.decoder_of(previous.chosen),
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


def _choose(masks: MaskSet, choice: MaskChoice) -> int:
    if choice in (MaskChoice.BEST, MaskChoice.ALL) or len(masks.masks) == 1:
        return 0
    areas = masks.masks.reshape(len(masks.masks), -1).sum(axis=1)
    if choice is MaskChoice.LARGEST:
        return int(np.argmax(areas))
    filled = np.flatnonzero(areas)
    return int(filled[np.argmin(areas[filled])]) if filled.size else 0


def _agree(coarse: State, fine: State) -> bool:
    """Return whether both show the same object, or one a part of the other; compared in the finer window."""
    fine_logits = fine.masks.logits[fine.chosen] > 0
    coarse_logits = carry_logits(coarse.masks.logits[coarse.chosen], coarse.window, fine.window) > 0
    smaller = min(np.count_nonzero(fine_logits), np.count_nonzero(coarse_logits))
    return bool(smaller > 0 and np.count_nonzero(fine_logits & coarse_logits) / smaller >= ZOOM_AGREEMENT)


def _mask_bounds(state: State) -> tuple[float, float, float, float] | None:
    """Return the bounds of the chosen mask, level-0 px; None where it is empty."""
    rows = np.flatnonzero(state.mask.any(axis=1))
    columns = np.flatnonzero(state.mask.any(axis=0))
    if rows.size == 0:
        return None
    min_x, min_y = state.window.to_level0(columns[0], rows[0])
    max_x, max_y = state.window.to_level0(columns[-1] + 1, rows[-1] + 1)
    return float(min_x), float(min_y), float(max_x), float(max_y)


def _bounds(steps: Sequence[Step]) -> tuple[float, float, float, float]:
    """Return the bounds of all that is positive in the steps, level-0 px.

    Where there is nothing else they are those of the negative clicks.
    """
    clicks = tuple(click for s in steps for click in s.clicks if click.label is Label.POSITIVE)
    box = next((s.box for s in steps if s.box is not None), None)
    outline = next((s.outline for s in steps if s.outline is not None), None)
    if clicks or box is not None or outline is not None:
        return ObjectPrompts(clicks, box, outline).bounds
    return _click_bounds([click for s in steps for click in s.clicks])


def _step_bounds(step: Step) -> tuple[float, float, float, float]:
    """Return the bounds of what a step brings, of either label. Level-0 px."""
    return _click_bounds(step.clicks) if step.clicks else _bounds((step,))


def _bounds_of_last(step: Step) -> tuple[float, float, float, float]:
    """Return the bounds of the last click of a step, or of its box and outline. Level-0 px."""
    return _click_bounds(step.clicks[-1:]) if step.clicks else _bounds((step,))


def _click_bounds(clicks: Sequence[Click]) -> tuple[float, float, float, float]:
    """Return the bounds of clicks of either label, level-0 px."""
    points = [point for click in clicks for point in click.points]
    (min_x, max_x), (min_y, max_y) = ((min(values), max(values)) for values in zip(*points, strict=True))
    return min_x, min_y, max_x, max_y


def _joint_bounds(state: State, steps: Sequence[Step]) -> tuple[float, float, float, float]:
    """Return the bounds of the chosen mask and of the positive prompts, and of the newest clicks, of either label."""
    boxes = [_bounds(steps), _step_bounds(steps[-1])]
    mask = _mask_bounds(state)
    if mask is not None:
        boxes.append(mask)
    return (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )


def _centre(bounds: tuple[float, float, float, float]) -> tuple[float, float]:
    return (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2


def _longer_side(bounds: tuple[float, float, float, float]) -> float:
    return max(bounds[2] - bounds[0], bounds[3] - bounds[1])


def _window_bounds(bounds: tuple[float, float, float, float], window: Window) -> tuple[float, float, float, float]:
    left, top = window.to_window(bounds[0], bounds[1])
    right, bottom = window.to_window(bounds[2], bounds[3])
    return max(0.0, left), max(0.0, top), min(float(window.width), right), min(float(window.height), bottom)


def _holds(window: Window, step: Step) -> bool:
    """Return whether every point of the clicks lies in the window; box and outline only ever come first."""
    return all(_covers(window.region, click) for click in step.clicks)


def _check_fits(step: Step, window: Window) -> None:
    """Raise `InvalidPrompt` where a scribble is longer than the window that is to show it.

    Clicks that were made together may lie further apart: the window shows the last of them, as it does when they come
    one by one.
    """
    if len(step.clicks) != 1 or len(step.clicks[0].points) == 1 or _covers(window.region, step.clicks[0]):
        return
    raise InvalidPrompt(
        f"a scribble with bounds {_bounds((step,))} does not fit into a window of {window.region.width} level-0 px; "
        "draw a shorter one or ask for a larger downsample"
    )


def _covers(region: Region, click: Click) -> bool:
    """Return whether all points lie in the region; its right and lower edges are inside, unlike `Region.contains`."""
    return all(region.x <= x <= region.right and region.y <= y <= region.bottom for x, y in click.points)


def _check_inside(step: Step, window: Window) -> None:
    region = window.region
    if not _holds(window, step):
        raise InvalidPrompt(
            f"a click with bounds {_bounds((step,))} lies outside the window {region.bounds} that was asked for; "
            "move the window or leave it to the server"
        )
    for name, shape in (("box", step.box), ("outline", step.outline)):
        if shape is not None and not shapely.box(*shape.bounds).intersection(shapely.box(*region.bounds)).area:
            raise InvalidPrompt(
                f"the {name} lies outside the window {region.bounds} that was asked for; move the window"
            )
