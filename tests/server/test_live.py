"""Live streams and clients over their whole life: cancelling, half-closing, dying servers, and what stays behind."""

from __future__ import annotations

import gc
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from shapely.geometry import Point

from qupath_sam import errors
from qupath_sam.client import SamClient
from qupath_sam.client.images import Slide
from qupath_sam.client.messages import predict_request
from qupath_sam.models.load import LoadedModel
from qupath_sam.models.registry import AUTO, REGION_MODEL
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.live import MAX_PENDING
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import WindowRequest
from qupath_sam.types.service import EmbedMode
from qupath_sam.v1 import error_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc

FAKE = ServerSettings(port=0, model="fake", device="cpu")


def click(slide, x: float, y: float) -> tuple[Slide, list[ObjectPrompts]]:
    return slide, [ObjectPrompts((Click.at(x, y),))]


def at(slide, x: float, y: float) -> pb.PredictRequest:
    return predict_request(*click(slide, x, y))


@contextmanager
def held_decoder(server: RunningServer) -> Iterator[threading.Event]:
    """Holds the decoder from within, as a long decode would; the event is set once it is there."""
    segmenter = server.engine.models.get().segmenter
    release, entered = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        release.wait(30)

    segmenter.before_decode = hold
    try:
        yield entered
    finally:
        segmenter.before_decode = None
        release.set()


