"""The files of examples/deploy: what can be run of them here is run, the rest is looked at."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
import typer

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.app import app
from qupath_sam.client import Access, SamClient, Slide
from qupath_sam.client.access import read_ca
from qupath_sam.client.route import Routes
from qupath_sam.protocol.route import ROUTE_METADATA
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
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
