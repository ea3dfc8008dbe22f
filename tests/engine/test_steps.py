"""The steps from prompts to masks, driven by a painted truth instead of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from qupath_sam.engine.embedded_windows import EmbeddedWindows
from qupath_sam.engine.logits import carry_logits, outline_logits
from qupath_sam.engine.step import State, steps_of
from qupath_sam.engine.step_bounds import touches_edge
from qupath_sam.engine.steps import run_step
from qupath_sam.engine.windows import Scales
from qupath_sam.errors import InvalidPrompt
from qupath_sam.models.base import LOW_RES_SIZE, MaskSet
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import MaskChoice, WindowRequest

EXTENT = Region(0, 0, 40_000, 40_000)


def make_scales(extent: Region = EXTENT) -> Scales:
    return Scales.of(extent=extent, mpp=0.5, input_size=256, default_mpp=1.0)


def painted(truth: shapely.Geometry) -> Callable:
    """A decoder that always answers with the truth, as seen in the window."""

    def decode(request) -> MaskSet:
        window = request.window
        logits = outline_logits(truth, window)
        rows = (np.arange(window.height) * LOW_RES_SIZE) // window.height
        columns = (np.arange(window.width) * LOW_RES_SIZE) // window.width
        mask = (logits > 0)[rows][:, columns]
        return MaskSet(mask[None], np.ones(1, np.float32), logits[None])

    return decode


def run(
    prompts: ObjectPrompts,
    decode,
    *,
    done=0,
    state=None,
    request=None,
    scales=None,
    choice=MaskChoice.BEST,
    embedded=None,
):
    """All new states and all requests of a run of steps."""
    steps, states, asked = steps_of(prompts), [], []
    scales, request = scales or make_scales(), request or WindowRequest()
    for index in range(done, len(steps)):
        generator = run_step(
            steps[: index + 1], state, scales=scales, request=request, choice=choice, embedded=embedded
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


def disc(x: float, y: float, radius: float) -> shapely.Geometry:
    return shapely.Point(x, y).buffer(radius)


def test_a_gland_is_found_at_the_models_own_scale():
    states, asked = run(ObjectPrompts((Click.at(10_000, 10_000),)), painted(disc(10_000, 10_000, 100)))
    assert len(asked) == 1
    assert states[0].window.downsample == 2
    assert asked[0].several_masks


def test_a_mask_that_runs_into_the_edge_is_taken_again_coarser_until_it_fits():
    truth = disc(10_000, 10_000, 1500)
    states, asked = run(ObjectPrompts((Click.at(10_000, 10_000),)), painted(truth))
    assert asked[0].window.downsample == 2
    assert not touches_edge(states[0].mask, states[0].window, EXTENT)
    assert states[0].window.region.width >= 3000


def test_growing_coarser_ends_after_a_few_changes():
    _, asked = run(ObjectPrompts((Click.at(20_000, 20_000),)), painted(disc(20_000, 20_000, 15_000)))
    assert len(asked) <= 4


def test_a_mask_at_the_images_own_edge_is_not_taken_again():
    extent = Region(0, 0, 400, 400)
    states, asked = run(ObjectPrompts((Click.at(10, 10),)), painted(disc(0, 0, 150)), scales=make_scales(extent))
    assert len(asked) == 1
    assert not touches_edge(states[0].mask, states[0].window, extent)


def test_a_small_mask_is_zoomed_in_on():
    states, asked = run(ObjectPrompts((Click.at(10_000, 10_000),)), painted(disc(10_000, 10_000, 12)))
    assert [request.window.downsample for request in asked] == [2, 0.5]
    assert states[0].window.downsample == 0.5


def test_a_closer_look_that_disagrees_is_not_taken():
    def decode(request) -> MaskSet:
        # The coarse view sees a nucleus, the fine one everything.
        truth = disc(10_000, 10_000, 12) if request.window.downsample >= 2 else disc(10_000, 10_000, 500)
        return painted(truth)(request)

    states, asked = run(ObjectPrompts((Click.at(10_000, 10_000),)), decode)
    assert len(asked) == 2
    assert states[0].window.downsample == 2


def test_one_of_touching_nuclei_is_told_apart_by_a_closer_look():
    def decode(request) -> MaskSet:
        # From afar three nuclei are one.
        cluster = shapely.union_all([disc(10_000 + 17 * i, 10_000, 10) for i in range(3)])
        return painted(cluster if request.window.downsample >= 2 else disc(10_000, 10_000, 10))(request)

    states, asked = run(ObjectPrompts((Click.at(10_000, 10_000),)), decode)
    assert [request.window.downsample for request in asked] == [2, 1, 0.25]
    assert states[0].window.downsample == 0.25


def test_a_window_is_not_looked_at_again_where_no_finer_one_holds_the_object():
    # Near a line of the grid the object fits into no window of the next finer scale.
    _, asked = run(ObjectPrompts((Click.at(10_048, 10_000),)), painted(disc(10_048, 10_000, 62)))
    assert [request.window.downsample for request in asked] == [2]


def test_a_closer_look_that_cuts_the_object_off_is_not_taken():
    def decode(request) -> MaskSet:
        truth = disc(10_000, 10_000, 30) if request.window.downsample >= 2 else disc(10_000, 10_000, 300)
        return painted(truth)(request)

    states, asked = run(ObjectPrompts((Click.at(10_000, 10_000),)), decode)
    assert len(asked) == 2
    assert states[0].window.downsample == 2


def test_what_proves_small_at_the_second_click_is_looked_at_then_and_no_later_than_at_the_third():
    def decode(request) -> MaskSet:
        small = len(request.prompts.points) >= found
        return painted(disc(10_000, 10_000, 12 if small else 200))(request)

    clicks = tuple(Click.at(10_000 + i, 10_000) for i in range(5))
    for found, finest in ((2, 0.5), (3, 0.5), (4, 2)):
        states, _ = run(ObjectPrompts(clicks), decode)
        assert states[-1].window.downsample == finest
        assert states[found - 2].window.downsample == 2


def test_later_clicks_keep_the_window_and_continue_from_the_logits():
    truth = disc(10_000, 10_000, 100)
    prompts = ObjectPrompts(
        (Click.at(10_000, 10_000), Click.at(10_050, 10_000), Click.at(9_950, 9_900, Label.NEGATIVE))
    )
    states, asked = run(prompts, painted(truth))
    assert len({request.window for request in asked}) == 1
    assert asked[0].prompts.logits is None
    assert [request.several_masks for request in asked] == [True, False, False]
    np.testing.assert_array_equal(asked[2].prompts.logits, states[1].current.logits)
    assert asked[2].prompts.labels.tolist() == [1, 1, 0]
    assert asked[2].prompts.last_click == 1


def test_a_click_outside_the_window_moves_it_and_carries_the_mask():
    truth = shapely.box(9_900, 9_900, 10_900, 10_000)
    inner = shapely.box(9_900, 9_900, 10_000, 10_000)

    def decode(request) -> MaskSet:
        return painted(truth if len(request.prompts.points) > 1 else inner)(request)

    prompts = ObjectPrompts((Click.at(9_950, 9_950), Click.at(10_800, 9_950)))
    states, _ = run(prompts, decode)
    assert states[1].window != states[0].window
    for click in prompts.clicks:
        assert states[1].window.region.contains(*click.points[0])


def test_the_answer_is_the_same_click_by_click_and_at_once():
    truth = disc(10_000, 10_000, 700)
    clicks = (Click.at(10_000, 10_000), Click.at(10_500, 10_000), Click.at(9_500, 9_000, Label.NEGATIVE))
    at_once, _ = run(ObjectPrompts(clicks), painted(truth))
    state: State | None = None
    for done in range(3):
        states, _ = run(ObjectPrompts(clicks[: done + 1]), painted(truth), done=done, state=state)
        state = states[-1]
        assert state.window == at_once[done].window
        np.testing.assert_array_equal(state.current.logits, at_once[done].current.logits)


def test_a_box_and_an_outline_come_first_and_together():
    prompts = ObjectPrompts((Click.at(10_000, 10_000),), Box(9_900, 9_900, 10_100, 10_100), disc(10_000, 10_000, 90))
    _, asked = run(prompts, painted(disc(10_000, 10_000, 95)))
    assert len(asked[0].prompts.points) == 0
    assert asked[0].prompts.box is not None
    assert asked[0].prompts.logits is not None
    assert not asked[0].several_masks
    assert len(asked[1].prompts.points) == 1


def test_an_outline_brings_its_own_box():
    _, asked = run(ObjectPrompts(outline=shapely.box(9_950, 9_960, 10_050, 10_040)), painted(disc(10_000, 10_000, 50)))
    window = asked[0].window
    left, top, right, bottom = asked[0].prompts.box
    assert window.to_level0(left, top) == (9_950, 9_960)
    assert window.to_level0(right, bottom) == (10_050, 10_040)


def test_a_scribble_is_one_step():
    stroke = Click(((10_000.0, 10_000.0), (10_020.0, 10_000.0), (10_040.0, 10_010.0)))
    _, asked = run(ObjectPrompts((stroke,)), painted(disc(10_000, 10_000, 100)))
    assert len(asked) == 1
    assert len(asked[0].prompts.points) == 3
    assert asked[0].prompts.last_click == 3


@pytest.mark.parametrize(
    ("choice", "chosen"), [(MaskChoice.BEST, 0), (MaskChoice.LARGEST, 2), (MaskChoice.SMALLEST, 1)]
)
def test_the_chosen_mask_is_the_one_that_is_continued(choice, chosen):
    def decode(request) -> MaskSet:
        sizes = (50, 40, 60) if request.several_masks else (50,)
        answers = [painted(disc(10_000, 10_000, radius))(request) for radius in sizes]
        return MaskSet(
            np.concatenate([a.masks for a in answers]),
            np.linspace(0.9, 0.1, len(sizes)).astype(np.float32),
            np.concatenate([a.logits for a in answers]),
        )

    request = WindowRequest(downsample=2)
    prompts = ObjectPrompts((Click.at(10_000, 10_000), Click.at(10_010, 10_000)))
    states, asked = run(prompts, decode, choice=choice, request=request)
    assert states[0].chosen == chosen
    np.testing.assert_array_equal(asked[1].prompts.logits, states[0].candidates[chosen].logits)


@pytest.mark.parametrize(("score", "runs_away"), [(0.4, False), (0.8, True)])
@pytest.mark.parametrize("choice", [MaskChoice.BEST, MaskChoice.ALL])
def test_a_doubted_mask_that_fills_the_slide_gives_way_to_one_inside_the_first_window(score, runs_away, choice):
    def decode(request) -> MaskSet:
        everything, object_ = (painted(disc(10_000, 10_000, radius))(request) for radius in (50_000, 60))
        masks = np.concatenate([everything.masks, object_.masks])
        logits = np.concatenate([everything.logits, object_.logits])
        return MaskSet(masks, np.array([score, 0.3], np.float32), logits, (1, 0))

    (state,), asked = run(ObjectPrompts((Click.at(10_000, 10_000),)), decode, choice=choice)
    assert bool(state.mask.all()) is runs_away
    if not runs_away:
        assert state.current.decoder == 0
        assert any(each.prompts.refine_all and each.window == asked[0].window for each in asked[1:])


def three_masks(request) -> MaskSet:
    sizes = (50, 40, 60) if request.several_masks else (50,)
    answers = [painted(disc(10_000, 10_000, radius))(request) for radius in sizes]
    return MaskSet(
        np.concatenate([a.masks for a in answers]),
        np.linspace(0.9, 0.1, len(sizes)).astype(np.float32),
        np.concatenate([a.logits for a in answers]),
    )


@pytest.mark.parametrize("from_mask", [0, 1, 2])
def test_a_click_goes_on_from_the_mask_that_it_names(from_mask):
    prompts = ObjectPrompts((Click.at(10_000, 10_000), Click.at(10_010, 10_000, from_mask=from_mask)))
    states, asked = run(prompts, three_masks, choice=MaskChoice.ALL, request=WindowRequest(downsample=2))
    np.testing.assert_array_equal(asked[1].prompts.logits, states[0].candidates[from_mask].logits)
    assert states[0].chosen == 0, "what the first click was answered depends on no later one"


def test_a_mask_that_there_is_not_is_refused():
    clicks = (Click.at(10_000, 10_000), Click.at(10_010, 10_000, from_mask=3))
    with pytest.raises(InvalidPrompt, match="has 3 masks"):
        run(ObjectPrompts(clicks), three_masks, request=WindowRequest(downsample=2))
    with pytest.raises(InvalidPrompt, match="no mask to go on from"):
        ObjectPrompts((Click.at(1, 1, from_mask=0),))
    with pytest.raises(InvalidPrompt, match="counts from 0"):
        Click.at(1, 1, from_mask=-1)


def test_a_window_of_the_callers_refuses_clicks_outside():
    request = WindowRequest(region=Region(0, 0, 100, 100))
    with pytest.raises(InvalidPrompt, match="outside the window"):
        run(ObjectPrompts((Click.at(500, 500),)), painted(disc(0, 0, 1)), request=request)


def test_carrying_logits_to_the_same_window_changes_nothing():
    logits = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    window = Window(Region(0, 0, 512, 512), 256, 256)
    assert carry_logits(logits, window, window) is logits


@given(
    dx=st.integers(-300, 300), dy=st.integers(-300, 300), side=st.sampled_from([256, 512, 1024]),
    radius=st.integers(60, 200),
)  # fmt: skip
@settings(max_examples=40)
def test_carried_logits_lie_where_they_lay(dx, dy, side, radius):
    truth = disc(1_000, 1_000, radius)
    source = Window(Region(744, 744, 512, 512), 256, 256)
    target = Window(Region(1_000 - side // 2 + dx, 1_000 - side // 2 + dy, side, side), 256, 256)
    carried = carry_logits(outline_logits(truth, source), source, target) > 0
    direct = outline_logits(truth.intersection(shapely.box(*source.region.bounds)), target) > 0
    # Half a pixel of either window along the outline may differ.
    allowed = truth.length / target.downsample * (1 + source.downsample / target.downsample) + 8
    assert np.count_nonzero(carried != direct) <= allowed


def test_an_outline_is_true_at_pixel_centres():
    window = Window(Region(100, 200, 256, 256), 256, 256)
    inside = outline_logits(shapely.box(110, 220, 130, 250), window) > 0
    assert np.count_nonzero(inside) == 20 * 30
    assert inside[20:50, 10:30].all()


def noise(seed: int) -> Callable:
    """A decoder that answers anything: empty, full, dots and blobs, by the window and the number of prompts."""

    def decode(request) -> MaskSet:
        region = request.window.region
        rng = np.random.default_rng(
            [seed, region.x % 2**31, region.y % 2**31, region.width, len(request.prompts.points)]
        )
        masks = []
        for _ in range(3 if request.several_masks else 1):
            x, y = rng.uniform(0, LOW_RES_SIZE, 2)
            radius = rng.choice([0, 3, 40, 400])
            rows, columns = np.mgrid[:LOW_RES_SIZE, :LOW_RES_SIZE] + 0.5
            masks.append((radius - np.hypot(columns - x, rows - y)).astype(np.float32))
        logits = np.stack(masks)
        across = (np.arange(request.window.width) * LOW_RES_SIZE) // request.window.width
        down = (np.arange(request.window.height) * LOW_RES_SIZE) // request.window.height
        return MaskSet((logits > 0)[:, down][:, :, across], np.linspace(1, 0.5, len(logits), dtype=np.float32), logits)

    return decode


@st.composite
def images_and_clicks(draw):
    """An image of any shape, with or without a pixel size, and clicks anywhere in it."""
    sides = st.sampled_from([1, 3, 100, 257, 2000, 40_000, 200_000])
    extent = Region(draw(st.sampled_from([0, 17])), 0, draw(sides), draw(sides))
    mpp = draw(st.sampled_from([None, 0.1, 0.25, 0.5, 8.0, 40.0]))
    scales = Scales.of(
        extent=extent, mpp=mpp, input_size=draw(st.sampled_from([256, 1024])), default_mpp=1.0,
        finest_downsample=draw(st.sampled_from([1.0, 1.3, 7.7])),
    )  # fmt: skip
    share = st.floats(0, 1)
    clicks = [
        Click.at(extent.x + draw(share) * extent.width, extent.y + draw(share) * extent.height, label)
        for label in [Label.POSITIVE, *draw(st.lists(st.sampled_from(Label), max_size=3))]
    ]
    view = draw(st.sampled_from([0.0, 0.3, 4.0, 1e6]))
    scale = draw(st.sampled_from([None, None, 0.01, 1.0, 300.0]))
    return scales, ObjectPrompts(tuple(clicks)), WindowRequest(downsample=scale, view_downsample=view)


@given(case=images_and_clicks(), seed=st.integers(0, 5))
@settings(max_examples=80)
def test_whatever_a_model_answers_the_fold_ends_soon_and_sees_the_newest_click(case, seed):
    scales, prompts, request = case
    states, asked = run(prompts, noise(seed), scales=scales, request=request)
    again, _ = run(prompts, noise(seed), scales=scales, request=request)
    assert [state.window for state in states] == [state.window for state in again]
    assert len(states) == len(prompts.clicks)
    assert len(asked) <= 4 * len(states)
    coarsest = scales.downsamples[-1]
    for number, state in enumerate(states):
        region = state.window.region
        assert state.window.width == state.window.height <= scales.input_size
        assert state.window.width == scales.input_size or scales.is_large_input
        assert region.intersection(scales.extent) is not None
        for click in prompts.clicks[: number + 1]:
            newest = click is prompts.clicks[number]
            positive = click.label is Label.POSITIVE
            if newest or (positive and request.downsample is None and state.window.downsample < coarsest):
                (x, y) = click.points[0]
                assert region.x <= x <= region.right
                assert region.y <= y <= region.bottom
    for wanted in asked:
        assert wanted.prompts.last_click == 1


def test_a_click_beyond_the_coarsest_window_is_seen_all_the_same():
    extent = Region(0, 0, 200_000, 200_000)
    prompts = ObjectPrompts((Click.at(1_000, 1_000), Click.at(190_000, 190_000)))
    states, asked = run(prompts, painted(disc(1_000, 1_000, 300)), scales=make_scales(extent))
    assert states[1].window.region.contains(190_000, 190_000)
    assert asked[-1].prompts.last_click == 1


def test_a_scribble_longer_than_its_window_is_refused():
    stroke = Click(((100.0, 100.0), (39_000.0, 39_000.0)))
    with pytest.raises(InvalidPrompt, match="does not fit"):
        run(ObjectPrompts((stroke,)), painted(disc(0, 0, 10)), request=WindowRequest(downsample=1))
    with pytest.raises(InvalidPrompt, match="shorter"):
        run(ObjectPrompts((stroke,)), painted(disc(0, 0, 10)))


def test_a_click_on_the_far_corner_keeps_its_window():
    extent = Region(0, 0, 5_000, 4_000)
    prompts = ObjectPrompts((Click.at(5_000, 4_000), Click.at(5_000, 4_000)))
    states, _ = run(prompts, painted(disc(4_980, 3_980, 60)), scales=make_scales(extent))
    assert states[0].window == states[1].window


def test_clicks_of_one_step_are_decoded_once_from_the_mask_before_them():
    truth = disc(10_000, 10_000, 100)
    first = Click.at(10_000, 10_000)
    more = [Click.at(10_040, 10_000), Click.at(10_000, 10_150, Label.NEGATIVE), Click.at(10_000, 9_960)]
    states, asked = run(
        ObjectPrompts((first, more[0], *(replace(c, same_step=True) for c in more[1:]))), painted(truth)
    )
    assert len(states) == len(asked) == 2
    np.testing.assert_array_equal(asked[1].prompts.logits, states[0].current.logits)
    assert asked[1].prompts.labels.tolist() == [1, 1, 0, 1]
    assert asked[1].prompts.last_click == 3
    assert not asked[1].several_masks


def test_clicks_of_one_step_need_one_before_them_and_go_on_from_its_mask():
    with pytest.raises(InvalidPrompt, match="no click before"):
        ObjectPrompts((Click.at(1, 1, same_step=True),))
    with pytest.raises(InvalidPrompt, match="no click before"):
        ObjectPrompts((Click.at(1, 1, same_step=True),), box=Box(0, 0, 9, 9))
    with pytest.raises(InvalidPrompt, match="same mask"):
        Click.at(1, 1, from_mask=1, same_step=True)


@pytest.mark.parametrize("apart", [200, 5_000, 30_000])
@pytest.mark.parametrize("downsample", [None, 1.0])
def test_clicks_of_one_step_may_lie_further_apart_than_a_window(apart, downsample):
    """A person may be fast and go far; each click alone would have been taken."""
    clicks = (Click.at(100, 100), Click.at(110, 100), Click.at(100 + apart, 100, same_step=True))
    request = WindowRequest(downsample=downsample)
    _, asked = run(ObjectPrompts(clicks), painted(disc(100, 100, 50)), request=request)
    last = asked[-1]
    assert last.window.region.contains(100 + apart, 100)
    assert last.prompts.last_click == (2 if last.window.region.contains(110, 100) else 1)


def encodes_of_clicks(clicks, truths, *, prefer: bool, view: float) -> list[int]:
    """How many windows each click has to encode, one object after the other, where all that was encoded is held."""
    scales, held = make_scales(), set()
    request = WindowRequest(view_downsample=view, prefer_embedded=prefer)
    embedded = EmbeddedWindows(scales, held.__contains__) if prefer else None
    counts = []
    for click, truth in zip(clicks, truths, strict=True):
        _, asked = run(ObjectPrompts((click,)), painted(truth), request=request, scales=scales, embedded=embedded)
        new = {each.window for each in asked} - held
        counts.append(len(new))
        held |= new
    return counts


def test_ten_clicks_of_one_view_share_windows_where_embedded_ones_are_preferred():
    """Without, each takes the window whose middle half it lies in."""
    places = [(10_000 + 37 * n, 10_000 + 23 * n) for n in range(10)]
    truths = [disc(x, y, 45) for x, y in places]
    clicks = [Click.at(x, y) for x, y in places]
    assert sum(encodes_of_clicks(clicks, truths, prefer=False, view=1.0)) >= 3
    assert sum(encodes_of_clicks(clicks, truths, prefer=True, view=1.0)) <= 2


def test_ten_small_nuclei_in_a_row_share_windows_where_embedded_ones_are_preferred():
    places = [(10_000 + 12 * n, 10_000) for n in range(10)]
    truths = [disc(x, y, 8) for x, y in places]
    clicks = [Click.at(x, y) for x, y in places]
    alone = encodes_of_clicks(clicks, truths, prefer=False, view=0.5)
    shared = encodes_of_clicks(clicks, truths, prefer=True, view=0.5)
    assert sum(shared) < sum(alone)
    assert sorted(shared)[4] == 0, "half of the clicks cost no encode"


def test_an_object_at_the_edge_of_an_embedded_window_is_seen_in_the_middle_of_another():
    scales = make_scales()
    click, truth = Click.at(9_900, 9_900), disc(9_900, 9_900, 100)
    own = run(ObjectPrompts((click,)), painted(truth), scales=scales)[0][0]
    off_centre = scales.windows_holding((9_900,) * 4, own.window.downsample, margin_share=1 / 8)
    assert own.window in off_centre
    others = [window for window in off_centre if window != own.window]
    assert others
    for window in others:
        embedded = EmbeddedWindows(scales, {window}.__contains__)
        state = run(ObjectPrompts((click,)), painted(truth), scales=scales, embedded=embedded)[0][0]
        assert not touches_edge(state.mask, state.window, EXTENT)
        assert state.window in (window, own.window)


def test_windows_that_hold_bounds_hold_them_and_lie_on_the_grid_of_clicks():
    scales = make_scales()
    for x in (5.0, 3_000.0, 3_127.5, 39_995.0):
        for window in scales.windows_holding((x, 500.0, x + 4, 520.0), 2.0, margin_share=1 / 8):
            assert window in scales.windows_in_view(window.region, 2.0, (x, 500.0))
            free = window.region.width / 8
            assert window.region.x == 0 or x >= window.region.x + free
            assert window.region.right == EXTENT.right or x + 4 <= window.region.right - free


@pytest.mark.parametrize(
    ("scales", "request_"),
    [
        (make_scales(), WindowRequest(downsample=0.5)),
        (replace(make_scales(), downsamples=(0.5,), default_downsample=0.5), WindowRequest()),
    ],
)
@pytest.mark.parametrize("label", list(Label))
def test_a_first_step_of_clicks_far_apart_shows_the_last_positive_one(scales, request_, label):
    clicks = Click.at(100, 100), Click.at(4100, 100, same_step=True), Click.at(8000, 9000, label, same_step=True)
    shown = next(each for each in reversed(clicks) if each.label is Label.POSITIVE)
    _, asked = run(ObjectPrompts(clicks), painted(disc(*shown.points[0], 30)), request=request_, scales=scales)
    assert [(each.prompts.labels.tolist(), each.window.region.contains(*shown.points[0])) for each in asked] == [
        ([1], True)
    ]


def test_a_scribble_that_ends_a_first_step_and_fits_no_window_is_refused():
    clicks = Click.at(100, 100), Click(((300, 300), (9000, 9000)), same_step=True)
    with pytest.raises(InvalidPrompt, match="scribble"):
        run(ObjectPrompts(clicks), painted(disc(100, 100, 30)), request=WindowRequest(downsample=0.5))
