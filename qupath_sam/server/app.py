"""Builds a server out of settings: engine, service, health, reflection, interceptors, address."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from qupath_sam.engine.engine import Engine
from qupath_sam.engine.settings import build_engine
from qupath_sam.machine.threads import configure_torch
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.server.clients import CallsUnderWay, Clients
from qupath_sam.server.images import Images, PushedStore
from qupath_sam.server.interceptors import ErrorInterceptor, LimitInterceptor, TokenInterceptor
from qupath_sam.server.port import cannot_listen
from qupath_sam.server.request_log import RequestLog, RequestLogInterceptor
from qupath_sam.server.servicer import Servicer
from qupath_sam.server.settings import ServerSettings
from qupath_sam.server.tls import ReloadingTls, TlsFiles
from qupath_sam.server.tokens import TokenFile, TokenRegistry
from qupath_sam.slides.cache import SlideCache
from qupath_sam.slides.location import PathMap
from qupath_sam.slides.memory import DecodeMemory
from qupath_sam.v1 import segmentation_service_pb2 as pb
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc

log = logging.getLogger(__name__)

#: How long a client may take to answer a ping: it does so without a thread of its own, unless it is frozen.
KEEPALIVE_TIMEOUT_MS = 10_000

SERVICE_NAME: str = pb.DESCRIPTOR.services_by_name["SegmentationService"].full_name


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers.

    Attributes:
        address: ``host:port`` to connect to.
        port: the port it listens on.
        engine: what does the work.
        images: what it reads.
    """

    address: str
    port: int
    engine: Engine
    images: Images
    _server: grpc.Server
    _pool: ThreadPoolExecutor
    _health: health.HealthServicer
    _slides: SlideCache | None
    _tokens: TokenRegistry
    _tls: ReloadingTls | None

    def refresh(self, *, force: bool = False) -> None:
        """Read tokens and certificates again, where their files have changed; with ``force``, whatever their times."""
        self._tokens.refresh(force=force)
        if force and self._tls is not None:
            self._tls.look_again()

    def wait(self) -> None:
        """Block until the server has stopped."""
        self._server.wait_for_termination()

    def stop(self, grace_s: float = 5.0) -> None:
        """Say so to health checks, let calls under way finish for ``grace_s`` seconds, then end."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self.engine.close()
        # gRPC leaves the threads it was given waiting.
        self._pool.shutdown(wait=False)
        if self._slides is not None:
            self._slides.close_all()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(grace_s=0.5)


def start_server(settings: ServerSettings, *, interceptors: Sequence[grpc.ServerInterceptor] = ()) -> RunningServer:
    """Start a server; it answers when this returns.

    Args:
        settings: how it runs.
        interceptors: run outside of the server's own.

    Raises:
        InvalidRequest: certificate and key cannot be used.
        ServerUnavailable: the address cannot be listened on.
        ModelError: the default model cannot be loaded (with ``settings.warm_up``).
    """
    tls = _tls(settings)
    tokens = TokenRegistry(settings.token, TokenFile(settings.tokens) if settings.tokens is not None else None)
    clients, calls = Clients(tokens), CallsUnderWay(settings.max_calls)
    requests = RequestLog()
    tokens.on_revoked(calls.end_calls_of)
    configure_torch(settings.threads or None)
    engine = build_engine(settings)
    memory = DecodeMemory(settings.decode_bytes)
    slides = _slides(settings, memory) if settings.read_slides else None
    images = Images(slides, PushedStore(settings.pushed_bytes), memory)
    log.info("memory: %s", settings.memory)
    # A stream holds its thread for as long as it is open; threads that wait cost nothing.
    pool = ThreadPoolExecutor(settings.max_calls + 8, thread_name_prefix="qupath-sam-call")
    server = grpc.server(
        pool,
        interceptors=[*interceptors, *_chain(clients, calls, requests)],
        options=[
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
        ],
    )
    servicer = Servicer(engine, images, ModelStore(settings.models_home), settings, clients, requests)
    pb_grpc.add_SegmentationServiceServicer_to_server(servicer, server)
    health_servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    if settings.reflection:
        reflection.enable_server_reflection((SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = _bind(server, settings, tls.credentials() if tls is not None else None)
    try:
        if settings.warm_up:
            engine.warm_up()
    except BaseException:
        server.stop(None)
        engine.close()
        raise
    for name in ("", SERVICE_NAME):
        health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    server.start()
    _warn(settings)
    return RunningServer(
        settings.address(port), port, engine, images, server, pool, health_servicer, slides, tokens, tls
    )


def _slides(settings: ServerSettings, memory: DecodeMemory) -> SlideCache:
    return SlideCache(
        capacity=settings.max_slides,
        path_map=PathMap(settings.path_map),
        permissions=settings.permissions,
        max_bytes=settings.slide_bytes,
        memory=memory,
    )


def _chain(clients: Clients, calls: CallsUnderWay, requests: RequestLog) -> list[grpc.ServerInterceptor]:
    token = [] if clients.tokens.is_open else [TokenInterceptor(clients)]
    return [RequestLogInterceptor(clients, requests), ErrorInterceptor(), *token, LimitInterceptor(calls, clients)]


def _tls(settings: ServerSettings) -> ReloadingTls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return ReloadingTls(TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca))


def _warn(settings: ServerSettings) -> None:
    """Say loudly what other machines could do that nobody may have thought of."""
    if settings.is_loopback:
        if settings.read_slides and settings.slide_roots is None:
            log.info("any slide that this account can read is opened; --slides FOLDER narrows it to some folders")
        return
    if settings.read_slides and settings.permissions.opens_everything:
        log.warning(
            "listening on %s: --slides names the whole of this machine, so that whoever is let in can ask of any file "
            "whether it is there, and see every image. Name the folders that slides lie in.",
            settings.host,
        )
    if not settings.needs_token and settings.tls_client_ca is None:
        log.warning(
            "listening on %s: everybody who can reach this address can segment, and read any slide that the server "
            "opens. Let in only who has a token (--token-file), or keep it inside a network you trust.",
            settings.host,
        )
    if not settings.is_encrypted:
        log.warning(
            "listening on %s: everybody on the way can read what is sent%s. Encrypt it (--tls-certificate, --tls-key), "
            "or keep it inside a network you trust.",
            settings.host,
            ", the token too" if settings.needs_token else "",
        )


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
