"""A port that answers at once, before anything heavy is loaded: locks, limits, health, a hint to early calls.

Nothing here imports torch, which takes seconds, on a busy machine a minute.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from qupath_sam.server.core import SERVICE_NAME, Core
from qupath_sam.server.phase import Phase
from qupath_sam.server.port import cannot_listen
from qupath_sam.server.request_log import RequestLog
from qupath_sam.server.settings import ServerSettings
from qupath_sam.server.status import StatusSource
from qupath_sam.server.tls import ReloadingTls, TlsFiles

if TYPE_CHECKING:
    from qupath_sam.server.web import WebPort

log = logging.getLogger(__name__)

#: How long a client may take to answer a ping: it does so without a thread of its own, unless it is frozen.
KEEPALIVE_TIMEOUT_MS = 10_000


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that is listened on.

    Attributes:
        core: what every call meets.
        port: the port it listens on.
        web: where metrics and status can be read by HTTP; None without ``settings.metrics_port``.
    """

    core: Core
    port: int
    web: WebPort | None
    _server: grpc.Server
    _pool: ThreadPoolExecutor
    _tls: ReloadingTls | None

    @property
    def address(self) -> str:
        """``host:port`` to connect to."""
        return self.core.settings.address(self.port)

    def refresh(self, *, force: bool = False) -> None:
        """Read tokens and certificates again, where their files have changed; with ``force``, whatever their times."""
        self.core.tokens.refresh(force=force)
        if self._tls is not None:
            self._tls.remind()
            if force:
                self._tls.look_again()

    def wait(self) -> None:
        """Block until the server has stopped."""
        self._server.wait_for_termination()

    def close(self, grace_s: float = 0.0) -> None:
        """Say so to health checks, take no more calls, and let those under way finish for ``grace_s`` seconds."""
        self.core.lifecycle.enter(Phase.STOPPING, f"(calls under way get {grace_s:g} s)")
        self._server.stop(grace_s).wait()
        if self.web is not None:
            self.web.close()
        # gRPC leaves the threads it was given waiting.
        self._pool.shutdown(wait=False)


def listen(settings: ServerSettings, *, interceptors: Sequence[grpc.ServerInterceptor] = ()) -> Listener:
    """Listen on the settings' address. Calls are answered with `ServerStarting` until the listener's gate opens.

    Args:
        settings: how the server runs.
        interceptors: run outside of the server's own.

    Raises:
        InvalidRequest: certificate and key, or the file of tokens, cannot be used.
        ServerUnavailable: the address cannot be listened on.
    """
    tls = _tls(settings)
    core = Core.of(settings)
    # A stream holds its thread for as long as it is open; threads that wait cost nothing.
    pool = ThreadPoolExecutor(settings.call_threads, thread_name_prefix="qupath-sam-call")
    server = grpc.server(pool, interceptors=[*interceptors, *core.interceptors()], options=_options(settings))
    health_pb2_grpc.add_HealthServicer_to_server(core.health, server)
    server.add_generic_rpc_handlers((core.gate,))
    if settings.reflection:
        reflection.enable_server_reflection((SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = _bind(server, settings, tls.credentials() if tls is not None else None)
    try:
        web = _web(settings, core.status, core.requests, tls)
    except BaseException:
        server.stop(None)
        raise
    server.start()
    return Listener(core, port, web, server, pool, tls)


def _web(
    settings: ServerSettings, status: StatusSource, requests: RequestLog, tls: ReloadingTls | None
) -> WebPort | None:
    if settings.metrics_port is None:
        return None
    from qupath_sam.server.metrics import Metrics
    from qupath_sam.server.web import WebPort

    metrics = Metrics(status.status, None if tls is None else lambda: _seconds(tls.expires))
    requests.on_request(metrics.add)
    web = WebPort(settings.metrics_host, settings.metrics_port, status.status, metrics.registry)
    log.info("metrics and status: http://%s:%d/", settings.metrics_host, web.port)
    return web


def _seconds(moment: datetime | None) -> float:
    return math.nan if moment is None else moment.timestamp()


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Two servers on one port would share calls at random.
        ("grpc.so_reuseport", 0),
        # A live stream rests while a person looks; its pings must not be taken for abuse.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A frozen client, or a lid that was closed, says nothing for hours: its places are free in half a minute.
        ("grpc.keepalive_time_ms", int(settings.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        # Without it gRPC 1.85 waits for a minute.
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
    ]


def _tls(settings: ServerSettings) -> ReloadingTls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return ReloadingTls(TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca))


def _bind(server: grpc.Server, settings: ServerSettings, credentials: grpc.ServerCredentials | None) -> int:
    address = settings.address(settings.port)
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        port = 0
        cause: Exception | None = error
    else:
        cause = None
    if port == 0:
        raise cannot_listen(address) from cause
    return int(port)
