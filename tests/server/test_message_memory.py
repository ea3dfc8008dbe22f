"""Large messages are counted while they are worked on; what there is no room for is refused, and clicks go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from shapely.geometry import Point

from qupath_sam.client import SamClient, Slide
from qupath_sam.errors import ServerBusy
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.message_memory import COUNTED_BYTES, MessageMemory
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.v1 import segmentation_service_pb2 as pb

PATIENCE = 60


def large(x: float) -> list[ObjectPrompts]:
    """A request of about 400 KB: an outline of 24,000 vertices."""
    return [ObjectPrompts((), outline=Point(x, 900).buffer(150, quad_segs=6000))]


def message(size: int) -> pb.PushPixelsRequest:
    return pb.PushPixelsRequest(data=b"x" * size)


def test_messages_are_counted_and_given_back() -> None:
    memory = MessageMemory(1_000_000)
    with memory.holding(message(600_000)):
        assert 600_000 <= memory.taken_bytes < 601_000
        with pytest.raises(ServerBusy, match="try again"), memory.holding(message(600_000)):
            pass
        with memory.holding(message(COUNTED_BYTES - 100)):
            assert memory.taken_bytes < 601_000, "small ones are not counted"
    assert memory.taken_bytes == 0
    with memory.holding(message(2_000_000)):
        assert memory.taken_bytes > memory.max_bytes, "what is too large is taken alone"
    assert memory.taken_bytes == 0


class Busy:
    """A server whose model waits, with a large message in work."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.begun, self.go = threading.Event(), threading.Event()
        server.engine.models.get().segmenter.before_decode = self._wait  # type: ignore[attr-defined]

    def _wait(self) -> None:
        self.begun.set()
        assert self.go.wait(PATIENCE)


@pytest.fixture
def busy() -> Iterator[Busy]:
    settings = ServerSettings(port=0, model="fake", device="cpu", message_bytes=500_000)
    with start_server(settings) as server:
        yield Busy(server)


def test_a_large_message_waits_for_room_and_clicks_go_on(busy: Busy, slide: Slide) -> None:
    with SamClient(busy.server.address, timeout_s=PATIENCE) as client, client.live() as live:
        first = live.predict(slide, large(600))
        assert busy.begun.wait(PATIENCE)
        with pytest.raises(ServerBusy, match="try again"):
            client.predict(slide, large(700))
        with pytest.raises(ServerBusy, match="try again"):
            live.predict(slide, large(800)).result(PATIENCE)
        click = live.predict(slide, [ObjectPrompts((Click.at(700, 600),))])
        held = {cache["name"]: cache for cache in client.status()["caches"]}["messages"]
        assert int(held["bytes"]) > COUNTED_BYTES
        busy.go.set()
        assert first.result(PATIENCE).results[0].outlines
        assert click.result(PATIENCE).results[0].outlines
        assert client.predict(slide, large(700)).results[0].outlines
    assert busy.server.listener.core.messages.taken_bytes == 0
