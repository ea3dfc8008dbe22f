"""``bench samapi`` against a local HTTP server that speaks samapi's API."""

from __future__ import annotations

import base64
import http.server
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.cli.benchmarks import samapi
from qupath_sam.errors import InvalidRequest, ServerUnavailable

FEATURE = {
    "type": "Feature",
    "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]},
    "properties": {"object_idx": 0, "label": "object", "quality": 0.9, "sam_model": "vit_b"},
}


class _Samapi(http.server.ThreadingHTTPServer):
    """Keeps the bodies of what is asked; answers ``status`` and ``answer``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.answer = json.dumps([FEATURE])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Samapi

    def do_GET(self) -> None:
        self._say(200 if self.path == "/sam/version/" else 404, "0.7.1")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/sam/":
            self._say(404, "nothing here")
            return
        self.server.asked.append(json.loads(body))
        self._say(self.server.status, self.server.answer)

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def theirs() -> Iterator[_Samapi]:
    with _Samapi() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_both_get_the_same_clicks_in_a_view_and_are_measured(theirs: _Samapi) -> None:
    found = samapi.run(theirs.url, views=2, model="fake", device="cpu")
    assert found["samapi_version"] == "0.7.1"
    assert len(theirs.asked) == 2 * len(samapi.CLICKS)
    images = [body["b64img"] for body in theirs.asked]
    assert len(set(images)) == 2, "a further click in a view has its pixels, which samapi compares"
    assert Image.open(io.BytesIO(base64.b64decode(images[0]))).size == (1920, 1080)
    assert theirs.asked[0]["point_coords"] == [[960, 540]]
    assert theirs.asked[0]["point_labels"] == [1]
    assert theirs.asked[0]["type"] == "vit_b"
    sent, ours = found["servers"]["samapi"], found["servers"]["qupath_sam"]
    assert sent["n"] == ours["n"] == 2 * (len(samapi.CLICKS) - 1)
    assert sent["request_bytes"] > 500_000 > 2_000 > ours["request_bytes"]
    for figures in (sent, ours):
        assert figures["cold_click_ms"] > 0
        assert 0 < figures["answers_ms"] <= figures["warm_click_ms"]["p95"]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [(500, "Internal Server Error", "HTTP 500"), (200, "<html>", "GeoJSON"), (200, '{"detail": 1}', "GeoJSON")],
)
def test_what_is_not_samapi_or_fails_is_said(theirs: _Samapi, status: int, answer: str, said: str) -> None:
    theirs.status, theirs.answer = status, answer
    with pytest.raises(InvalidRequest, match=said):
        samapi.run(theirs.url, views=1, model="fake", device="cpu")


def test_nobody_at_the_url_is_said() -> None:
    with pytest.raises(ServerUnavailable, match="--url"):
        samapi.run("http://127.0.0.1:9", views=1, model="fake", device="cpu")


def test_the_command_prints_a_column_for_each(theirs: _Samapi) -> None:
    options = ["--url", theirs.url, "--views", "1", "--model", "fake", "--device", "cpu"]
    shown = CliRunner().invoke(app, ["bench", "samapi", *options])
    assert shown.exit_code == 0, shown.output
    for word in ("samapi", "qupath_sam", "warm_click_ms.p50", "request_bytes"):
        assert word in shown.stdout
