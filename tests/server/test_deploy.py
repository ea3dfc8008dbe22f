"""The files of examples/deploy: what can be run of them here is run, the rest is looked at."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import typer

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.app import app
from qupath_sam.client import Access, SamClient, Slide
from qupath_sam.client.access import read_ca
from qupath_sam.client.process import server_process
from qupath_sam.client.route import Routes
from qupath_sam.errors import QupathSamError
from qupath_sam.protocol.route import ROUTE_METADATA
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.requests import ObjectRequest
from qupath_sam.types.results import ObjectResult
from qupath_sam.v1 import segmentation_service_pb2 as pb
from tests.certificates import CERTIFICATE, KEY

DEPLOY = Path(__file__).resolve().parents[2] / "examples" / "deploy"
FAKE = ServerSettings(port=0, model="fake", device="cpu")


class Seen(grpc.ServerInterceptor):
    """Notes the keys that arrive."""

    def __init__(self) -> None:
        self.routes: list[str | bytes] = []

    def intercept_service(self, continuation, details):
        self.routes += [value for key, value in details.invocation_metadata if key == ROUTE_METADATA]
        return continuation(details)


def prompts(*xs: float) -> list[ObjectPrompts]:
    return [ObjectPrompts(tuple(Click.at(x, 600) for x in xs))]


def test_requests_about_one_image_have_one_key(tmp_path):
    other = tmp_path / "other.tif"
    shutil.copy(demo_slide_path(), other)
    seen = Seen()
    with start_server(FAKE, interceptors=[seen]) as server, SamClient(server.address, timeout_s=30) as client:
        slide = Slide(demo_slide_path())
        client.describe(slide)
        client.predict(slide, prompts(700))
        client.embed(slide, max_windows=1)
        assert len(seen.routes) == 3
        assert len(set(seen.routes)) == 1
        client.predict(Slide(other), prompts(700))
        assert seen.routes[3] != seen.routes[0]
        assert demo_slide_path().name not in str(seen.routes)
        client.describe(client.push(np.zeros((64, 64, 3), np.uint8)))
        assert seen.routes[4] == seen.routes[5]
        assert seen.routes[4] not in seen.routes[:4]


def test_a_request_without_an_image_has_no_key():
    assert Routes().metadata(pb.ListModelsRequest()) == ()


@pytest.fixture
def pair() -> Iterator[list[RunningServer]]:
    servers = [start_server(FAKE) for _ in range(2)]
    yield servers
    for server in servers:
        server.stop(0)


@contextmanager
def nginx_before(servers: Sequence[str], folder: Path) -> Iterator[str]:
    """Run a real NGINX before two servers; yield its address."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("NGINX is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (DEPLOY / "nginx.conf").read_text()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"    {kind}_temp_path {folder / kind};\n" for kind in kinds)
    for old, new in {
        "127.0.0.1:50061": servers[0],
        "127.0.0.1:50062": servers[1],
        "listen 50051": f"listen 127.0.0.1:{port}",
        "/run/qupath-sam-nginx.pid": str(folder / "pid"),
        "/dev/stderr warn": str(folder / "log"),
        "http {\n": f"http {{\n{temporary}",
        "worker_processes auto;": "worker_processes 1;\ndaemon off;",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    file = folder / "nginx.conf"
    file.write_text(text)
    said = folder / "said"
    with said.open("w") as sink:
        process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(file)], stderr=sink)
    try:
        deadline = time.monotonic() + 30
        with SamClient(f"127.0.0.1:{port}", timeout_s=30) as client:
            while not client.is_serving(timeout_s=1.0):
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < deadline
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def front(pair, tmp_path) -> Iterator[str]:
    with nginx_before([server.address for server in pair], tmp_path) as address:
        yield address


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


def test_two_servers_behind_nginx_are_one(pair, front, server, tmp_path):
    slides = copies(tmp_path)
    with SamClient(front, timeout_s=60) as client, SamClient(server.address, timeout_s=60) as alone:
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
def test_a_server_that_is_killed_behind_nginx_costs_no_answer(server, tmp_path):
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
        nginx_before([first, second], tmp_path) as front,
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


def test_the_units_configuration_is_one_of_serve():
    options = tomllib.loads((DEPLOY / "server.toml").read_text())
    known = {option.name for option in typer.main.get_command(app).commands["serve"].params}
    assert set(options) <= known


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_the_unit_is_one(tmp_path):
    unit = tmp_path / "qupath-sam.service"
    # The program and the user are those of the machine that it is installed on.
    text = (DEPLOY / "qupath-sam.service").read_text()
    unit.write_text(text.replace("/opt/qupath-sam/bin/qupath-sam", sys.executable))
    ended = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "Unknown" not in ended.stderr


def test_alarms_and_documents_name_metrics_that_there_are() -> None:
    settings = replace(FAKE, metrics_port=0, tls_certificate=CERTIFICATE, tls_key=KEY)
    with (
        start_server(settings) as server,
        SamClient(server.address, timeout_s=30, access=Access(ca=read_ca(CERTIFICATE))) as client,
    ):
        client.predict(Slide(demo_slide_path()), prompts(700))
        with urllib.request.urlopen(f"http://127.0.0.1:{server.listener.web.port}/metrics", timeout=20) as answer:
            known = set(re.findall(r"^qupath_sam_\w+", answer.read().decode(), re.MULTILINE))
    alarms = set(re.findall(r"\bqupath_sam_\w+", (DEPLOY / "alerts.yml").read_text("utf-8")))
    assert len(alarms) > 4
    assert alarms - known == set()
    document = (DEPLOY.parents[1] / "docs" / "server.md").read_text("utf-8")
    named = set(re.findall(r"^\| `(qupath_sam_\w+)", document, re.MULTILINE))
    assert len(named) > 8
    assert {name for name in named if name not in known and f"{name}_bucket" not in known} == set()
    mounted = (DEPLOY / "compose.yaml").read_text("utf-8")
    assert all(f"./{name}:/etc/prometheus/{name}:ro" in mounted for name in ("prometheus.yml", "alerts.yml"))


def test_the_image_is_built_from_what_is_there_and_sent() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert "USER 10001" in text
    sent = (DEPLOY.parents[1] / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in sent  # nothing but what is named
    names = [
        name
        for line in text.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    assert {"pyproject.toml", "uv.lock", "qupath_sam"} <= set(names)
    assert [name for name in names if not (DEPLOY.parents[1] / name).exists()] == []
    assert [name for name in names if f"!{name}" not in sent] == []


def test_the_images_first_process_passes_signals_on() -> None:
    """As the first process of a container, a server that still loads would not hear SIGTERM."""
    assert 'ENTRYPOINT ["tini", "--", "qupath-sam"' in (DEPLOY / "Dockerfile").read_text("utf-8")
