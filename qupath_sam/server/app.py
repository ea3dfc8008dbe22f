"""The server as a whole: a port that listens, and behind it engine, images and service."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from qupath_sam.engine.build import build_engine
from qupath_sam.engine.engine import Engine
from qupath_sam.machine.threads import configure_torch
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.server.core import SERVICE_NAME, Core
from qupath_sam.server.gate import Handlers
from qupath_sam.server.images import Images, PushedStore
from qupath_sam.server.listener import Listener, listen
from qupath_sam.server.phase import Phase
from qupath_sam.server.reconfigure import reconfigure
from qupath_sam.server.servicer import Servicer
from qupath_sam.server.settings import ServerSettings
from qupath_sam.slides.cache import SlideCache
from qupath_sam.slides.location import PathMap
from qupath_sam.slides.memory import DecodeMemory
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc

__all__ = ["SERVICE_NAME", "RunningServer", "complete", "start_server"]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class RunningServer:
    """A server that answers.

    Attributes:
        listener: its port.
        engine: what does the work.
        images: what it reads.
        settings: in force now.
    """

    listener: Listener
    engine: Engine
    images: Images
    settings: ServerSettings

    @property
    def address(self) -> str:
        """``host:port`` to connect to."""
        return self.listener.address

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.listener.port

    def refresh(self, *, force: bool = False) -> None:
        """Read tokens and certificates again, where their files have changed; with ``force``, whatever their times."""
        self.listener.refresh(force=force)

    def reconfigure(self, wanted: ServerSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take over what can change while it runs; see `qupath_sam.server.reconfigure.reconfigure`."""
        return reconfigure(self, wanted)

    def wait(self) -> None:
        """Block until the server has stopped."""
        self.listener.wait()

    def stop(self, grace_s: float | None = None) -> None:
        """Say so to health checks, let calls under way finish for ``grace_s`` seconds, then end.

        Args:
            grace_s: None takes the settings'.
        """
        self.listener.close(self.settings.grace_s if grace_s is None else grace_s)
        self.engine.close()
        if self.images.slides is not None:
            self.images.slides.close_all()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(grace_s=0.5)


def start_server(settings: ServerSettings, *, interceptors: Sequence[grpc.ServerInterceptor] = ()) -> RunningServer:
    """Start a server; it answers when this returns.

    Args:
        settings: how it runs.
        interceptors: run outside of the server's own.

    Raises: as `listen` and `complete`.
    """
    return complete(listen(settings, interceptors=interceptors))


def complete(listener: Listener) -> RunningServer:
    """Load what is behind a port and open its gate. The port is closed where that fails.

    Raises:
        ModelError: the default model cannot be loaded (with ``settings.warm_up``).
        InvalidRequest: there is no such device.
    """
    try:
        engine, images = furnish(listener.core)
    except BaseException:
        listener.close()
        raise
    _warn(listener.core.settings)
    return RunningServer(listener, engine, images, listener.core.settings)


def furnish(core: Core) -> tuple[Engine, Images]:
    """Load what is behind a core and open its gate; raises as `complete`."""
    settings, lifecycle = core.settings, core.lifecycle
    configure_torch(settings.threads or None, callers=settings.devices.count("cpu"))
    memory = DecodeMemory(settings.decode_bytes)
    slides = _slides(settings, memory) if settings.read_slides else None
    images = Images(slides, PushedStore(settings.pushed_bytes), memory)
    engine = build_engine(settings)
    engine.on_models(lifecycle.models_changed)
    log.info("memory: %s", settings.memory)
    try:
        if settings.warm_up:
            lifecycle.enter(Phase.LOADING, engine.models.default)
            engine.models.get()
            lifecycle.enter(Phase.WARMING_UP, engine.models.default)
            engine.warm_up()
    except BaseException:
        engine.close()
        raise
    store = ModelStore(settings.models_home)
    servicer = Servicer(engine, images, store, settings, core.clients, core.requests, core.status, core.messages)
    core.status.engine, core.status.images = engine, images
    handlers = Handlers()
    pb_grpc.add_SegmentationServiceServicer_to_server(servicer, handlers)
    core.gate.open(handlers.by_name)
    lifecycle.enter(Phase.SERVING)
    return engine, images


def _slides(settings: ServerSettings, memory: DecodeMemory) -> SlideCache:
    return SlideCache(
        capacity=settings.max_slides,
        path_map=PathMap(settings.path_map),
        permissions=settings.permissions,
        max_bytes=settings.slide_bytes,
        memory=memory,
    )


def _warn(settings: ServerSettings) -> None:
    """Warn of what other machines can do at this address."""
    if settings.is_loopback:
        if settings.read_slides and settings.slide_roots is None:
            log.info("any slide that this account can read is opened; --slides FOLDER narrows it to some folders")
        return
    if settings.read_slides and settings.permissions.opens_everything:
        log.warning(
            "listening on %s: --slides names the whole of this machine, so that all who are let in can ask of any file "
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
