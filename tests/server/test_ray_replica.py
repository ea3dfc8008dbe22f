"""A replica of Ray Serve without Ray: gRPC's asyncio server stands where Ray's proxy is, and calls it as that does.

tests/server/test_ray_cluster.py has the real one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import message_factory

from qupath_sam.cli.config import options_from
from qupath_sam.client import SamClient, Slide
from qupath_sam.errors import (
    Cancelled,
    InvalidRegion,
    InvalidRequest,
    PixelsMissing,
    ServerBusy,
    SlideNotFound,
    Unauthenticated,
    UnknownModel,
)
from qupath_sam.server.app import RunningServer
from qupath_sam.server.core import SERVICE
from qupath_sam.server.ray_serve.replica import HEALTH, Replica
from qupath_sam.server.ray_serve.routing import ranked, route_of
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.region_requests import GridOptions, Prompting, RegionRequest
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import ObjectRequest

FAKE = ServerSettings(port=0, model="fake", device="cpu")
PATIENCE = 60
LOST = "The actor died unexpectedly before finishing this task.\n\tclass_name: ServeReplica"
TOKEN = "0123456789abcdef0123456789abcdef"


class Proxy:
    """What Ray's proxy knows of a call, and what it gets back."""

    def __init__(self, context: Any) -> None:
        self.context = context
        # Copies, as in Ray: gRPC's own context must not be asked when the call is over.
        self._metadata = [(key, value) for key, value in context.invocation_metadata()]
        self._peer, self._auth = context.peer(), context.auth_context()
        self.status: dict[str, Any] = {}

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self._metadata

    def peer(self) -> str:
        return self._peer

    def auth_context(self) -> dict[str, Any]:
        return self._auth

    def set_code(self, code: grpc.StatusCode) -> None:
        self.status["code"] = code

    def set_details(self, details: str) -> None:
        self.status["details"] = details

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, Any]]) -> None:
        self.status["trailing_metadata"] = trailing_metadata

    def send(self) -> None:
        for name, value in self.status.items():
            getattr(self.context, f"set_{name}")(value)


