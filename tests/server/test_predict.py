"""Clicks, boxes and outlines through a real channel."""

from __future__ import annotations

import io

import grpc
import numpy as np
import pytest
import shapely
from PIL import Image

from qupath_sam import errors
from qupath_sam.client import Pushed, SamClient, Slide
from qupath_sam.client.messages import predict_request
from qupath_sam.qupath.annotations import annotation_of
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import MaskChoice, ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import EmbeddingSource
from qupath_sam.types.service import EmbedMode, PixelFormat

HUGE = WindowRequest(region=Region(0, 0, 2220, 2967), downsample=0.01)
HERE = ObjectPrompts((Click.at(700.5, 600.5),))


def one(prediction):
    (result,) = prediction.results
    return result


def test_a_click_gives_an_outline_round_it(client, slide):
    prediction = client.predict(slide, [HERE])
    result = one(prediction)
    (outline,) = result.outlines
    assert outline.geometry.is_valid
    assert outline.geometry.contains(shapely.Point(700.5, 600.5))
    assert outline.area_px2 == pytest.approx(outline.geometry.area)
    assert outline.area_um2 == pytest.approx(outline.geometry.area * 0.499**2)
    assert result.window.region.contains(700, 600)
    assert prediction.provenance.model == "fake"
    assert prediction.provenance.mpp == pytest.approx(0.499)
    assert prediction.timings.total > 0


def test_the_outline_is_traced_on_pixel_edges_of_level_0(client, slide):
    for downsample in (1.0, 2.0, 4.0):
        result = one(client.predict(slide, [HERE], window=WindowRequest(downsample=downsample)))
        corners = shapely.get_coordinates(result.outlines[0].geometry)
        np.testing.assert_array_equal(corners, np.round(corners))
        assert result.outlines[0].area_px2 == round(result.outlines[0].area_px2)
        assert result.window.downsample == downsample


def test_the_next_click_goes_on_from_the_mask_that_was_chosen(client, slide):
    options = {"output": OutputOptions(choice=MaskChoice.ALL), "window": WindowRequest(downsample=1)}
    first = one(client.predict(slide, [HERE], **options))
    assert [outline.mask_index for outline in first.outlines] == [0, 1, 2]
    areas = []
    for chosen in (None, *(outline.mask_index for outline in first.outlines)):
        clicks = (*HERE.clicks, Click.at(702.5, 600.5, from_mask=chosen))
        told = one(client.predict(slide, [ObjectRequest(ObjectPrompts(clicks), token=first.token)], **options))
        assert told.resumed_steps == 1
        again = one(client.predict(slide, [ObjectPrompts(clicks)], **options))
        assert again.outlines[0].geometry.equals(told.outlines[0].geometry), "click by click is as all at once"
        areas.append(told.outlines[0].area_px2)
    assert areas[0] == areas[1], "without a choice the best is gone on from"
    assert areas[3] > areas[1], "the fake's third mask is larger, and it stays"
    with pytest.raises(errors.InvalidPrompt, match="has 3 masks"):
        client.predict(slide, [ObjectPrompts((*HERE.clicks, Click.at(702, 600, from_mask=7)))], **options)


def test_outlines_of_a_first_click_come_with_the_windows_that_they_were_seen_in(slide):
    output = OutputOptions(choice=MaskChoice.ALL)
    with (
        start_server(ServerSettings(port=0, model="fake", device="cpu")) as running,
        SamClient(running.address, timeout_s=30) as client,
    ):
        # Small in its window, so that the engine looks more closely; the fake sees another disc there.
        running.engine.models.get().segmenter.radius = 0.06
        prediction = client.predict(slide, [HERE], output=output)
        first = one(prediction)
        windows = [outline.window or first.window for outline in first.outlines]
        assert len(set(windows)) > 1
        assert windows[0] == first.window
        assert first.outlines[0].window is None
        for outline, window in zip(first.outlines, windows, strict=True):
            assert shapely.box(*window.region.bounds).contains(outline.geometry)
            made = annotation_of(first, outline, prediction.provenance).metadata
            assert made["qupath-sam.downsample"] == f"{window.downsample:g}"
            clicks = (*HERE.clicks, Click.at(702.5, 600.5, from_mask=outline.mask_index))
            held = one(client.predict(slide, [ObjectRequest(ObjectPrompts(clicks), token=first.token)], output=output))
            assert held.resumed_steps == 1
            running.engine.states.clear()
            replayed = one(client.predict(slide, [ObjectPrompts(clicks)], output=output))
            assert replayed.window == held.window
            assert replayed.outlines[0].geometry.equals(held.outlines[0].geometry)
            assert held.outlines[0].geometry.intersection(outline.geometry).area > 0.8 * outline.geometry.area


