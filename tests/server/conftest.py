"""A real server with the fake model, and a client on a real channel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import SamClient, Slide
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    with start_server(ServerSettings(port=0, model="fake", device="cpu")) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[SamClient]:
    with SamClient(server.address, timeout_s=30) as connected:
        yield connected


@pytest.fixture(scope="session")
def slide() -> Slide:
    return Slide(demo_slide_path())