class Front(grpc.GenericRpcHandler):
    """Calls the replica's methods by the short names of the rpcs."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        #: Calls that end as those at a replica that is killed (`ray.exceptions.ActorDiedError`).
        self.lost = 0
        self.rpcs = {f"/{each.full_name}/{rpc.name}": rpc for each in (SERVICE, HEALTH) for rpc in each.methods}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        rpc = self.rpcs[details.method]
        kinds = {(False, False): "unary_unary", (False, True): "unary_stream", (True, True): "stream_stream"}
        make = getattr(grpc, f"{kinds[rpc.client_streaming, rpc.server_streaming]}_rpc_method_handler")
        behaviour = self.stream(rpc.name) if rpc.server_streaming else self.unary(rpc.name)
        return make(behaviour, request_deserializer=message_factory.GetMessageClass(rpc.input_type).FromString)

    def unary(self, name: str) -> Any:
        async def answer(request: Any, context: Any) -> bytes:
            proxy = Proxy(context)
            if self.lost:
                self.lost -= 1
                await context.abort(grpc.StatusCode.INTERNAL, LOST)
            response = await getattr(self.replica, name)(request, grpc_context=proxy)
            proxy.send()
            return response.SerializeToString()

        return answer

    def stream(self, name: str) -> Any:
        async def answer(requests: Any, context: Any) -> Any:
            proxy = Proxy(context)
            async for response in getattr(self.replica, name)(requests, grpc_context=proxy):
                proxy.send()
                yield response.SerializeToString()

        return answer


class Fronted:
    """A replica behind a front, on a loop of its own thread."""

    def __init__(self, settings: ServerSettings = FAKE) -> None:
        self.replica = Replica(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.address = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(PATIENCE)

    async def _start(self) -> str:
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", 1 << 26)])
        self.front = Front(self.replica)
        self._server.add_generic_rpc_handlers((self.front,))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(0), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()
        self.replica.close()

    def __enter__(self) -> Fronted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def segmenter(self) -> Any:
        return self.replica._engine.models.get().segmenter

    def idle(self) -> bool:
        """Wait for the last call to be gone."""
        end = time.monotonic() + PATIENCE
        while len(self.replica._core.calls) and time.monotonic() < end:
            time.sleep(0.01)
        return len(self.replica._core.calls) == 0


@pytest.fixture(scope="module")
def fronted() -> Iterator[Fronted]:
    with Fronted() as started:
        yield started


@pytest.fixture
def behind(fronted: Fronted) -> Iterator[SamClient]:
    with SamClient(fronted.address, timeout_s=PATIENCE) as client:
        yield client


@pytest.fixture
def direct(server: RunningServer) -> Iterator[SamClient]:
    with SamClient(server.address, timeout_s=PATIENCE) as client:
        yield client


def prompts(*xs: float) -> list[ObjectPrompts]:
    return [ObjectPrompts(tuple(Click.at(x, 600) for x in xs))]


def test_answers_are_those_of_a_server(behind: SamClient, direct: SamClient, slide: Slide) -> None:
    assert behind.is_serving(timeout_s=PATIENCE)
    assert behind.describe(slide) == direct.describe(slide)
    here, there = (client.predict(slide, prompts(700)).results[0] for client in (direct, behind))
    assert there.outlines == here.outlines
    more = ObjectRequest(prompts(700, 720)[0], token=there.token)
    assert (
        behind.predict(slide, [more]).results[0].outlines
        == direct.predict(slide, prompts(700, 720)).results[0].outlines
    )
    with behind.live() as live:
        assert live.predict(slide, prompts(700)).result(PATIENCE).results[0].outlines == here.outlines
        assert live.embed(slide, max_windows=1).result(PATIENCE)
    discs = GridOptions(spacing=20.0, min_stability=0.5)
    asked = RegionRequest(Region(1000, 1000, 280, 300), grid=discs, prompting=Prompting.GRID)
    batches = [list(client.segment_region(slide, asked)) for client in (direct, behind)]
    found = [[(each.number, each.geometry.wkb) for batch in part for each in batch.objects] for part in batches]
    assert len(found[0]) > 5
    assert found[1] == found[0]
    pushed = behind.push(np.zeros((64, 64, 3), np.uint8))
    assert behind.describe(pushed).width == 64
    assert {each["method"] for each in behind.status()["methods"]} >= {"Predict", "Live", "SegmentRegion"}


def test_errors_keep_their_kind(behind: SamClient, slide: Slide, tmp_path: Path) -> None:
    with pytest.raises(SlideNotFound):
        behind.describe(Slide(tmp_path / "none.tif"))
    with pytest.raises(UnknownModel, match="known"):
        behind.predict(slide, prompts(700), model="nonesuch")
    with pytest.raises(InvalidRegion):
        list(behind.segment_region(slide, RegionRequest(Region(900_000, 0, 10, 10))))
    with behind.live() as live, pytest.raises(UnknownModel):
        live.predict(slide, prompts(700), model="nonesuch").result(PATIENCE)


def test_who_goes_away_frees_the_replica(fronted: Fronted, slide: Slide) -> None:
    begun, go = threading.Event(), threading.Event()

    def waiting() -> None:
        begun.set()
        assert go.wait(PATIENCE)

    fronted.segmenter.before_decode = waiting
    try:
        gone: Future[Any] = Future()
        with SamClient(fronted.address, timeout_s=PATIENCE) as client:
            threading.Thread(target=lambda: gone.set_result(_failure(client, slide)), daemon=True).start()
            assert begun.wait(PATIENCE)
        assert isinstance(gone.result(PATIENCE), Cancelled)
    finally:
        fronted.segmenter.before_decode = None
        go.set()
    assert fronted.idle()
    # An open stream, and a region in the middle.
    with SamClient(fronted.address, timeout_s=PATIENCE) as client:
        live = client.live()
        live.predict(slide, prompts(700)).result(PATIENCE)
        batches = client.segment_region(slide, RegionRequest(grid=GridOptions(spacing=2.0)))
        next(batches)
        batches.close()
    assert fronted.idle()


def _failure(client: SamClient, slide: Slide) -> BaseException | None:
    try:
        client.predict(slide, prompts(777))
    except Exception as error:
        return error
    return None


def test_calls_of_a_lost_replica_are_worth_asking_again(fronted: Fronted, slide: Slide) -> None:
    with SamClient(fronted.address, timeout_s=PATIENCE) as client:
        client.describe(slide)
        fronted.front.lost = 1
        with pytest.raises(ServerBusy, match=r"has gone .*before finishing this task.*; ask again"):
            client.predict(slide, prompts(700))
        assert client.predict(slide, prompts(700)).results
    with SamClient(fronted.address, timeout_s=PATIENCE, busy_pauses_s=(0.01, 0.01)) as patient:
        fronted.front.lost = 2
        assert patient.predict(slide, prompts(700)).results


def test_strangers_are_refused(slide: Slide) -> None:
    settings = ServerSettings(port=0, model="fake", device="cpu", token=TOKEN)
    with Fronted(settings) as fronted:
        with SamClient(fronted.address, timeout_s=PATIENCE) as stranger:
            assert stranger.is_serving(timeout_s=PATIENCE)
            with pytest.raises(Unauthenticated):
                stranger.predict(slide, prompts(700))
        with SamClient(fronted.address, timeout_s=PATIENCE, token=TOKEN) as known:
            assert known.predict(slide, prompts(700)).results
            with pytest.raises(PixelsMissing):
                known.describe(_unknown_pixels())


def _unknown_pixels() -> Any:
    from qupath_sam.client.images import Pushed

    return Pushed(bytes(32))


def test_a_route_keeps_its_replica() -> None:
    names = [f"replica-{number}" for number in range(5)]
    first = {f"{number:016x}": ranked(f"{number:016x}", names)[0] for number in range(400)}
    assert all(ranked(route, names[::-1])[0] == name for route, name in first.items()), "in any order"
    counts = [list(first.values()).count(name) for name in names]
    assert min(counts) > 40
    lost = names[2]
    for route, name in first.items():
        after = ranked(route, [each for each in names if each != lost])[0]
        assert after == (ranked(route, names)[1] if name == lost else name)


def test_without_a_key_a_machine_keeps_its_replica() -> None:
    assert route_of([("qupath-sam-route", "abc"), ("x", "y")], "ipv4:10.0.0.7:1") == "abc"
    assert route_of([], "ipv4:10.0.0.7:4711") == route_of([], "ipv4:10.0.0.7:4712")
    assert route_of([], "ipv4:10.0.0.7:4711") != route_of([], "ipv4:10.0.0.8:4711")


def test_options_come_from_values_and_a_file(tmp_path: Path) -> None:
    import typer

    from qupath_sam.cli.app import app

    command = typer.main.get_command(app).commands["serve"]
    file = tmp_path / "server.toml"
    file.write_text('model = "fake"\nmax_calls = 7\n')
    options = options_from(command, "serve", {"config": str(file), "max-calls": 9, "slides": [str(tmp_path)]})
    assert (options["model"], options["max_calls"], options["slides"]) == ("fake", 9, [tmp_path])
    with pytest.raises(InvalidRequest, match=r"no options sldes; known: .*slides"):
        options_from(command, "serve", {"sldes": "/"})
    with pytest.raises(InvalidRequest, match="port"):
        options_from(command, "serve", {"port": "many"})
