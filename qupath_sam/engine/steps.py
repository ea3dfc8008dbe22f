"""The steps from prompts to a mask: which window and which logits each step uses. No pixels, no model, no clock.

`qupath_sam.engine.step` turns an object's prompts into steps: box and outline first, together, then each click, or the
clicks that say that they are one step. `run_step` is a generator: it yields a `DecodeRequest` (a window and prompts in
it), is sent the `MaskSet` that a model made of it, and returns the state after the step. The same prompts therefore
give the same answer whether they come at once or click by click: a state that is no longer held is made again from the
first step on.

A first click may mean more than one thing. All masks that its looks have seen are candidates then
(`qupath_sam.engine.candidates`), each in its own window, and a later click goes on from the one that it names.

Feeding the previous logits back as mask prompt, and asking for several masks on the first click only, is SAM's own
interactive protocol (Kirillov et al. 2023, sec. 5 and appendix A).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from qupath_sam.engine.candidates import LEAST_SCORE, choose, runs_away
from qupath_sam.engine.embedded_windows import EmbeddedWindows
from qupath_sam.engine.first_clicks import with_candidates
from qupath_sam.engine.logits import carry_logits
from qupath_sam.engine.step import Candidate, DecodeRequest, State, Step
from qupath_sam.engine.step_bounds import (
    centre_of,
    joint_bounds,
    last_bounds,
    longer_side,
    mask_bounds,
    prompt_bounds,
    step_bounds,
    touches_edge,
)
from qupath_sam.engine.step_prompts import check_fits, check_inside, holds, window_prompts
from qupath_sam.engine.windows import SMALL_SHARE, ZOOMED_SHARE, Scales
from qupath_sam.errors import InvalidPrompt
from qupath_sam.models.base import MaskSet
from qupath_sam.types.regions import Window
from qupath_sam.types.requests import MaskChoice, WindowRequest

#: Most changes of scale in one step; each costs an encode.
MAX_SCALE_CHANGES = 3
#: Most times that one step zooms in, and in how many of an object's first steps; each costs an encode.
MAX_ZOOMS, STEPS_WITH_ZOOMS = 2, 3
#: The finer mask replaces the coarse one only where this share of the smaller of both lies in the other: seen from
#: afar, touching nuclei are one.
ZOOM_AGREEMENT = 0.6


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
    step = _step(steps, previous, scales=scales, request=request, choice=choice, embedded=embedded)
    if previous is not None or not steps[-1].clicks:
        return (yield from step)
    decode = partial(_decode, steps, previous=None, choice=choice)
    return (
        yield from with_candidates(
            step, decode, steps[-1], scales=scales, request=request, choice=choice, embedded=embedded
        )
    )


def _step(
    steps: Sequence[Step],
    previous: State | None,
    *,
    scales: Scales,
    request: WindowRequest,
    choice: MaskChoice,
    embedded: EmbeddedWindows | None,
) -> Generator[DecodeRequest, MaskSet, State]:
    """Run one step in the window that the caller chooses, or in those of the engine."""
    fixed = scales.explicit(request)
    if fixed is not None:
        check_inside(steps[-1], fixed)
        return (yield from _decode(steps, fixed, previous, choice=choice))
    scale = scales.for_request(request)
    if scale is not None:
        window = previous.window if previous is not None else scales.window_at(*centre_of(prompt_bounds(steps)), scale)
        if not holds(window, steps[-1]):
            window = scales.window_at(*centre_of(step_bounds(steps[-1])), scale)
        if not holds(window, steps[-1]):
            window = scales.window_at(*centre_of(last_bounds(steps[-1], is_first=previous is None)), scale)
        check_fits(steps[-1], window, is_first=previous is None)
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
    if step.from_mask >= len(previous.candidates):
        raise InvalidPrompt(
            f"from_mask {step.from_mask}: the step before has {len(previous.candidates)} masks, counted from 0"
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
    check_fits(steps[-1], window, is_first=previous is None)
    held = embedded.in_place_of(window, prompt_bounds(steps)) if embedded is not None and previous is None else window
    state = yield from _decode(steps, held, previous, choice=choice)
    if held != window and touches_edge(state.mask, held, scales.extent):
        # The window that the engine would have chosen has more room round the click.
        state = yield from _decode(steps, window, previous, choice=choice)
    first, changes = state, 0
    while changes < MAX_SCALE_CHANGES and touches_edge(state.mask, state.window, scales.extent):
        coarser = scales.coarser(state.window.downsample)
        if coarser is None:
            break
        window = scales.window_around(joint_bounds(state, steps), coarser)
        if not holds(window, steps[-1]):
            # The coarsest scale, and still too small for all of it: what was clicked last counts.
            break
        state = yield from _decode(steps, window, previous, choice=choice)
        changes += 1
    if changes and previous is None and runs_away(state.current, request=request, scales=scales):
        inside = yield from _whole_masks(first, steps, scales=scales, choice=choice)
        if inside is not None:
            # Another decoder sees an object in the first window, where this one is unsure of what fills the slide.
            state, changes = inside, 0
    if changes == 0 and len(steps) <= STEPS_WITH_ZOOMS:
        state = yield from _zoom_in(state, steps, previous, scales=scales, choice=choice, embedded=embedded)
    return state


def _whole_masks(
    state: State, steps: Sequence[Step], *, scales: Scales, choice: MaskChoice
) -> Generator[DecodeRequest, MaskSet, State | None]:
    """Return a state with those masks of its window that are not empty and not cut off; None where there are none."""
    if len(state.candidates) == 1:
        return None
    every = yield from _decode(steps, state.window, None, choice=choice, refine_all=True)
    whole = tuple(
        each for each in every.candidates if each.mask.any() and not touches_edge(each.mask, each.window, scales.extent)
    )
    return State(whole, choose(whole, choice)) if whole else None


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
        if holds(previous.window, steps[-1]):
            return previous.window
        bounds = joint_bounds(previous, steps)
        window = scales.window_around(bounds, scales.for_object(longer_side(bounds)))
        if not holds(window, steps[-1]):
            # The coarsest scale, and still too small for all of it: what was clicked last counts.
            window = scales.window_around(last_bounds(steps[-1], is_first=False), window.downsample)
        return window
    bounds = prompt_bounds(steps)
    # A box or outline says how large the object is; a scribble only that it is no smaller.
    extent = None if steps[0].clicks else longer_side(bounds)
    downsample = scales.first(object_extent=extent, view_downsample=request.view_downsample)
    window = scales.window_around(bounds, downsample)
    if not holds(window, steps[-1]):
        window = scales.window_around(last_bounds(steps[-1], is_first=True), window.downsample)
    return window


def _finer_window(
    state: State, steps: Sequence[Step], scales: Scales, embedded: EmbeddedWindows | None
) -> Window | None:
    """Return a finer window for a mask that is small in its own, or None."""
    bounds = mask_bounds(state)
    if bounds is None:
        return None
    min_x, min_y, max_x, max_y = bounds
    if max(max_x - min_x, max_y - min_y) >= SMALL_SHARE * state.window.region.width:
        return None
    joint = joint_bounds(state, steps)
    if embedded is not None and (held := embedded.for_object(joint, finer_than=state.window.downsample)) is not None:
        return held
    # A grid window of the finer scale may cut the object off: then this one is the window already.
    window = scales.window_around(joint, scales.for_object(longer_side(joint), share=ZOOMED_SHARE))
    return window if window.downsample < state.window.downsample else None


def _decode(
    steps: Sequence[Step], window: Window, previous: State | None, *, choice: MaskChoice, refine_all: bool = False
) -> Generator[DecodeRequest, MaskSet, State]:
    several = previous is None and len(steps) == 1 and bool(steps[0].clicks)
    prompts = window_prompts(steps, window, previous)
    # Any of several masks may be chosen, or shown: each is to be as good as the best one.
    prompts = replace(prompts, refine_all=several and (refine_all or choice is not MaskChoice.BEST))
    answer = yield DecodeRequest(window, prompts, several)
    candidates = State.of(window, answer, all_refined=prompts.refine_all).candidates
    if several:
        candidates = _without_unlikely(candidates)
    return State(candidates, choose(candidates, choice))


def _without_unlikely(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Return the best and the others with a score of at least `LEAST_SCORE`; all where the best has less."""
    return tuple(each for each in candidates if each.score >= LEAST_SCORE) or candidates


def _agree(coarse: State, fine: State) -> bool:
    """Return whether both show the same object, or one a part of the other; compared in the finer window."""
    fine_logits = fine.current.logits > 0
    coarse_logits = carry_logits(coarse.current.logits, coarse.window, fine.window) > 0
    smaller = min(np.count_nonzero(fine_logits), np.count_nonzero(coarse_logits))
    return bool(smaller > 0 and np.count_nonzero(fine_logits & coarse_logits) / smaller >= ZOOM_AGREEMENT)
