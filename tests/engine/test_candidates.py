"""What a first click may have meant: masks of several looks, painted truths instead of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qupath_sam.engine.call import RunningObject
from qupath_sam.engine.candidates import LEAST_SCORE, MOST_CANDIDATES, are_same, area_of, distinct
from qupath_sam.engine.embedded_windows import EmbeddedWindows
from qupath_sam.engine.states import StateStore, StepsContext
from qupath_sam.engine.step import Candidate, DecodeRequest, State, steps_of
from qupath_sam.engine.step_bounds import touches_edge
from qupath_sam.engine.steps import run_step
from qupath_sam.engine.windows import Scales
from qupath_sam.errors import InvalidPrompt
from qupath_sam.models.base import LOW_RES_SIZE, MaskSet
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import MaskChoice, ObjectRequest, WindowRequest

EXTENT = Region(0, 0, 40_000, 40_000)
SCALES = Scales.of(extent=EXTENT, mpp=0.5, input_size=256, default_mpp=1.0)
AT = 10_000.0
CLICK = Click.at(AT, AT)

#: Radius in level-0 px and score of each mask, by the scale of the window.
Answers = Mapping[float, Sequence[tuple[float, float]]]


def painted(window: Window, radius: float, *, x: float = AT) -> Candidate:
    """A disc round the click, as seen in the window."""
    region = window.region
    centres = (np.arange(LOW_RES_SIZE) + 0.5) / LOW_RES_SIZE
    across, down = region.x + centres * region.width - x, region.y + centres * region.height - AT
    logits = np.where(np.hypot(across, down[:, None]) < radius, 6, -6).astype(np.float32)
    assert (window.height, window.width) == logits.shape
    return Candidate(window, logits > 0, 1.0, logits)


def answering(answers: Answers) -> Callable[[DecodeRequest], MaskSet]:
    """A decoder that sees discs round the click; a later click gets the best one of the scale."""

    def decode(request: DecodeRequest) -> MaskSet:
        discs = answers[request.window.downsample][: None if request.several_masks else 1]
        made = [painted(request.window, radius) for radius, _ in discs]
        scores = np.array([score for _, score in discs], np.float32)
        masks, logits = np.stack([each.mask for each in made]), np.stack([each.logits for each in made])
        return MaskSet(masks, scores, logits, tuple(range(len(discs))))

    return decode


def run(
    decode: Callable[[DecodeRequest], MaskSet],
    *clicks: Click,
    request: WindowRequest | None = None,
    choice: MaskChoice = MaskChoice.ALL,
    embedded: EmbeddedWindows | None = None,
    scales: Scales = SCALES,
    done: int = 0,
    state: State | None = None,
) -> tuple[list[State], list[DecodeRequest]]:
    """All new states and all requests of a run of steps."""
    steps, states, asked = steps_of(ObjectPrompts(clicks or (CLICK,))), [], []
    for index in range(done, len(steps)):
        generator = run_step(
            steps[: index + 1],
            state,
            scales=scales,
            request=request or WindowRequest(),
            choice=choice,
            embedded=embedded,
        )
        try:
            wanted = next(generator)
            while True:
                asked.append(wanted)
                wanted = generator.send(decode(wanted))
        except StopIteration as end:
            state = end.value
            states.append(state)
    return states, asked


def radii(state: State) -> list[int]:
    return [round((area_of(each) / np.pi) ** 0.5) for each in state.candidates]


#: A click on a nucleus of a gland of a tumour: the first window cuts the tumour off, a coarser one holds it, and its
#: gland is the one that was seen before. Only a finer window shows the nucleus.
TUMOUR: Answers = {
    2: [(1000, 0.8), (90, 0.5)],
    8: [(700, 0.8), (92, 0.4)],
    1: [(15, 0.6), (90, 0.5)],
}


def test_each_window_that_was_looked_at_brings_what_it_shows() -> None:
    (state,), asked = run(answering(TUMOUR))
    assert [each.window.downsample for each in asked] == [2, 8, 1]
    assert radii(state) == pytest.approx([700, 90, 15], abs=1)
    assert [each.window.downsample for each in state.candidates] == [8, 2, 1]
    assert [each.decoder for each in state.candidates] == [0, 1, 0]
    assert state.chosen == 0
    assert all(each.prompts.refine_all for each in asked), "a person may go on from each"


def test_the_best_mask_costs_no_look_more_and_is_the_same() -> None:
    (every,), _ = run(answering(TUMOUR))
    (best,), asked = run(answering(TUMOUR), choice=MaskChoice.BEST)
    assert [each.window.downsample for each in asked] == [2, 8]
    np.testing.assert_array_equal(best.mask, every.mask)
    assert best.window == every.window
    assert not any(each.prompts.refine_all for each in asked)


@pytest.mark.parametrize(("score", "first"), [(0.49, 91), (0.6, 6000)])
@pytest.mark.parametrize("choice", [MaskChoice.BEST, MaskChoice.ALL])
def test_what_fills_the_slide_does_not_come_back_where_the_model_doubts_it(
    score: float, first: int, choice: MaskChoice
) -> None:
    # The coarsest window shows all of the slide, so that nothing is cut off there.
    scales = Scales((2, 64), 256, Region(2000, 2000, 16_000, 16_000), 0.5, 2)
    answers = answering({2: [(6000, score), (91, 0.3)], 64: [(6000, score), (100, 0.05)]})
    (state,), _ = run(answers, scales=scales, choice=choice)
    assert radii(state)[0] == pytest.approx(first, rel=0.02)
    assert (6000 in [round(each, -3) for each in radii(state)]) is (first == 6000)


def test_a_closer_look_adds_to_the_choice_and_changes_no_order() -> None:
    (state,), _ = run(answering({2: [(100, 0.3)], 1: [(15, 0.9), (99, 0.8)]}))
    assert radii(state) == pytest.approx([100, 15], abs=1)


@pytest.mark.parametrize("choice", [MaskChoice.BEST, MaskChoice.ALL])
@pytest.mark.parametrize("view", [0.0, 1.0])
def test_an_empty_mask_is_no_answer_where_another_is_not(choice: MaskChoice, view: float) -> None:
    answers = answering({2: [(0, 0.9), (90, 0.6)], 1: [(90, 0.5)]})
    (state,), _ = run(answers, choice=choice, request=WindowRequest(view_downsample=view))
    assert radii(state)[state.chosen] == pytest.approx(90, abs=1)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_click_goes_on_from_the_mask_that_it_names_in_its_window(number: int) -> None:
    named = Click.at(AT + 5, AT, from_mask=number)
    decode = answering({**TUMOUR, 0.5: [(15, 0.6)], 0.25: [(15, 0.6)]})
    states, asked = run(decode, CLICK, named)
    candidate = states[0].candidates[number]
    first = next(each for each in asked if len(each.prompts.points) == 2)
    assert first.window == candidate.window
    assert first.prompts.decoder == candidate.decoder
    np.testing.assert_array_equal(first.prompts.logits, candidate.logits)
    # A state that is held and one that is made from the first step on are the same.
    held, _ = run(decode, CLICK, named, done=1, state=states[0])
    assert held[0].window == states[1].window
    np.testing.assert_array_equal(held[0].current.logits, states[1].current.logits)
    with pytest.raises(InvalidPrompt, match="has 3 masks"):
        run(decode, CLICK, Click.at(AT, AT, from_mask=3))


@pytest.mark.parametrize(
    ("discs", "kept"),
    [
        ([(100, 0.6), (60, 0.1), (30, 0.09)], [100, 60]),
        ([(100, 0.6), (60, 0.3), (30, 0.2)], [100, 60, 30]),
        ([(100, 0.6), (60, 0.0), (30, 0.0)], [100]),
        ([(100, 0.09), (60, 0.05)], [100]),
        ([(100, 0.6), (96, 0.5), (60, 0.4)], [100, 60]),
        ([(100, 0.6), (0, 0.5), (60, 0.4)], [100, 60]),
        ([(100, 0.6), (400, 0.5), (60, 0.4)], [100, 60]),
    ],
    ids=["one unlikely", "none", "all unlikely", "the best too", "one the same", "one empty", "one cut off"],
)
def test_masks_that_are_no_choice_are_left_out(discs: list[tuple[float, float]], kept: list[int]) -> None:
    # At a scale that the caller chooses there is one look, and every mask has a likely size.
    (state,), asked = run(answering({2: discs}), request=WindowRequest(downsample=2))
    assert radii(state) == pytest.approx(kept, abs=1)
    assert len(asked) == 1


def test_a_best_mask_that_is_cut_off_is_still_the_answer() -> None:
    (state,), _ = run(answering({2: [(400, 0.6), (60, 0.4)]}), request=WindowRequest(downsample=2))
    assert touches_edge(state.mask, state.window, EXTENT)
    assert len(state.candidates) == 2


@pytest.mark.parametrize(
    ("choice", "radius"), [(MaskChoice.BEST, 700), (MaskChoice.LARGEST, 700), (MaskChoice.SMALLEST, 150)]
)
def test_the_smallest_is_smallest_on_the_slide_and_not_in_its_window(choice: MaskChoice, radius: int) -> None:
    # The first mask alone is followed to a window in which it has fewer px than the other had before.
    answers = {2: [(1000, 0.8)], 8: [(700, 0.8), (150, 0.7)]}
    (state,), _ = run(answering(answers), choice=choice)
    assert radii(state)[state.chosen] == pytest.approx(radius, abs=3)


@pytest.mark.parametrize(("view", "first"), [(0.0, 700), (0.4, 91), (4.0, 700), (40.0, 700)])
@pytest.mark.parametrize("choice", [MaskChoice.BEST, MaskChoice.ALL])
def test_what_is_larger_than_the_view_comes_later(view: float, first: int, choice: MaskChoice) -> None:
    discs = [(700, 0.8), (91, 0.7)]
    answers = {1: discs, 2: discs, 4: discs, 8: discs, 16: [(700, 0.8)]}
    scales = Scales(tuple(answers), 256, EXTENT, 0.5, 2.0)
    (state,), asked = run(answering(answers), request=WindowRequest(view_downsample=view), choice=choice, scales=scales)
    assert radii(state)[0] == pytest.approx(first, abs=3)
    assert state.chosen == 0
    # What becomes the first is as good as the model makes it, without a further window.
    assert state.current.refined
    windows = {each.window for each in asked}
    again = choice is MaskChoice.BEST and first == 91
    assert len(asked) == len(windows) + again


def test_what_is_tiny_in_the_callers_window_comes_later() -> None:
    discs = [(5, 0.6), (100, 0.5)]
    (state,), _ = run(answering({2: discs}), request=WindowRequest(downsample=2))
    assert radii(state) == pytest.approx([100, 5], abs=1)
    region = Region(int(AT) - 128, int(AT) - 128, 256, 256)
    (state,), _ = run(answering({1: discs}), request=WindowRequest(region=region))
    assert radii(state) == pytest.approx([5, 100], abs=1)


def test_without_a_view_the_score_alone_decides() -> None:
    # The closer look sees a part of the nucleus and is less sure of it.
    answers = {2: [(12, 0.9)], 0.5: [(9, 0.6)]}
    (state,), asked = run(answering(answers), choice=MaskChoice.BEST)
    assert [each.window.downsample for each in asked] == [2, 0.5]
    assert radii(state) == pytest.approx([12, 9], abs=1)


def test_a_person_who_clicks_waits_for_no_closer_look() -> None:
    answers = {2: [(100, 0.6)], 1: [(15, 0.6)]}
    (state,), asked = run(answering(answers), embedded=EmbeddedWindows(SCALES, lambda window: False))
    assert [each.window.downsample for each in asked] == [2]
    wanted = WindowRequest(prefer_embedded=True, closer_look=True)
    (state,), asked = run(answering(answers), embedded=EmbeddedWindows(SCALES, lambda window: False), request=wanted)
    assert [each.window.downsample for each in asked] == [2, 1], "the person asks for it"
    (state,), asked = run(answering(answers), embedded=EmbeddedWindows(SCALES, lambda window: True))
    assert [each.window.downsample for each in asked] == [2, 1]
    assert radii(state) == pytest.approx([100, 15], abs=1)


@pytest.mark.parametrize(
    ("radius", "same"),
    [(100, True), (97, True), (95, True), (91, False), (80, False), (30, False)],
)
@pytest.mark.parametrize(("one", "other"), [(2, 2), (2, 4), (4, 2), (1, 8)])
def test_masks_are_the_same_by_their_iou_whichever_windows_they_lie_in(
    radius: float, same: bool, one: float, other: float
) -> None:
    windows = [SCALES.window_at(AT, AT, downsample) for downsample in (one, other)]
    masks = [painted(window, r) for window, r in zip(windows, (100, radius), strict=True)]
    assert are_same(*masks) is same
    apart = painted(windows[1], radius, x=AT + 40)
    assert not are_same(masks[0], apart), "of the same area, elsewhere"


def test_a_mask_beyond_a_finer_window_is_not_the_same_as_what_is_seen_of_it_there() -> None:
    fine, coarse = (SCALES.window_at(AT, AT, downsample) for downsample in (1, 4))
    assert not are_same(painted(fine, 90), painted(coarse, 200))
    empty = [painted(window, 0) for window in (fine, coarse)]
    assert are_same(*empty)
    assert not are_same(empty[0], painted(coarse, 200))


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_a_model_answers_the_choice_is_of_whole_masks_that_differ(data: st.DataObject) -> None:
    sizes = st.tuples(st.sampled_from([0, 5, 20, 21, 60, 90, 200, 240, 700, 5000]), st.floats(0, 1))
    scale = st.lists(sizes, min_size=1, max_size=3).map(lambda discs: sorted(discs, key=lambda each: -each[1]))
    answers = {downsample: data.draw(scale) for downsample in SCALES.downsamples}
    view = data.draw(st.sampled_from([0.0, 0.0, 0.4, 3.0, 20.0]))
    choice = data.draw(st.sampled_from(MaskChoice))
    states, asked = run(answering(answers), request=WindowRequest(view_downsample=view), choice=choice)
    again, _ = run(answering(answers), request=WindowRequest(view_downsample=view), choice=choice)
    (state,), (twin,) = states, again
    assert [each.window for each in state.candidates] == [each.window for each in twin.candidates]
    assert state.chosen == twin.chosen
    assert 1 <= len(state.candidates) <= MOST_CANDIDATES
    assert len(asked) <= 7
    good = [
        each.score >= LEAST_SCORE and bool(each.mask.any()) and not touches_edge(each.mask, each.window, EXTENT)
        for each in state.candidates
    ]
    kept_in_any_case = 1 if choice in (MaskChoice.BEST, MaskChoice.ALL) else 2
    assert good.count(False) <= kept_in_any_case
    pairs = [(a, b) for i, a in enumerate(state.candidates) for b in state.candidates[:i]]
    assert not any(are_same(*pair) for pair in pairs)


def test_a_mask_of_a_closer_look_is_found_again_where_nothing_is_held_any_more() -> None:
    """The window of the closer look was embedded when the first click came, and is no longer."""
    decode, store, request = (
        answering(dict(TUMOUR) | {0.5: [(15, 0.6)]}),
        StateStore(2**24),
        WindowRequest(prefer_embedded=True),
    )
    context = StepsContext("image", ("model", "", ""), 0.5, request, MaskChoice.ALL)

    def state_after(*clicks: Click, is_embedded: bool) -> State:
        embedded = EmbeddedWindows(SCALES, lambda _: is_embedded)
        asked = RunningObject(store, context, ObjectRequest(ObjectPrompts(clicks)), SCALES, embedded=embedded)
        while asked.wanted is not None:
            asked.send(decode(asked.wanted))
        return asked.state

    named = Click.at(AT + 5, AT, from_mask=2)
    first = state_after(CLICK, is_embedded=True)
    held = state_after(CLICK, named, is_embedded=False)
    store.clear()
    again = state_after(CLICK, named, is_embedded=False)
    assert len(first.candidates) == 3
    assert again.window == held.window
    np.testing.assert_array_equal(again.mask, held.mask)


def test_masks_that_differ_beyond_the_image_alone_are_one() -> None:
    window = Window(Region(0, 0, LOW_RES_SIZE, LOW_RES_SIZE), LOW_RES_SIZE, LOW_RES_SIZE)
    masks = np.zeros((3, LOW_RES_SIZE, LOW_RES_SIZE), bool)
    masks[0, 20:100, 20:100] = masks[1, 20:100, 20:100] = masks[1, 100:, 20:] = masks[2, 40:60, 40:60] = True
    every = [Candidate(window, mask, 0.6, np.where(mask, 6, -6).astype(np.float32)) for mask in masks]
    assert distinct(every[:1], every[1:], extent=Region(0, 0, 100, 100)) == (every[0], every[2])
    assert len(distinct(every[:1], every[1:], extent=EXTENT)) == 2, "there the second is cut off"
