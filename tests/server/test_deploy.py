"""The files of examples/deploy: what can be run of them here is run, the rest is looked at."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import typer

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.app import app
from qupath_sam.client import SamClient, Slide
from qupath_sam.client.route import Routes
from qupath_sam.protocol.route import ROUTE_METADATA
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.requests import ObjectRequest
from qupath_sam.v1 import segmentation_service_pb2 as pb

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


@pytest.fixture
def front(pair, tmp_path) -> Iterator[str]:
    """The address of a real NGINX before two servers."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("NGINX is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (DEPLOY / "nginx.conf").read_text()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"    {kind}_temp_path {tmp_path / kind};\n" for kind in kinds)
    for old, new in {
        "127.0.0.1:50061": pair[0].address,
        "127.0.0.1:50062": pair[1].address,
        "listen 50051": f"listen 127.0.0.1:{port}",
        "/run/qupath-sam-nginx.pid": str(tmp_path / "pid"),
        "/dev/stderr warn": str(tmp_path / "log"),
        "http {\n": f"http {{\n{temporary}",
        "worker_processes auto;": "worker_processes 1;\ndaemon off;",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    file = tmp_path / "nginx.conf"
    file.write_text(text)
    said = tmp_path / "said"
    with said.open("w") as sink:
        process = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(file)], stderr=sink)
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


def answered(server: RunningServer) -> int:
    return sum(method.requests for method in server.listener.core.status.status().methods if method.method == "Predict")


def test_two_servers_behind_nginx_are_one(pair, front, tmp_path):
    slides = [Slide(tmp_path / f"{number}.tif") for number in range(8)]
    for slide in slides:
        shutil.copy(demo_slide_path(), slide.location)
    with SamClient(front, timeout_s=60) as client, SamClient(pair[0].address, timeout_s=60) as direct:
        for _ in range(3):
            for slide in slides:
                client.predict(slide, prompts(700))
        counts = [answered(server) for server in pair]
        assert sum(counts) == 24
        assert all(count % 3 == 0 and count > 0 for count in counts)  # each slide at one server, both have some
        # The token of a server that has gone: the other one replays the steps.
        lost = counts.index(max(counts))
        first = {slide: client.predict(slide, prompts(700)).results[0] for slide in slides}
        pair[lost].stop(0)
        for slide, result in first.items():
            more = ObjectRequest(prompts(700, 720)[0], token=result.token)
            there = client.predict(slide, [more]).results[0]
            if lost:
                here = direct.predict(slide, [ObjectRequest(prompts(700, 720)[0])]).results[0]
                assert here.outlines == there.outlines
            assert there.outlines
        with client.live() as live:
            assert live.predict(slides[0], prompts(700)).result(60).results


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


def test_the_images_file_names_what_is_there():
    text = (DEPLOY / "Dockerfile").read_text()
    assert "USER 10001" in text
    for line in text.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for name in line.split()[1:-1]:
                assert (DEPLOY.parents[1] / name).exists(), name
