"""Fixtures that every test may use."""

from __future__ import annotations

import os

# Threads that wait must not spin: the tests share two cores with servers they start.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Servers that tests start would convert the default model first, where the extra [openvino] is installed.
os.environ.setdefault("QUPATH_SAM_SERVE_RUNTIME", "torch")

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from qupath_sam.client import SamClient, Slide
    from qupath_sam.server.app import RunningServer

REPOSITORY = Path(__file__).resolve().parents[1]

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and slides beside the checkout; tests that need them skip where they are absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data (../shared/data) is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """A real server with the fake model, for all tests of a process that only ask it something.

    A test that changes or counts what a server holds, or needs other settings, starts its own.
    """
    from qupath_sam.server.app import start_server
    from qupath_sam.server.settings import ServerSettings

    with start_server(ServerSettings(port=0, model="fake", device="cpu")) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[SamClient]:
    """A client of `server` on a real channel."""
    from qupath_sam.client import SamClient

    with SamClient(server.address, timeout_s=30) as connected:
        yield connected


@pytest.fixture(scope="session")
def slide() -> Slide:
    from qupath_sam.assets import demo_slide_path
    from qupath_sam.client import Slide

    return Slide(demo_slide_path())