def test_click_by_click_with_tokens_equals_all_at_once(client, slide):
    clicks = (Click.at(700, 600), Click.at(760, 620), Click.at(650, 560, Label.NEGATIVE))
    at_once = one(client.predict(slide, [ObjectPrompts(clicks)]))
    token = b""
    for count in range(1, 4):
        result = one(client.predict(slide, [ObjectRequest(ObjectPrompts(clicks[:count]), token=token)]))
        assert result.resumed_steps >= count - 1
        token = result.token
    assert result.outlines[0].geometry.equals(at_once.outlines[0].geometry)
    assert result.token == at_once.token


def test_a_dropped_token_costs_a_replay_and_nothing_else(server, client, slide):
    clicks = (Click.at(900, 900), Click.at(930, 940))
    first = one(client.predict(slide, [ObjectPrompts(clicks[:1])]))
    kept = one(client.predict(slide, [ObjectRequest(ObjectPrompts(clicks), token=first.token)]))
    assert kept.resumed_steps == 1
    server.engine.states.clear()
    replayed = one(client.predict(slide, [ObjectRequest(ObjectPrompts(clicks), token=first.token)]))
    assert replayed.resumed_steps == 0
    assert replayed.outlines[0].geometry.equals(kept.outlines[0].geometry)
    garbage = one(client.predict(slide, [ObjectRequest(ObjectPrompts(clicks), token=b"\x00" * 16)]))
    assert garbage.outlines[0].geometry.equals(kept.outlines[0].geometry)


def test_several_objects_are_answered_as_if_alone(client, slide):
    objects = [
        ObjectRequest(ObjectPrompts((Click.at(700, 600),)), "click"),
        ObjectRequest(ObjectPrompts(box=Box(1000, 1000, 1200, 1180)), "box"),
        ObjectRequest(ObjectPrompts(outline=shapely.box(300, 300, 420, 400)), "outline"),
        ObjectRequest(ObjectPrompts((Click.at(710, 610),)), "neighbour"),
    ]
    together = client.predict(slide, objects).results
    assert [result.object_id for result in together] == ["click", "box", "outline", "neighbour"]
    for request, result in zip(objects, together, strict=True):
        alone = one(client.predict(slide, [request]))
        assert alone.outlines[0].geometry.equals(result.outlines[0].geometry)


def test_all_masks_come_best_first_and_largest_and_smallest_differ(client, slide):
    masks = one(client.predict(slide, [HERE], output=OutputOptions(choice=MaskChoice.ALL))).outlines
    assert len(masks) == 3
    assert [m.score for m in masks] == sorted((m.score for m in masks), reverse=True)
    largest = one(client.predict(slide, [HERE], output=OutputOptions(choice=MaskChoice.LARGEST))).outlines
    smallest = one(client.predict(slide, [HERE], output=OutputOptions(choice=MaskChoice.SMALLEST))).outlines
    assert smallest[0].area_px2 < largest[0].area_px2
    best = one(client.predict(slide, [HERE])).outlines
    assert best[0].score == masks[0].score


def test_the_result_is_cut_to_an_outline_simplified_and_dropped_when_too_small(client, slide):
    whole = one(client.predict(slide, [HERE])).outlines[0]
    half = shapely.box(0, 0, 700, 3000)
    cut = one(client.predict(slide, [HERE], output=OutputOptions(clip=half))).outlines[0]
    assert cut.geometry.equals(whole.geometry.intersection(half))
    simple = one(client.predict(slide, [HERE], output=OutputOptions(simplify_tolerance=1.0))).outlines[0]
    assert shapely.get_num_coordinates(simple.geometry) < shapely.get_num_coordinates(whole.geometry)
    assert simple.geometry.hausdorff_distance(whole.geometry) <= 1.0 / 0.499 + 1e-6
    none = one(client.predict(slide, [HERE], output=OutputOptions(min_area=1e9)))
    assert none.outlines == ()


def test_the_second_click_nearby_finds_the_embedding_in_memory(client, slide):
    far = WindowRequest(downsample=1)
    first = one(client.predict(slide, [ObjectPrompts((Click.at(1500, 2500),))], window=far))
    second = one(client.predict(slide, [ObjectPrompts((Click.at(1510, 2510),))], window=far))
    assert first.window == second.window
    assert second.embedding_source is EmbeddingSource.MEMORY


