"""A line a request: who, what, how long and how it ended, and nothing of whom it was about."""

from __future__ import annotations

import json
import logging

import pytest

from qupath_sam.client import Access, SamClient, Slide
from qupath_sam.errors import QupathSamError
from qupath_sam.server.app import start_server
from qupath_sam.server.clients import peer_of
from qupath_sam.server.json_log import JsonFormatter
from qupath_sam.server.request_log import RequestLog
from qupath_sam.server.settings import ServerSettings
from qupath_sam.server.tokens import TokenFile
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.requests import ObjectRequest

PATIENT = "Muster-Erika-1961"
OBJECTS = [ObjectRequest(ObjectPrompts((Click.at(700, 600),)), PATIENT)]


@pytest.fixture
def lines(slide, tmp_path, caplog) -> list[dict]:
    """Of a call, a stream, a slide that is not there and a stranger."""
    caplog.set_level(logging.INFO)
    tokens = TokenFile(tmp_path / "tokens.json")
    anna = Access(token=tokens.create("Anna"))
    settings = ServerSettings(port=0, model="fake", device="cpu", tokens=tokens.path)
    with start_server(settings) as server:
        with SamClient(server.address, timeout_s=30, access=anna) as client:
            client.predict(slide, OBJECTS, model="fake")
            with client.live() as live:
                live.predict(slide, OBJECTS).result(30)
            with pytest.raises(QupathSamError):
                client.predict(Slide(f"/nowhere/{PATIENT}.svs"), OBJECTS)
        with SamClient(server.address, timeout_s=30) as stranger, pytest.raises(QupathSamError):
            stranger.capabilities()
    found = [record for record in caplog.records if record.name == "qupath_sam.requests"]
    assert all(PATIENT not in record.getMessage() for record in caplog.records)
    return [json.loads(JsonFormatter().format(record)) for record in found]


def test_each_request_has_its_line(lines):
    seen = {(line["method"], line["code"]): line for line in lines}
    single = seen["Predict", "OK"]
    assert single["client"] == "Anna"
    assert (single["model"], single["objects"]) == ("fake", 1)
    assert single["ms"] >= single["decode_ms"] >= 0
    assert seen["Live.predict", "OK"]["client"] == "Anna"
    assert ("Live", "OK") in seen
    assert seen["Predict", "NOT_FOUND"]["client"] == "Anna"
    stranger = next(line for line in lines if line["code"] == "UNAUTHENTICATED")
    assert stranger["client"].startswith("ipv")
    assert len({line["id"] for line in lines}) == len(lines)


def test_any_record_becomes_one_line_of_json():
    try:
        raise ValueError("of\ntwo lines")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "what\n%s", ("is it",), __import__("sys").exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "what\nis it"
    assert "ValueError" in json.loads(line)["traceback"]


def test_a_long_stream_is_no_slow_request(caplog):
    caplog.set_level(logging.INFO)
    for method in ("Predict", "Live", "SegmentRegion"):
        RequestLog().record(client="a", method=method, request=None, response=None, code="OK", ms=3_600_000.0)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]


def test_an_address_is_written_as_people_write_it():
    class Context:
        def peer(self):
            return "ipv6:%5B::1%5D:4711"

    assert peer_of(Context()) == "ipv6:[::1]:4711"
