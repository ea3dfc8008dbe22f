"""What a server is doing: starting, serving or stopping. It is logged, and given to health checks and early callers."""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Iterable

from grpc_health.v1 import health, health_pb2

from qupath_sam.errors import ServerStarting

log = logging.getLogger(__name__)

#: When a caller that was too early asks again, seconds.
RETRY_AFTER_S = 0.25

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Phase(enum.Enum):
    """What a server does, in the order of its life."""

    IMPORTING = "loading the libraries"
    LOADING = "loading the model"
    WARMING_UP = "warming up"
    SERVING = "serving"
    STOPPING = "stopping"


class Lifecycle:
    """The phase that a server is in. Safe to use from several threads.

    Args:
        health: answers the checks of load balancers.
        services: names of the services that are there from SERVING on; "" is the server as a whole.
    """

    def __init__(self, health: health.HealthServicer, services: Iterable[str]) -> None:
        self._health = health
        self._services = tuple(services)
        self._models: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._phase, self._detail = Phase.IMPORTING, ""
        self.started = time.monotonic()
        self._tell(_NOT_SERVING)

    @property
    def phase(self) -> Phase:
        """The phase now."""
        return self._phase

    @property
    def words(self) -> str:
        """The phase for people: "loading the model lite_medsam"."""
        return f"{self._phase.value} {self._detail}".rstrip()

    def enter(self, phase: Phase, detail: str = "") -> None:
        """Begin a phase; ``detail`` says what of it, such as the model's name."""
        with self._lock:
            if self._phase is phase is Phase.STOPPING:
                return
            self._phase, self._detail = phase, detail
        log.info("%s (%.1f s after the start)", self.words, time.monotonic() - self.started)
        if phase is Phase.SERVING:
            self._tell(_SERVING)
        elif phase is Phase.STOPPING:
            self._health.enter_graceful_shutdown()

    def models_changed(self, loaded: Iterable[str]) -> None:
        """Tell health checks of ``model/NAME`` which models are in memory."""
        names = frozenset(loaded)
        with self._lock:
            gone, self._models = self._models - names, self._models | names
        for name in names:
            self._health.set(f"model/{name}", _SERVING)
        for name in gone:
            self._health.set(f"model/{name}", _NOT_SERVING)

    def not_ready(self) -> ServerStarting:
        """Return the error of a call that came too early."""
        return ServerStarting(
            f"the server is starting ({self.words}); ask again in a moment", retry_after_s=RETRY_AFTER_S
        )

    def _tell(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for name in self._services:
            self._health.set(name, status)
