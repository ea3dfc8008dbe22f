"""Held states: found by token or by prompts, never for other prompts, bounded in bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qupath_sam.engine.states import Resumed, StateStore, StepsContext, tokens
from qupath_sam.engine.step import State, steps_of
from qupath_sam.models.base import MaskSet
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import MaskChoice, WindowRequest

WINDOW = Window(Region(0, 0, 256, 256), 256, 256)


def context(image: str = "slide", view: float = 0.0, **request) -> StepsContext:
    return StepsContext(image, ("m", "w", "p"), 0.5, WindowRequest(view_downsample=view, **request), MaskChoice.BEST)


def state(size: int = 4) -> State:
    masks = MaskSet(np.zeros((1, size, size), bool), np.zeros(1, np.float32), np.zeros((1, size, size), np.float32))
    return State.of(WINDOW, masks)


def steps(*xs: float):
    return steps_of(ObjectPrompts(tuple(Click.at(x, 1) for x in xs)))


def start(where: StepsContext) -> Resumed:
    return Resumed(where.root, where.request, 0, None)


def keep(store: StateStore, where: StepsContext, resumed: Resumed, all_steps, states, *, owner: str = "") -> bytes:
    """Hold the states after each new step; returns the token of the last."""
    chain = tokens(resumed.root, all_steps)
    for done, new in enumerate(states, start=resumed.steps + 1):
        store.keep(where, resumed, chain[done - 1], new, done=done, owner=owner)
    return chain[-1]


def test_a_token_continues_the_steps_it_stands_for():
    store, first = StateStore(10_000), state()
    token = keep(store, context(), start(context()), steps(1), [first])
    resumed = store.resume(context(), steps(1, 2), token)
    assert resumed.steps == 1
    assert resumed.state is first


def test_without_a_token_the_longest_known_prefix_is_found():
    store = StateStore(10_000)
    states = [state(), state()]
    keep(store, context(), start(context()), steps(1, 2), states)
    assert store.resume(context(), steps(1, 2, 3), b"").state is states[1]
    assert store.resume(context(), steps(1, 9), b"").state is states[0]
    assert store.resume(context(), steps(9), b"").state is None


def test_a_token_of_other_prompts_image_or_options_is_not_believed():
    store = StateStore(10_000)
    token = keep(store, context(), start(context()), steps(1, 2), [state(), state()])
    assert store.resume(context(), steps(7, 8), token).steps == 0
    assert store.resume(context("other slide"), steps(1, 2), token).steps == 0
    assert store.resume(context(downsample=2), steps(1, 2), token).steps == 0
    assert store.resume(replace(context(), keep_parts=True), steps(1, 2), token).steps == 0
    assert store.resume(context(), steps(1), token).steps == 1
    assert store.resume(context(), steps(1, 2), b"no token at all").steps == 2


def test_a_click_that_goes_on_from_another_mask_is_another_step():
    store = StateStore(10_000)
    chosen = steps_of(ObjectPrompts((Click.at(1, 1), Click.at(2, 1, from_mask=1))))
    token = keep(store, context(), start(context()), steps(1, 2), [state(), state()])
    assert store.resume(context(), chosen, token).steps == 1


def test_clicks_taken_together_are_other_steps_than_clicks_taken_one_by_one():
    store = StateStore(10_000)
    together = steps_of(ObjectPrompts((Click.at(1, 1), Click.at(2, 1), Click.at(3, 1, same_step=True))))
    token = keep(store, context(), start(context()), steps(1, 2, 3), [state(), state(), state()])
    assert store.resume(context(), together, token).steps == 1
    token = keep(store, context(), start(context()), together, [state(), state()])
    assert store.resume(context(), steps(1, 2, 3), token).steps == 3
    assert store.resume(context(), together, b"").steps == 2


def test_a_token_survives_a_change_of_the_view_and_keeps_the_first_one():
    store = StateStore(10_000)
    where = context(view=4.0)
    token = keep(store, where, start(where), steps(1), [state()])
    resumed = store.resume(context(view=16.0), steps(1, 2), token)
    assert resumed.steps == 1
    assert resumed.request.view_downsample == 4.0
    later = keep(store, context(view=16.0), resumed, steps(1, 2), [state()])
    assert store.resume(context(view=1.0), steps(1, 2, 3), later).steps == 2
    assert store.resume(context(view=16.0), steps(1, 2), b"").steps == 0


def test_tokens_are_the_same_in_one_call_or_in_two():
    store = StateStore(10_000)
    at_once = keep(store, context(), start(context()), steps(1, 2), [state(), state()])
    other = StateStore(10_000)
    first = keep(other, context(), start(context()), steps(1), [state()])
    assert keep(other, context(), other.resume(context(), steps(1, 2), first), steps(1, 2), [state()]) == at_once


@given(sizes=st.lists(st.tuples(st.integers(0, 8), st.integers(1, 40)), max_size=40), bound=st.integers(0, 12_000))
def test_bytes_are_counted_exactly_and_bounded(sizes, bound):
    store = StateStore(bound)
    for x, size in sizes:
        keep(store, context(), start(context()), steps(x), [state(size)])
        held = [store.resume(context(), steps(i), b"").state for i in range(9)]
        assert store.size_bytes == sum(s.size_bytes for s in held if s is not None) <= bound
        assert len(store) == sum(s is not None for s in held)


def test_who_asks_for_much_pushes_out_their_own_and_nobody_elses():
    """A person's one state, and a program that goes through many."""
    one = state().size_bytes
    store = StateStore(4 * one)
    token = keep(store, context(), start(context()), steps(1), [state()], owner="person")
    for x in range(2, 50):
        keep(store, context(), start(context()), steps(x), [state()], owner="program")
    assert store.resume(context(), steps(1, 2), token).steps == 1
    assert store.size_bytes <= 4 * one
    assert len(store) == 4


def test_nobody_waits_while_an_outlines_digests_are_made(monkeypatch):
    """Those of a million vertices take most of a second."""
    from qupath_sam.engine import states

    store, held = StateStore(10_000), []
    token = keep(store, context(), start(context()), steps(1), [state()])
    original = states.tokens

    def watched(*args):
        held.append(store._lock.locked())
        return original(*args)

    monkeypatch.setattr(states, "tokens", watched)
    assert store.resume(context(), steps(1, 2), token).steps == 1
    assert store.resume(context(), steps(1, 2), b"").steps == 1
    keep(store, context(), start(context()), steps(1), [state()])
    assert held
    assert not any(held)