@pytest.mark.parametrize("mode", ["wait", "start"])
def test_embedding_ahead_makes_the_first_click_warm(server, client, slide, mode):
    server.engine.embeddings.memory.clear()
    request = WindowRequest(downsample=0.5)
    corner = Region(1800 if mode == "wait" else 100, 100, 200, 200)
    focus = (corner.x + 100.0, corner.y + 100.0)
    before = client.embed(slide, window=request, view=corner, focus=focus, mode=EmbedMode.QUERY)
    assert before
    assert not any(status.ready for status in before)
    client.embed(slide, window=request, view=corner, focus=focus, mode=mode)
    if mode == "start":
        # Waiting for the same windows joins the background work instead of doing it twice.
        client.embed(slide, window=request, view=corner, focus=focus, mode=EmbedMode.WAIT)
    assert all(
        status.ready for status in client.embed(slide, window=request, view=corner, focus=focus, mode=EmbedMode.QUERY)
    )
    result = one(client.predict(slide, [ObjectPrompts((Click.at(*focus),))], window=request))
    assert result.embedding_source is EmbeddingSource.MEMORY
    assert before[0].window == result.window


def test_pushed_pixels_give_what_the_slide_gives(client, slide):
    from qupath_sam.slides.open import open_slide
    from qupath_sam.types.regions import Window

    region = Region(512, 512, 512, 512)
    reader = open_slide(slide.location)
    pixels = reader.read(Window.of(region, 1.0))
    reader.close()
    pushed = client.push_pixels(
        pixels.tobytes(), pixel_format=PixelFormat.RGB, region=region, image_size=(2220, 2967), pixel_size=(512, 512),
        mpp=0.499,
        rendering="QuPath rendered RGB",
    )  # fmt: skip
    prompts = [ObjectPrompts((Click.at(700, 700),))]
    window = WindowRequest(region=region, downsample=2.0)
    from_pixels = client.predict(pushed, prompts, window=window)
    from_slide = client.predict(slide, prompts, window=window)
    assert one(from_pixels).outlines[0].geometry.equals(one(from_slide).outlines[0].geometry)
    assert "QuPath rendered RGB" in from_pixels.provenance.pixel_source
    # Left to itself the engine cuts its windows from what was pushed.
    assert one(client.predict(pushed, prompts)).outlines


def test_pushed_pixels_that_are_not_held_are_named(client):
    with pytest.raises(errors.PixelsMissing) as caught:
        client.predict(Pushed(bytes(range(32))), [HERE])
    assert caught.value.digest == bytes(range(32)).hex()


def test_broken_pushed_pixels_are_refused(client):
    encoded = io.BytesIO()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(encoded, "PNG")
    with pytest.raises(errors.QupathSamError):
        client.push_pixels(
            encoded.getvalue()[:40], pixel_format=PixelFormat.PNG, region=Region(0, 0, 30, 20), image_size=(100, 100),
            pixel_size=(30, 20),
        )  # fmt: skip
    with pytest.raises(errors.InvalidRegion, match="does not lie in the image"):
        client.push_pixels(
            encoded.getvalue(), pixel_format=PixelFormat.PNG, region=Region(90, 0, 30, 20), image_size=(100, 100),
            pixel_size=(30, 20),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("image", "objects", "options", "kind"),
    [
        (Slide("/no/such/slide.svs"), [HERE], {}, errors.SlideNotFound),
        (Slide("/no/such/slide.svs"), [], {}, errors.QupathSamError),
        (None, [], {}, errors.InvalidPrompt),
        (None, [ObjectPrompts((Click.at(99_999, 5),))], {}, errors.InvalidPrompt),
        (None, [HERE], {"model": "vit-b"}, errors.UnknownModel),
        (None, [HERE], {"model": "sam_vit_h"}, errors.WeightsMissing),
        (None, [HERE], {"window": WindowRequest(region=Region(90_000, 0, 10, 10))}, errors.InvalidRegion),
        (None, [HERE], {"window": HUGE}, errors.RequestTooLarge),
    ],
)  # fmt: skip
def test_bad_requests_raise_their_own_error(client, slide, image, objects, options, kind):
    with pytest.raises(kind):
        client.predict(image or slide, objects, **options)


def test_a_slide_of_another_size_than_the_client_believes_is_refused(client, slide):
    with pytest.raises(errors.SlideMismatch, match="2220"):
        client.predict(Slide(slide.location, size=(2221, 2967)), [HERE])
    assert client.predict(Slide(slide.location, size=(2220, 2967)), [HERE]).results


def test_nobody_home_is_told_as_such():
    with SamClient("127.0.0.1:1", timeout_s=2) as nobody:
        assert not nobody.is_serving(timeout_s=0.5)
        with pytest.raises(errors.ServerUnavailable, match="qupath-sam serve"):
            nobody.capabilities()


def test_the_server_refuses_more_objects_than_it_takes(client, slide):
    """The client sends them in several calls; a client of another make may not."""
    with pytest.raises(grpc.RpcError) as refused:
        client._stub.Predict(predict_request(slide, [HERE] * 1025))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
