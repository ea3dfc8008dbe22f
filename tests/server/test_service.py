"""The service around the predictions: health, reflection, limits, errors, cancellation, live streams."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from qupath_sam import errors
from qupath_sam.client import SamClient
from qupath_sam.client.messages import predict_request
from qupath_sam.errors import InvalidRequest, SlideUnsupported
from qupath_sam.protocol.status import ERROR_METADATA, TABLE, error_info, error_of
from qupath_sam.server.app import SERVICE_NAME, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.v1 import error_pb2, prompt_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc


def all_errors(kind=errors.QupathSamError):
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


@pytest.mark.parametrize("kind", sorted(set(all_errors()), key=lambda k: k.__name__), ids=lambda k: k.__name__)
def test_every_error_has_its_own_line_in_the_table(kind):
    assert any(row[0] is kind for row in TABLE)
    raised = kind("ab" * 32) if kind is errors.PixelsMissing else kind("message")
    code, info = error_info(raised)
    assert code is not grpc.StatusCode.OK
    assert info.status_code == code.value[0]
    returned = error_of(info)
    assert isinstance(raised, type(returned)) or isinstance(returned, errors.QupathSamError)


def test_no_later_line_of_the_table_is_hidden_by_an_earlier_one():
    for index, (kind, _, _) in enumerate(TABLE):
        for earlier, _, _ in TABLE[:index]:
            assert not issubclass(kind, earlier), f"{earlier.__name__} hides {kind.__name__}"


def test_health_reflection_and_capabilities(server, client):
    assert client.is_serving()
    capabilities = client.capabilities()
    assert capabilities.default_model == "fake"
    assert capabilities.max_message_bytes == 64 * 1024 * 1024
    with grpc.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([asked]))
        names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE_NAME, "grpc.health.v1.Health"} <= names


def test_the_models_are_listed_default_first(client):
    models = client.models()
    assert models[0].name == "fake"
    assert models[0].loaded
    by_name = {model.name: model for model in models}
    assert by_name["lite_medsam"].available
    assert not by_name["sam_vit_h"].available
    assert by_name["sam_vit_b"].licence.startswith("Apache-2.0")


def test_an_unlabelled_click_is_an_invalid_prompt_with_its_reason_in_the_trailers(server, slide):
    request = predict_request(slide, [ObjectPrompts((Click.at(1, 1),))])
    request.objects[0].clicks[0].label = prompt_pb2.CLICK_LABEL_UNSPECIFIED
    with grpc.insecure_channel(server.address) as channel:
        stub = pb_grpc.SegmentationServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailers = dict(caught.value.trailing_metadata())
    info = error_pb2.ErrorInfo.FromString(trailers[ERROR_METADATA])
    assert info.reason == error_pb2.ERROR_REASON_INVALID_PROMPT


@pytest.mark.parametrize("wkb", [b"garbage", bytes.fromhex("0101000000000000000000f03f000000000000f03f")])
def test_an_outline_that_is_no_polygon_is_refused(server, slide, wkb):
    request = predict_request(slide, [ObjectPrompts((Click.at(1, 1),))])
    request.objects[0].outline_wkb = wkb
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        pb_grpc.SegmentationServiceStub(channel).Predict(request, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_over_the_limit_is_refused(server):
    options = [("grpc.max_send_message_length", -1)]
    request = pb.PushPixelsRequest(data=bytes(65 * 1024 * 1024))
    with grpc.insecure_channel(server.address, options=options) as channel:
        stub = pb_grpc.SegmentationServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.PushPixels(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class Gate:
    """Holds the inference thread until it is opened."""

    def __init__(self, server) -> None:
        self._open = threading.Event()
        started = threading.Event()

        def hold() -> None:
            started.set()
            self._open.wait(30)

        self._held = server.engine.worker.submit(hold)
        assert started.wait(10)

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._held.result(10)


def wait_for_queue(server, length: int) -> None:
    deadline = threading.Event()
    for _ in range(1000):
        if server.engine.worker.waiting == length:
            return
        deadline.wait(0.01)
    raise AssertionError(f"{server.engine.worker.waiting} jobs wait, not {length}")


def test_a_cancelled_call_frees_its_place(server, client, slide):
    request = predict_request(slide, [ObjectPrompts((Click.at(300, 300),))])
    with grpc.insecure_channel(server.address) as channel, Gate(server):
        call = pb_grpc.SegmentationServiceStub(channel).Predict.future(request, timeout=60)
        wait_for_queue(server, 1)
        call.cancel()
        wait_for_queue(server, 0)
    assert client.predict(slide, [ObjectPrompts((Click.at(300, 300),))]).results


def test_a_deadline_that_passes_ends_the_call(server, slide):
    request = predict_request(slide, [ObjectPrompts((Click.at(310, 310),))])
    with grpc.insecure_channel(server.address) as channel, Gate(server), pytest.raises(grpc.RpcError) as caught:
        pb_grpc.SegmentationServiceStub(channel).Predict(request, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_for_queue(server, 0)


def test_on_a_live_stream_a_newer_click_replaces_older_ones(server, client, slide):
    with client.live() as live:
        with Gate(server):
            futures = [
                live.predict(slide, [ObjectPrompts((Click.at(400 + i, 400),))], supersedes_key="object 1")
                for i in range(4)
            ]
            for older in futures[:-1]:
                with pytest.raises(errors.Cancelled):
                    older.result(10)
        assert futures[-1].result(10).results[0].outlines


def test_an_error_on_a_live_stream_belongs_to_its_request(client, slide):
    with client.live() as live:
        wrong = live.predict(slide, [ObjectPrompts((Click.at(1e6, 1),))])
        with pytest.raises(errors.InvalidPrompt):
            wrong.result(10)
        right = live.predict(slide, [ObjectPrompts((Click.at(10, 10),))])
        assert right.result(10).results


def test_a_live_stream_and_single_calls_give_the_same(client, slide):
    prompts = [ObjectPrompts((Click.at(800, 1200), Click.at(820, 1230)))]
    with client.live() as live:
        streamed = live.predict(slide, prompts).result(10)
    single = client.predict(slide, prompts)
    assert streamed.results[0].outlines[0].geometry.equals(single.results[0].outlines[0].geometry)


def test_sixteen_clients_on_eight_regions_get_what_one_gets(server, slide):
    places = [(300 + 500 * (i % 4), 500 + 1200 * (i // 4)) for i in range(8)]
    prompts = [ObjectPrompts((Click.at(x, y), Click.at(x + 25, y + 10))) for x, y in places]
    with SamClient(server.address) as alone:
        expected = [alone.predict(slide, [p]).results[0].outlines[0].geometry for p in prompts]
    server.engine.embeddings.memory.clear()
    server.engine.states.clear()
    failures: list[str] = []
    answered = []
    start = threading.Barrier(16)

    def work(number: int) -> None:
        try:
            with SamClient(server.address) as client:
                start.wait(10)
                for turn in range(8):
                    place = (number + turn) % 8
                    got = client.predict(slide, [prompts[place]]).results[0].outlines[0].geometry
                    answered.append(place)
                    if not got.equals(expected[place]):
                        failures.append(f"client {number}, place {place}")
        except Exception as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(answered) == 16 * 8


def test_more_calls_than_allowed_are_told_to_come_back(slide):
    settings = ServerSettings(port=0, model="fake", device="cpu", max_calls=1)
    with start_server(settings) as server, SamClient(server.address) as first, SamClient(server.address) as second:
        with first.live() as live:
            assert live.predict(slide, [ObjectPrompts((Click.at(9, 9),))]).result(10).results
            assert second.is_serving()
            with pytest.raises(errors.ServerBusy, match="try again"):
                second.capabilities()
        assert second.capabilities().default_model == "fake"


def test_a_patient_client_asks_a_busy_server_again(slide, monkeypatch):
    settings = ServerSettings(port=0, model="fake", device="cpu", max_calls=1)
    paused = []
    with (
        start_server(settings) as server,
        SamClient(server.address) as first,
        SamClient(server.address) as hasty,
        SamClient(server.address, busy_pauses_s=(0.5, 1, 2)) as patient,
        first.live() as live,
    ):
        assert live.predict(slide, [ObjectPrompts((Click.at(9, 9),))]).result(10).results

        def pause(seconds):
            paused.append(seconds)
            if len(paused) == 5:
                live.close()

        monkeypatch.setattr("qupath_sam.client.sam.sleep", pause)
        with pytest.raises(errors.ServerBusy):
            patient.capabilities()
        assert paused == [0.5, 1, 2]
        with pytest.raises(errors.ServerBusy):
            hasty.capabilities()
        assert paused == [0.5, 1, 2]
        assert patient.capabilities().default_model == "fake"
        assert paused[3:5] == [0.5, 1]


def test_open_streams_of_health_count_as_calls():
    with (
        start_server(ServerSettings(port=0, model="fake", device="cpu", max_calls=2)) as server,
        grpc.insecure_channel(server.address) as channel,
        SamClient(server.address) as client,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=30) for _ in range(2)]
        assert [next(watch).status for watch in watches] == [health_pb2.HealthCheckResponse.SERVING] * 2
        further = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=30) for _ in range(20)]
        assert {watch.code() for watch in further} == {grpc.StatusCode.UNAVAILABLE}
        assert client.is_serving()
        for watch in watches:
            watch.cancel()


def test_two_servers_cannot_share_a_port(server):
    with pytest.raises(errors.ServerUnavailable, match="--port"):
        start_server(ServerSettings(port=server.port, model="fake", device="cpu"))


def test_a_server_that_others_can_reach_says_so(caplog):
    with start_server(ServerSettings(host="0.0.0.0", port=0, model="fake", device="cpu", read_slides=False)):
        assert any("everybody who can reach" in record.message for record in caplog.records)
    assert ServerSettings(host="::1").is_loopback
    assert not ServerSettings(host="192.0.2.7", read_slides=False).is_loopback


def test_a_server_for_others_opens_the_folders_that_are_named(caplog, tmp_path):
    with pytest.raises(InvalidRequest, match=r"--slides FOLDER.*--no-read-slides"):
        ServerSettings(host="0.0.0.0")
    assert ServerSettings(host="0.0.0.0", slide_roots=(tmp_path,)).permissions.roots
    everything = ServerSettings(
        host="0.0.0.0", port=0, model="fake", device="cpu", slide_roots=(Path(tmp_path.anchor),)
    )
    with start_server(everything):
        assert any("the whole of this machine" in record.message for record in caplog.records)


def test_a_path_map_to_a_url_needs_that_url_to_be_allowed():
    with pytest.raises(SlideUnsupported, match="path map"):
        ServerSettings(path_map=(("/a", "s3://bucket"),))
    ServerSettings(path_map=(("/a", "s3://bucket"),), allow_urls=("s3",))


def test_reflection_can_be_off():
    with (
        start_server(ServerSettings(port=0, model="fake", device="cpu", reflection=False)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10)
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_fault_of_the_server_is_internal_and_keeps_its_innards(server, client, slide, monkeypatch, caplog):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret path /home/somebody")

    monkeypatch.setattr(server.engine, "predict", broken)
    with pytest.raises(errors.QupathSamError, match="its log has the details") as caught:
        client.predict(slide, [ObjectPrompts((Click.at(1, 1),))])
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text


def test_only_server_and_client_know_grpc():
    package = Path(__file__).parents[2] / "qupath_sam"
    for path in package.rglob("*.py"):
        inside = path.relative_to(package).parts[0]
        if inside in ("v1", "server", "client", "protocol"):
            continue
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            )
        }  # fmt: skip
        wrong = {name for name in imported if name.split(".")[0] == "grpc" or name.startswith("qupath_sam.v1")}
        assert not wrong, f"{path.name} imports {wrong}"
