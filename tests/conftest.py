"""Fixtures that every test may use."""

from __future__ import annotations

import os

# Threads that wait must not spin: the tests share two cores with servers they start.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Servers that tests start would convert the default model first, where the extra [openvino] is installed.
os.environ.setdefault("QUPATH_SAM_SERVE_RUNTIME", "torch")

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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