def eventually(what: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(what() or pause.wait(0.02) for _ in range(1000))


def threads_named(prefix: str) -> int:
    return sum(thread.name.startswith(prefix) for thread in threading.enumerate())


def test_two_hundred_streams_leave_no_threads_behind(server, slide):
    stub_threads = threads_named("qupath-sam-live")
    for number in range(200):
        with SamClient(server.address) as client:
            live = client.live()
            future = live.predict(*click(slide, 300 + number, 300))
            if number % 2:
                live.close()
                assert future.result(1).results
            # else the client just goes
    gc.collect()
    assert eventually(lambda: threads_named("qupath-sam-live") <= stub_threads)
    assert eventually(lambda: server.engine.worker.waiting == 0)


def test_what_runs_already_when_it_is_cancelled_is_answered_as_cancelled(server, client, slide):
    with client.live() as live:
        with held_decoder(server) as entered:
            older = live.predict(*click(slide, 640, 640), supersedes_key="one")
            assert entered.wait(10)
            newer = live.predict(*click(slide, 650, 650), supersedes_key="one")
            other = live.predict(*click(slide, 660, 660), supersedes_key="other")
            assert eventually(lambda: server.engine.worker.waiting == 1), "the newer one waits for the older one's step"
        with pytest.raises(errors.Cancelled):
            older.result(10)
        assert newer.result(10).results
        assert other.result(10).results


def test_a_newer_click_goes_on_from_the_last_step_of_the_one_that_it_replaces(server, client, slide):
    """Twenty requests within one decode: each step is decoded once at most, and what was decoded is not lost."""
    segmenter = server.engine.models.get().segmenter
    window = WindowRequest(downsample=1.0)
    clicks = [Click.at(640.5 + 2 * n, 840.5) for n in range(20)]
    before = segmenter.decode_calls
    with client.live() as live:
        with held_decoder(server) as entered:
            first = live.predict(slide, [ObjectPrompts(tuple(clicks[:3]))], window=window, supersedes_key="one")
            assert entered.wait(10)
            newer = [
                live.predict(slide, [ObjectPrompts(tuple(clicks[:n]))], window=window, supersedes_key="one")
                for n in range(4, 21)
            ]
            embedded = live.embed(slide, window=window, mode=EmbedMode.QUERY)
            assert embedded.result(10), "the stream does nothing else while a click waits for the one before it"
        for older in (first, *newer[:-1]):
            with pytest.raises(errors.Cancelled):
                older.result(10)
        assert newer[-1].result(10).results[0].resumed_steps >= 1
    assert segmenter.decode_calls - before == 20
    alone = client.predict(slide, [ObjectPrompts(tuple(clicks))], window=window)
    assert newer[-1].result().results[0].outlines[0].geometry.equals(alone.results[0].outlines[0].geometry)


def test_clicks_made_on_one_outline_are_decoded_once(server, client, slide):
    segmenter = server.engine.models.get().segmenter
    first, *more = [Click.at(640.5 + 2 * n, 940.5) for n in range(20)]
    together = (first, more[0], *(replace(each, same_step=True) for each in more[1:]))
    before = segmenter.decode_calls
    answer = client.predict(slide, [ObjectPrompts(together)], window=WindowRequest(downsample=1.0)).results[0]
    assert segmenter.decode_calls - before == 2
    for each in together:
        assert answer.outlines[0].geometry.contains(Point(*each.points[0]))


def test_cancelling_a_future_cancels_on_the_server(server, client, slide):
    with client.live() as live:
        with held_decoder(server) as entered:
            first = live.predict(*click(slide, 640, 740))
            assert entered.wait(10)
            second = live.predict(*click(slide, 650, 750))
            assert eventually(lambda: server.engine.worker.waiting == 1)
            assert second.cancel()
            assert eventually(lambda: server.engine.worker.waiting == 0)
        assert first.result(10).results


def test_raw_streams_cancel_by_number_refuse_what_is_double_and_answer_after_half_close(server, slide):
    def asked(number: int) -> pb.LiveRequest:
        return pb.LiveRequest(request_id=number, predict=at(slide, 900 + number, 900))

    with grpc.insecure_channel(server.address) as channel, held_decoder(server):
        requests = [asked(1), asked(2), asked(2), pb.LiveRequest(cancel_request_id=77), pb.LiveRequest(request_id=5)]
        answers = pb_grpc.SegmentationServiceStub(channel).Live(iter(requests), timeout=20)
        double = next(answers)
        assert (double.request_id, double.error.reason) == (2, error_pb2.ERROR_REASON_INVALID_REQUEST)
        empty = next(answers)
        assert (empty.request_id, empty.error.reason) == (5, error_pb2.ERROR_REASON_INVALID_REQUEST)
        answers.cancel()
    with grpc.insecure_channel(server.address) as channel:
        answers = list(pb_grpc.SegmentationServiceStub(channel).Live(iter([asked(1), asked(2)]), timeout=20))
    assert sorted(answer.request_id for answer in answers) == [1, 2]
    assert all(answer.WhichOneof("response") == "predict" for answer in answers)


def test_a_stream_that_asks_without_end_is_told_to_wait(server, client, slide):
    with client.live() as live:
        with held_decoder(server):
            futures = [live.predict(*click(slide, 500, 500)) for _ in range(MAX_PENDING + 1)]
            with pytest.raises(errors.ServerBusy, match="wait for some"):
                futures[-1].result(10)
        assert futures[0].result(10).results


def test_a_server_that_dies_ends_live_streams_and_is_found_again(slide):
    before = set(threading.enumerate())
    with start_server(FAKE) as server, SamClient(server.address, timeout_s=10) as client:
        live = client.live()
        assert live.predict(*click(slide, 5, 5)).result(10).results
        with held_decoder(server) as entered:
            waiting = live.predict(*click(slide, 6, 6))
            assert entered.wait(10)
            stopper = threading.Thread(target=server.stop, kwargs={"grace_s": 0.1})
            stopper.start()
            with pytest.raises(errors.QupathSamError):
                waiting.result(10)
        stopper.join(10)
        assert not stopper.is_alive()
        assert eventually(lambda: not live._reader.is_alive())
        with pytest.raises(errors.QupathSamError):
            live.predict(*click(slide, 7, 7))
        live.close()
        with start_server(ServerSettings(port=server.port, model="fake", device="cpu")):
            assert eventually(lambda: client.is_serving(timeout_s=1))
            assert client.predict(slide, [ObjectPrompts((Click.at(5, 5),))]).results
    # The reader of TIFFs keeps threads of its own for good.
    assert eventually(lambda: not [t for t in set(threading.enumerate()) - before if not t.name.startswith("zarr")])


def test_a_server_stops_while_calls_wait(slide):
    with start_server(FAKE) as server, SamClient(server.address) as client:
        failures: list[Exception] = []

        def call(number: int) -> None:
            try:
                client.predict(slide, [ObjectPrompts((Click.at(10 + number, 10),))])
            except Exception as error:
                failures.append(error)

        with held_decoder(server) as entered:
            threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
            for thread in threads:
                thread.start()
            assert entered.wait(10)
            assert eventually(lambda: server.engine.worker.waiting == 5)
            stopper = threading.Thread(target=server.stop, kwargs={"grace_s": 0.1})
            stopper.start()
            for thread in threads:
                thread.join(10)
        stopper.join(10)
        assert not stopper.is_alive()
        assert len(failures) == 6
        assert all(isinstance(error, errors.QupathSamError) for error in failures)


def test_a_client_that_is_closed_says_so(server, slide):
    client = SamClient(server.address)
    live = client.live()
    client.close()
    assert not client.is_serving()
    for call in (client.capabilities, client.live, lambda: client.predict(slide, [ObjectPrompts((Click.at(1, 1),))])):
        with pytest.raises(errors.ServerUnavailable, match="make a new one"):
            call()
    assert eventually(lambda: not live._reader.is_alive())
    with pytest.raises(errors.QupathSamError):
        live.predict(*click(slide, 1, 1))


def test_no_proxy_stands_between_client_and_server(server, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with SamClient(server.address, timeout_s=10) as client:
        assert client.capabilities().default_model == "fake"


def test_what_cannot_be_sent_is_refused_before_it_is_sent(client, slide):
    far = WindowRequest(region=Region(2**40, 0, 10, 10))
    with pytest.raises(errors.InvalidRegion, match="beyond any image"):
        client.predict(slide, [ObjectPrompts((Click.at(1, 1),))], window=far)
    with pytest.raises(errors.InvalidRequest, match="unknown mode"):
        client.embed(slide, mode="later")
    with pytest.raises(errors.InvalidRequest, match="unknown pixel format"):
        client.push_pixels(b"", pixel_format="gif", region=Region(0, 0, 1, 1), image_size=(1, 1), pixel_size=(1, 1))


def test_errors_travel_between_processes():
    missing = errors.PixelsMissing("ab" * 32)
    copy = pickle.loads(pickle.dumps(missing))
    assert (copy.digest, str(copy)) == (missing.digest, str(missing))


@contextmanager
def two_models(**settings: int) -> Iterator[tuple[RunningServer, threading.Event, list[str]]]:
    """A server whose other model takes until the event to load, and the names of the models that it has loaded."""
    with start_server(replace(FAKE, **settings)) as running:
        (lane,) = running.engine.lanes.all
        fake, may_load, loads = lane.models.get(), threading.Event(), []

        def load(name: str) -> LoadedModel:
            loads.append(name)
            assert may_load.wait(30)
            return replace(fake, spec=replace(fake.spec, name=name))

        lane.models._load = load
        yield running, may_load, loads


def test_a_click_that_waits_for_a_model_to_load_says_so(slide):
    asked = pb.LiveRequest(request_id=7, predict=at(slide, 640, 640))
    asked.predict.model = "other"
    with two_models() as (running, may_load, _), grpc.insecure_channel(running.address) as channel:
        answers = pb_grpc.SegmentationServiceStub(channel).Live(iter([asked]), timeout=20)
        first = next(answers)
        assert (first.request_id, first.notice.message) == (7, "The server is loading the model other")
        may_load.set()
        (last,) = answers
        assert (last.request_id, last.predict.provenance.model) == (7, "other")
        (again,) = pb_grpc.SegmentationServiceStub(channel).Live(iter([asked]), timeout=20)
        assert again.WhichOneof("response") == "predict", "it is loaded, and there is nothing to say"


def test_the_python_client_waits_for_a_model_too(slide):
    with two_models() as (running, may_load, loads), SamClient(running.address) as client, client.live() as live:
        answer = live.predict(*click(slide, 640, 640), model="other")
        assert eventually(lambda: loads == ["other"])
        may_load.set()
        assert answer.result(20).provenance.model == "other"


@pytest.mark.parametrize("asks", ["predict", "embed"])
def test_both_models_of_auto_are_loaded_before_a_person_zooms_out(slide, asks):
    """Before, the first click at a coarse view loaded the model for regions: 6 s, and 39 s on a busy machine."""
    window = WindowRequest(view_downsample=1)
    with two_models() as (running, may_load, loads), SamClient(running.address) as client:
        for _ in range(2):
            if asks == "predict":
                client.predict(*click(slide, 640, 640), model=AUTO, window=window)
            else:
                client.embed(slide, model=AUTO, window=window, view=Region(0, 0, 500, 500), mode=EmbedMode.START)
        assert eventually(lambda: loads == [REGION_MODEL])
        may_load.set()
        assert eventually(lambda: running.engine.loaded_models() == (REGION_MODEL, "fake"))
        far = WindowRequest(view_downsample=8)
        assert client.predict(*click(slide, 640, 640), model=AUTO, window=far).provenance.model == REGION_MODEL
        assert loads == [REGION_MODEL]


def test_a_server_with_room_for_one_model_loads_none_ahead(slide):
    with two_models(max_models=1) as (running, may_load, loads), SamClient(running.address) as client:
        may_load.set()
        client.predict(*click(slide, 640, 640), model=AUTO, window=WindowRequest(view_downsample=1))
        running.engine._prefetcher.close()  # waits for what has begun
        assert not loads
