"""A replica: engine, images and servicer of `qupath-sam serve`, on one device, without a port."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf import message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc

from qupath_sam.machine.threads import prepare_process
from qupath_sam.server.core import SERVICE, Core
from qupath_sam.server.gate import Handlers
from qupath_sam.server.phase import Phase
from qupath_sam.server.ray_serve.calls import Calls
from qupath_sam.server.ray_serve.context import ProxyContext
from qupath_sam.server.settings import ServerSettings

log = logging.getLogger(__name__)

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
#: Seconds between two looks at the file of tokens.
LOOK_EVERY_S = 0.5


class Replica:
    """Answers the rpcs of segmentation and health, one method each; Ray Serve calls them by name.

    Args:
        settings: how the server runs; host, port, TLS and metrics are the proxy's.

    Raises:
        ModelError: the default model cannot be loaded.
        InvalidRequest: there is no such device, or the file of tokens cannot be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        remark = prepare_process()
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        if remark:
            log.info(remark)
        from qupath_sam.server.app import furnish  # loads torch

        self._core = Core.of(settings)
        self._engine, self._images = furnish(self._core)
        checks = Handlers()
        health_pb2_grpc.add_HealthServicer_to_server(self._core.health, checks)

        def handler_of(details: Any) -> Any:
            return checks.by_name.get(details.method) or self._core.gate.service(details)

        self._calls = Calls(handler_of, self._core.interceptors(), threads=settings.call_threads)
        self._closing = threading.Event()
        threading.Thread(target=self._look, name="qupath-sam-tokens", daemon=True).start()
        log.info("replica of process %d is ready", os.getpid())

    def _look(self) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            self._core.tokens.refresh()

    def close(self) -> None:
        """Refuse health checks and end what works."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._core.lifecycle.enter(Phase.STOPPING)
        self._calls.close()
        self._engine.close()
        if self._images.slides is not None:
            self._images.slides.close_all()

    def __del__(self) -> None:
        # Ray Serve's hook for the end of a replica, after its calls have ended.
        if hasattr(self, "_closing"):
            self.close()


def _unary(method: str, empty: Callable[[], Any]) -> Callable[..., Any]:
    async def answer(self: Replica, request: Any, grpc_context: ProxyContext) -> Any:
        return await self._calls.unary(method, request, grpc_context, empty)

    return answer


def _stream(method: str, empty: Callable[[], Any]) -> Callable[..., Any]:
    async def answer(self: Replica, requests: Any, grpc_context: ProxyContext) -> AsyncIterator[Any]:
        async for each in self._calls.stream(method, requests, grpc_context, empty):
            yield each

    return answer


def _add_rpcs() -> None:
    """Give the class a method for each rpc, by its short name: the proxy passes no more on."""
    for service in (SERVICE, HEALTH):
        for method in service.methods:
            make = _stream if method.server_streaming else _unary
            rpc = make(f"/{service.full_name}/{method.name}", message_factory.GetMessageClass(method.output_type))
            rpc.__name__, rpc.__qualname__ = method.name, f"Replica.{method.name}"
            setattr(Replica, method.name, rpc)


_add_rpcs()
