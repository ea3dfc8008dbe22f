"""Several lanes, as a server of several devices has them; here several on one CPU, with the fake model."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from qupath_sam.client import SamClient, Slide
from qupath_sam.errors import InvalidRequest, OutOfMemory
from qupath_sam.models.fake import FakeSegmenter
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.server.status_tables import read_status, tables
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.results import ObjectResult

SETTINGS = ServerSettings(port=0, model="fake", device="cpu,cpu", metrics_port=0)
#: In windows of their own.
PLACES = [(300 + 300 * (n % 5), 400 + 500 * (n // 5)) for n in range(20)]


def fakes(server: RunningServer) -> list[FakeSegmenter]:
    return [lane.models.get().segmenter for lane in server.engine.lanes.all]  # type: ignore[misc]


def click_on(client: SamClient, slide: Slide, places: list[tuple[int, int]]) -> list[ObjectResult]:
    objects = [ObjectPrompts((Click.at(x, y),)) for x, y in places]
    return list(client.predict(slide, objects).results)


@pytest.fixture(scope="module")
def lanes() -> Iterator[RunningServer]:
    with start_server(SETTINGS) as server:
        yield server


def test_two_lanes_answer_as_one(lanes: RunningServer, client: SamClient, slide: Slide) -> None:
    with SamClient(lanes.address, timeout_s=60) as several:
        two, one = click_on(several, slide, PLACES), click_on(client, slide, PLACES)
    for ours, theirs in zip(two, one, strict=True):
        assert ours.window == theirs.window
        assert ours.token == theirs.token
        assert ours.outlines == theirs.outlines or all(
            a.geometry.equals_exact(b.geometry, 0) and a.score == b.score
            for a, b in zip(ours.outlines, theirs.outlines, strict=True)
        )


def test_each_window_is_encoded_on_one_lane_and_its_clicks_follow_it(lanes: RunningServer, slide: Slide) -> None:
    with SamClient(lanes.address, timeout_s=60) as client:
        click_on(client, slide, PLACES)
        before = [fake.embed_calls for fake in fakes(lanes)]
        with ThreadPoolExecutor(4) as people:
            list(people.map(lambda place: click_on(client, slide, [(place[0] + 1, place[1])]), PLACES))
    assert [fake.embed_calls for fake in fakes(lanes)] == before, "no window was encoded again, or elsewhere"
    held = [lane.embeddings.memory.stats().entries for lane in lanes.engine.lanes.all]
    assert all(held), "both lanes have work"
    assert min(held) >= sum(held) / 5


def test_a_device_that_is_full_refuses_with_a_clear_code_and_the_server_goes_on(slide: Slide) -> None:
    with (
        start_server(replace(SETTINGS, metrics_port=None)) as server,
        SamClient(server.address, timeout_s=60) as client,
    ):
        click_on(client, slide, PLACES)
        held = [lane.embeddings.memory.stats().entries for lane in server.engine.lanes.all]
        room = [False]

        def full() -> None:
            if not room[0]:
                raise OutOfMemory("no memory left; ask for fewer objects at once")

        for fake in fakes(server):
            fake.before_decode = full
        with pytest.raises(OutOfMemory, match="fewer objects"):
            click_on(client, slide, [(PLACES[0][0] + 1, PLACES[0][1])])
        after = [lane.embeddings.memory.stats().entries for lane in server.engine.lanes.all]
        assert sum(after) < sum(held), "embeddings of the full device were let go"
        room[0] = True
        assert len(click_on(client, slide, PLACES)) == len(PLACES)


def test_status_page_and_metrics_tell_lanes_apart(lanes: RunningServer, slide: Slide) -> None:
    with SamClient(lanes.address, timeout_s=60) as client:
        click_on(client, slide, PLACES)
        status = read_status(client.status())
    assert [lane.name for lane in status.lanes] == ["0 cpu", "1 cpu"]
    assert status.device == "cpu, cpu"
    encoded = [{turn.kind: turn.items for turn in lane.turns}["encode"] for lane in status.lanes]
    assert all(encoded)
    assert sum(encoded) == {turn.kind: turn.items for turn in status.turns}["encode"]
    (table,) = (table for table in tables(status) if table.title == "Lanes")
    assert [row[0] for row in table.rows] == ["0 cpu", "1 cpu"]
    assert lanes.listener.web is not None
    port = lanes.listener.web.port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = {each.name: each for each in text_string_to_metric_families(answer.read().decode())}
    labels = {sample.labels["lane"] for sample in families["qupath_sam_lane_items"].samples}
    assert labels == {"0 cpu", "1 cpu"}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        assert "<h2>Lanes</h2>" in answer.read().decode()


def test_batches_on_a_lane_form_while_it_is_busy(slide: Slide) -> None:
    with start_server(replace(SETTINGS, device="cpu", metrics_port=None)) as server:
        (fake,) = fakes(server)
        with SamClient(server.address, timeout_s=60) as client, ThreadPoolExecutor(12) as people:
            alone = click_on(client, slide, PLACES[:12])
            server.engine.states.clear()
            fake.prompts_per_batch = 32
            fake.batches.clear()
            holds = server.engine.worker.submit(lambda: _until(lambda: server.engine.worker.waiting == 12))
            found = list(people.map(lambda place: click_on(client, slide, [place]), PLACES[:12]))
            holds.result(60)
    assert max(fake.batches) == 12
    for (batched,), single in zip(found, alone, strict=True):
        assert batched.token == single.token
        assert batched.outlines[0].geometry.equals_exact(single.outlines[0].geometry, 0)


def _until(condition) -> None:  # type: ignore[no-untyped-def]
    import time

    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize("device", ["cpu,", ",cpu", "cpu,,cpu", ""])
def test_a_device_needs_a_name(device: str) -> None:
    with pytest.raises(InvalidRequest, match="device"):
        ServerSettings(device=device)
