"""Two servers behind a front of examples/deploy, NGINX or Envoy, are one: both fronts are run for real."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import SamClient, Slide
from qupath_sam.client.process import server_process
from qupath_sam.errors import QupathSamError, ServerBusy
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.requests import ObjectRequest
from qupath_sam.types.results import ObjectResult

DEPLOY = Path(__file__).resolve().parents[2] / "examples" / "deploy"
FAKE = ServerSettings(port=0, model="fake", device="cpu")


def prompts(*xs: float) -> list[ObjectPrompts]:
    return [ObjectPrompts(tuple(Click.at(x, 600) for x in xs))]


@pytest.fixture
def pair() -> Iterator[list[RunningServer]]:
    servers = [start_server(FAKE) for _ in range(2)]
    yield servers
    for server in servers:
        server.stop(0)


def program(name: str, *places: str) -> str:
    """Return where a program is, or skip the test; a package of Python puts its own beside the interpreter."""
    here = str(Path(sys.executable).parent)
    found = next(filter(None, (shutil.which(name, path=place) for place in (None, here, *places))), None)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def configured(file: str, changes: Mapping[str, str], folder: Path) -> Path:
    """Write a file of examples/deploy with what is of this machine and moment in it."""
    text = (DEPLOY / file).read_text("utf-8")
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path = folder / file
    path.write_text(text, encoding="utf-8")
    return path


def nginx(port: int, servers: Sequence[str], folder: Path) -> list[str]:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"    {kind}_temp_path {folder / kind};\n" for kind in kinds)
    changes = {
        "127.0.0.1:50061": servers[0],
        "127.0.0.1:50062": servers[1],
        "listen 50051": f"listen 127.0.0.1:{port}",
        "/run/qupath-sam-nginx.pid": str(folder / "pid"),
        "/dev/stderr warn": str(folder / "log"),
        "http {\n": f"http {{\n{temporary}",
        "worker_processes auto;": "worker_processes 1;\ndaemon off;",
    }
    return [program("nginx", "/usr/sbin"), "-p", str(folder), "-c", str(configured("nginx.conf", changes, folder))]


def envoy(port: int, servers: Sequence[str], folder: Path) -> list[str]:
    changes = {
        "address: 0.0.0.0, port_value: 50051": f"address: 127.0.0.1, port_value: {port}",
        **{
            f"port_value: {example}": f"port_value: {server.rpartition(':')[2]}"
            for example, server in zip((50061, 50062), servers, strict=True)
        },
    }
    file = configured("envoy.yaml", changes, folder)
    return [program("envoy"), "--config-path", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]


FRONTS = {"nginx": nginx, "envoy": envoy}
Front = Callable[[Sequence[str]], str]


@contextmanager
def running(name: str, servers: Sequence[str], folder: Path) -> Iterator[str]:
    """Run a front before two servers; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = FRONTS[name](port, servers, folder)
    said = folder / "said"
    with said.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + 30
        with SamClient(f"127.0.0.1:{port}", timeout_s=30) as client:
            while not client.is_serving(timeout_s=1.0):
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < deadline, said.read_text()
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def copies(folder: Path) -> list[Slide]:
    """Slides with the same pixels, each a route of its own."""
    slides = [Slide(folder / f"{number}.tif") for number in range(8)]
    for slide in slides:
        shutil.copy(demo_slide_path(), slide.location)
    return slides


def outlines_of(result: ObjectResult) -> list[tuple[bytes, float | None]]:
    return [(outline.geometry.wkb, outline.score) for outline in result.outlines]


def answered(server: RunningServer) -> int:
    return sum(method.requests for method in server.listener.core.status.status().methods if method.method == "Predict")


@pytest.mark.parametrize("name", FRONTS)
def test_two_servers_behind_a_front_are_one(name, pair, server, tmp_path):
    slides = copies(tmp_path)
    addresses = [each.address for each in pair]
    with (
        running(name, addresses, tmp_path) as front,
        SamClient(front, timeout_s=60) as client,
        SamClient(server.address, timeout_s=60) as alone,
    ):
        right = outlines_of(alone.predict(slides[0], prompts(700)).results[0])
        for _ in range(3):
            for slide in slides:
                assert outlines_of(client.predict(slide, prompts(700)).results[0]) == right
        counts = [answered(each) for each in pair]
        assert sum(counts) == 24
        assert all(count % 3 == 0 and count > 0 for count in counts)  # each slide at one server, both have some
        # The token of a server that has gone: the other one replays the steps.
        lost = counts.index(max(counts))
        first = {slide: client.predict(slide, prompts(700)).results[0] for slide in slides}
        pair[lost].stop(0)
        for slide, result in first.items():
            more = ObjectRequest(prompts(700, 720)[0], token=result.token)
            here = alone.predict(slide, [ObjectRequest(prompts(700, 720)[0])]).results[0]
            assert outlines_of(client.predict(slide, [more]).results[0]) == outlines_of(here)
        with client.live() as live:
            assert outlines_of(live.predict(slides[0], prompts(700)).result(60).results[0]) == right


def listener_at(address: str) -> psutil.Process:
    """Return the process, a child of this one, that listens at an address."""
    port = int(address.rpartition(":")[2])
    for child in psutil.Process().children(recursive=True):
        if any(each.laddr.port == port for each in child.net_connections() if each.status == psutil.CONN_LISTEN):
            return child
    raise AssertionError(f"no child listens at {address}")


@pytest.mark.slow
@pytest.mark.parametrize("name", FRONTS)
def test_a_server_that_is_killed_behind_a_front_costs_no_answer(name, server, tmp_path):
    """Eight clients click while one of two processes is killed: who asks again has every answer, that of one server.

    NGINX tries the other server only for calls that it has not sent yet.
    """
    slides = copies(tmp_path)
    answers: list[bool] = []
    failures: list[str] = []
    stop = threading.Event()
    options = ("--model", "fake", "--device", "cpu", "--slides", str(tmp_path))
    with (
        server_process(options) as first,
        server_process(options) as second,
        running(name, [first, second], tmp_path) as front,
        SamClient(server.address, timeout_s=60) as alone,
    ):
        right = outlines_of(alone.predict(Slide(demo_slide_path()), prompts(700, 720)).results[0])

        def click(slide: Slide) -> None:
            with SamClient(front, timeout_s=60, busy_pauses_s=(0.1, 0.5, 1, 2, 4)) as client:
                while not stop.is_set():
                    try:
                        token = client.predict(slide, prompts(700)).results[0].token
                        more = ObjectRequest(prompts(700, 720)[0], token=token)
                        answers.append(outlines_of(client.predict(slide, [more]).results[0]) == right)
                    except QupathSamError as error:
                        failures.append(f"{type(error).__name__}: {error}")

        threads = [threading.Thread(target=click, args=(slide,), daemon=True) for slide in slides]
        for thread in threads:
            thread.start()
        wait_for(answers, 40)
        listener_at(first).kill()
        wait_for(answers, len(answers) + 80)
        stop.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert all(answers)


def wait_for(answers: Sequence[bool], count: int) -> None:
    deadline = time.monotonic() + 120
    while len(answers) < count:
        assert time.monotonic() < deadline, "no more answers"
        time.sleep(0.02)


@pytest.mark.parametrize("name", FRONTS)
def test_a_front_without_a_server_asks_to_come_back(name, pair, tmp_path):
    with running(name, [each.address for each in pair], tmp_path) as front, SamClient(front, timeout_s=20) as client:
        for each in pair:
            each.stop(0)
        with pytest.raises(ServerBusy, match="ask again"):
            client.predict(Slide(demo_slide_path()), prompts(700))
