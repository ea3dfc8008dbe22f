"""What a server says of itself: to an rpc, to Prometheus and to a browser; and what it does not say."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from google.protobuf.json_format import ParseDict
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.client import Access, SamClient, Slide
from qupath_sam.errors import QupathSamError, ServerUnavailable
from qupath_sam.server import web
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.listener import listen
from qupath_sam.server.recent import MOST_LISTED, RecentRequests
from qupath_sam.server.request_log import RequestRecord
from qupath_sam.server.settings import ServerSettings
from qupath_sam.server.status_tables import duration
from qupath_sam.server.tokens import TokenFile
from qupath_sam.server.web import MOST_REQUESTS
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.requests import ObjectRequest
from qupath_sam.v1 import status_pb2 as pb

PATIENT, CLIENT = "Muster-Erika-1961", "Anna"


def click_at(x: float) -> list[ObjectRequest]:
    return [ObjectRequest(ObjectPrompts((Click.at(x, 600),)), PATIENT)]


OBJECTS = click_at(700)
FAKE = ServerSettings(port=0, model="fake", device="cpu", metrics_port=0)


@pytest.fixture(scope="module")
def busy(tmp_path_factory) -> Iterator[tuple[RunningServer, dict]]:
    """A server after a click, a stream and a slide that is not there, and what its Status says."""
    from qupath_sam.assets import demo_slide_path

    tokens = TokenFile(tmp_path_factory.mktemp("tokens") / "tokens.json")
    access = Access(token=tokens.create(CLIENT))
    folder = tmp_path_factory.mktemp("embeddings")
    settings = replace(FAKE, tokens=tokens.path, embedding_folder=folder)
    slide = Slide(demo_slide_path())
    with start_server(settings) as server, SamClient(server.address, timeout_s=30, access=access) as client:
        client.predict(slide, OBJECTS)
        client.predict(slide, click_at(701))
        with client.live() as live:
            live.predict(slide, click_at(702)).result(30)
        with pytest.raises(QupathSamError):
            client.predict(Slide(f"/nowhere/{PATIENT}.svs"), OBJECTS)
        yield server, client.status()


def get(server: RunningServer, path: str, **headers: str) -> tuple[str, str]:
    assert server.listener.web is not None
    request = urllib.request.Request(f"http://127.0.0.1:{server.listener.web.port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def metrics(server: RunningServer) -> dict[tuple[str, frozenset], float]:
    text, _ = get(server, "/metrics")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_rpc_says_what_was_done(busy):
    _, status = busy
    assert (status["phase"], status["phase_text"]) == ("SERVER_PHASE_SERVING", "serving")
    assert status["loaded_models"] == ["fake"]
    methods = {method["method"]: method for method in status["methods"]}
    assert (methods["Predict"]["requests"], methods["Predict"]["failed"]) == (3, 1)
    assert methods["Live.predict"]["requests"] == 1
    assert 0 < methods["Predict"]["p50_ms"] <= methods["Predict"]["p95_ms"] <= methods["Predict"]["max_ms"]
    caches = {cache["name"]: cache for cache in status["caches"]}
    assert caches["embeddings"]["hits"] >= 2
    assert caches["embeddings"]["bytes"] > 0
    assert caches["states"]["entries"] >= 1
    assert caches["slides"]["entries"] == 1
    assert {cache["name"] for cache in status["caches"]} == {
        *("embeddings", "embeddings on disk", "states", "slides", "pushed pixels", "decoding", "messages")
    }
    turns = {turn["kind"]: turn for turn in status["turns"]}
    assert turns["encode"]["items"] == turns["encode"]["turns"] >= 1
    assert turns["decode"]["turns"] >= 1
    assert (status["calls"], status["clients"]) == (1, 1)  # this one


def test_prometheus_is_told_the_same(busy):
    server, status = busy
    found = metrics(server)
    assert found["qupath_sam_requests_total", frozenset({("method", "Predict"), ("code", "OK")})] == 2
    assert found["qupath_sam_requests_total", frozenset({("method", "Predict"), ("code", "NOT_FOUND")})] == 1
    assert found["qupath_sam_request_seconds_count", frozenset({("method", "Predict")})] == 3
    assert found["qupath_sam_request_part_seconds_count", frozenset({("method", "Predict"), ("part", "decode")})] == 2
    assert found["qupath_sam_up", frozenset()] == 1
    assert found["qupath_sam_queue_waiting", frozenset({("priority", "batch")})] == 0
    assert found["qupath_sam_models_loaded", frozenset({("model", "fake")})] == 1
    for cache in status["caches"]:
        assert found["qupath_sam_cache_max_bytes", frozenset({("cache", cache["name"])})] == cache["max_bytes"]
    assert found["qupath_sam_model_turns_total", frozenset({("kind", "encode")})] >= 1
    assert ("qupath_sam_request_seconds_count", frozenset({("method", "Live")})) not in found
    assert get(server, "/metrics", Accept="application/openmetrics-text")[0].endswith("# EOF\n")


def test_the_page_and_its_json(busy):
    server, status = busy
    page, kind = get(server, "/")
    assert kind == "text/html; charset=utf-8"
    for words in ("serving", "embeddings on disk", "waiting, interactive", "Live.predict", "NOT_FOUND"):
        assert words in page
    content, kind = get(server, "/status.json")
    assert kind == "application/json"
    assert json.loads(content).keys() == status.keys()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(server, "/etc/passwd")
    with pytest.raises(urllib.error.HTTPError, match="501"):
        urllib.request.urlopen(f"http://127.0.0.1:{server.listener.web.port}/", data=b"x", timeout=30)


def test_nobody_is_named(busy):
    server, status = busy
    told = json.dumps(status) + "".join(get(server, path)[0] for path in ("/", "/status.json", "/metrics"))
    for secret in (PATIENT, CLIENT, "nowhere", ".tif", "127.0.0.1"):
        assert secret not in told


def test_it_is_said_from_the_first_second_on(qupath_status):
    early = listen(FAKE)
    try:
        with SamClient(early.address, timeout_s=5) as client:
            assert client.status()["phase"] == "SERVER_PHASE_STARTING"
        ended = qupath_status(early.address)
        assert ended.exit_code == 3
        assert "loading the libraries" in ended.stdout
    finally:
        early.close()
    with pytest.raises(OSError, match=r"refused|reset"):
        urllib.request.urlopen(f"http://127.0.0.1:{early.web.port}/", timeout=5)


def test_the_command_prints_tables_and_json(server, qupath_status):
    shown = qupath_status(server.address)
    assert shown.exit_code == 0, shown.exception
    assert "serving, fake on cpu" in shown.stdout
    assert "calls under way" in shown.stdout
    fields = json.loads(qupath_status(server.address, "--json").stdout)
    assert fields.pop("schema") == "qupath-sam/status/1"
    assert ParseDict(fields, pb.StatusResponse()).phase == pb.SERVER_PHASE_SERVING


@pytest.fixture
def qupath_status(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: CliRunner().invoke(app, ["status", *arguments])


def test_a_taken_port_is_named_by_its_option(server):
    with pytest.raises(ServerUnavailable, match="--metrics-port"):
        listen(replace(FAKE, metrics_port=server.port))
    start_server(FAKE).stop(0)


def test_the_last_requests_are_kept_and_no_more():
    clock = iter(range(10_000))
    recent = RecentRequests(clock=lambda: next(clock))
    for number in range(1, 2001):
        recent.add(RequestRecord("id", CLIENT, "Predict", "OK" if number % 2 else "CANCELLED", float(number)))
    (method,) = recent.by_method()
    assert (method.requests, method.failed) == (1000, 500)
    assert (method.p50_ms, method.p95_ms, method.max_ms) == (1500, 1950, 2000)
    newest = recent.newest()
    assert len(newest) == MOST_LISTED
    assert (newest[0].total_ms, newest[0].ago_s) == (2000, 1)
    assert [duration(s) for s in (5, 119, 120, 7200, 200_000)] == ["5 s", "119 s", "2 min", "2 h", "2 d"]


def test_who_opens_many_connections_keeps_nobody_from_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web._Handler, "timeout", 600)  # who says nothing is not closed for that
    with start_server(FAKE) as server, ExitStack() as stack:
        assert server.listener.web is not None
        place = ("127.0.0.1", server.listener.web.port)
        before = threading.active_count()
        held = [stack.enter_context(socket.create_connection(place, timeout=20)) for _ in range(MOST_REQUESTS + 8)]
        assert [each.recv(1) for each in held[MOST_REQUESTS:]] == [b""] * 8  # closed
        assert threading.active_count() - before <= MOST_REQUESTS
        with SamClient(server.address, timeout_s=20) as client:
            assert client.capabilities()
        for each in held:
            each.close()
        deadline = time.monotonic() + 20
        while True:
            try:
                assert "qupath_sam_up" in get(server, "/metrics")[0]
                return
            except OSError:  # their threads have not seen yet that they are closed
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_a_browser_that_goes_leaves_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with start_server(FAKE) as server:
        assert server.listener.web is not None
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.listener.web.port), timeout=20) as browser:
                browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, no farewell
                browser.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5)
        get(server, "/metrics")
        time.sleep(0.2)
    assert "Traceback" not in capfd.readouterr().err
