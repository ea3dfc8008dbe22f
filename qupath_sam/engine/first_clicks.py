"""A first step of clicks, which may mean more than one thing: what its looks have seen becomes its candidates."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from qupath_sam.engine.candidates import MOST_CANDIDATES, choose, distinct, in_order, runs_away
from qupath_sam.engine.embedded_windows import EmbeddedWindows
from qupath_sam.engine.step import Candidate, DecodeRequest, State, Step
from qupath_sam.engine.step_bounds import step_bounds
from qupath_sam.engine.windows import Scales
from qupath_sam.models.base import MaskSet
from qupath_sam.types.regions import Window
from qupath_sam.types.requests import MaskChoice, WindowRequest

#: Yields what to decode, returns the state after it.
Looking = Generator[DecodeRequest, MaskSet, State]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One window that a step looked at: what was asked of the model there, and its answer."""

    request: DecodeRequest
    answer: MaskSet

    @property
    def window(self) -> Window:
        """The window."""
        return self.request.window

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The masks, best score first."""
        return State.of(self.window, self.answer, all_refined=self.request.prompts.refine_all).candidates


def with_candidates(
    step: Looking,
    decode: Callable[..., Looking],
    clicks: Step,
    *,
    scales: Scales,
    request: WindowRequest,
    choice: MaskChoice,
    embedded: EmbeddedWindows | None,
) -> Looking:
    """Run an object's first step of clicks; return its state with the masks of all its looks to choose from.

    Where all are asked for and there are few, one closer look is taken, for a part of what was seen; its masks come
    last, so that the first one is the same whatever is asked for.

    Args:
        step: that is run.
        decode: runs the clicks in a window, with ``refine_all`` to refine each mask.
        clicks: of the step.
        scales: scales and windows for this image and model.
        request: what the caller says about the window.
        choice: which mask to continue from.
        embedded: windows to be preferred; None prefers none.
    """
    state, looks = yield from _recorded(step)
    seen = [each for look in looks for each in look.candidates if not runs_away(each, request=request, scales=scales)]
    # In any case the best of the last answer, and what the choice of the smallest or largest has led to.
    found = distinct([state.candidates[0], state.current], seen, extent=scales.extent)
    found = in_order(found, request=request, scales=scales)[:MOST_CANDIDATES]
    if choice is MaskChoice.ALL and len(found) < MOST_CANDIDATES:
        closer = _closer_window(clicks, looks, scales=scales, request=request, embedded=embedded)
        if closer is not None:
            closest = yield from decode(closer)
            found = distinct(found, closest.candidates, extent=scales.extent)[:MOST_CANDIDATES]
    chosen = choose(found, choice)
    if not found[chosen].refined:
        found = (*found[:chosen], (yield from _refined(found[chosen], decode)), *found[chosen + 1 :])
    return State(tuple(each.copied() for each in found), chosen)


def _recorded(step: Looking) -> Generator[DecodeRequest, MaskSet, tuple[State, tuple[Look, ...]]]:
    """Run a step; return with its state the looks that it took, in their order."""
    looks: list[Look] = []
    answer: MaskSet | None = None
    while True:
        try:
            request = next(step) if answer is None else step.send(answer)
        except StopIteration as end:
            return end.value, tuple(looks)
        answer = yield request
        looks.append(Look(request, answer))


def _closer_window(
    clicks: Step,
    looks: Sequence[Look],
    *,
    scales: Scales,
    request: WindowRequest,
    embedded: EmbeddedWindows | None,
) -> Window | None:
    """Return a window closer to the clicks than all that were looked at.

    None where the caller chooses the window, where no scale is finer, and where embedded windows are preferred and none
    of this scale is embedded: a person who clicks one object after the other does not wait for one more encode, unless
    the request asks for it.
    """
    if request.region is not None or scales.for_request(request) is not None:
        return None
    finest = min(look.window.downsample for look in looks)
    finer = scales.finer(finest)
    if finer is None:
        return None
    bounds = step_bounds(clicks)
    window = scales.window_around(bounds, finer)
    if window.downsample >= finest:
        return None
    if embedded is not None:
        window = embedded.in_place_of(window, bounds)
        if not (request.closer_look or embedded.is_embedded(window)):
            return None
    return window


def _refined(draft: Candidate, decode: Callable[..., Looking]) -> Generator[DecodeRequest, MaskSet, Candidate]:
    """Return a mask that was not the best of its answer as good as the model makes it; its window is embedded."""
    every = yield from decode(draft.window, refine_all=True)
    return min(every.candidates, key=lambda each: (each.decoder != draft.decoder, abs(each.score - draft.score)))
