"""Everything that can be set about a server: one frozen value, made at the edge and passed down."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qupath_sam.engine.settings import MIB, EngineSettings
from qupath_sam.errors import InvalidRequest
from qupath_sam.protocol.bearer import check_token, is_loopback
from qupath_sam.slides.permissions import Permissions
from qupath_sam.slides.urls import UrlRules, is_url

#: Largest message, both ways: a 16-megapixel JPEG or a 20-megapixel raw region fit, a slide does not.
MAX_MESSAGE_BYTES = 64 * MIB

#: Sixteenths of a memory budget.
SHARES = {
    "embedding_bytes": 4,
    "tracking_bytes": 1,
    "message_bytes": 1,
    "decode_bytes": 4,
    "slide_bytes": 3,
    "pushed_bytes": 2,
    "state_bytes": 1,
}
LEAST_MEMORY_BYTES = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(EngineSettings):
    """How a server and its engine run.

    Attributes:
        host: address to listen on; loopback by default.
        port: 0 takes a free one.
        tls_certificate, tls_key: PEM files; with both, connections are encrypted, and only such are taken.
        tls_client_ca: PEM file of the authorities whose certificates clients have to show; None asks for none.
        token: what every call has to carry; with none and no ``tokens``, everybody is let in who reaches the port.
        tokens: file of named tokens, as `qupath_sam.server.tokens.TokenFile` writes it.
        token_without_tls: whether the token may travel unencrypted to another machine.
        threads: torch threads; 0 takes all cores.
        path_map: ``((client prefix, server prefix), ...)``.
        read_slides: open slides by path or URI; otherwise pixels must be pushed.
        slide_roots: folders whose slides may be opened; None opens any, on a server of this machine alone.
        allow_urls: what `qupath_sam.slides.urls.UrlRules.parse` reads; empty opens paths only.
        reflection: whether gRPC's reflection tells which services there are.
        max_message_bytes: largest message, both ways.
        message_bytes: memory for requests that have arrived; a larger one is taken alone, others are answered BUSY.
        max_pushed_pixels: most pixels of one PushPixels.
        pushed_bytes: memory for pushed pixels.
        max_slides: most slides held open.
        slide_bytes: memory for the pixels that open slides hold: plain images, not tiled ones.
        decode_bytes: memory for what is decoded at one moment; who needs more waits.
        max_calls: most calls under way, streams included; more are answered UNAVAILABLE.
        keepalive_s: seconds without a word after which a client is asked whether it is still there.
        metrics_host, metrics_port: where metrics and status can be read by HTTP; no port, no metrics.
        grace_s: how long calls under way may go on when the server is stopped, seconds.
        warm_up: load the default model and run it once before the first call.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    token: str = field(default="", repr=False)
    tokens: Path | None = None
    token_without_tls: bool = False
    threads: int = 0
    path_map: tuple[tuple[str, str], ...] = ()
    read_slides: bool = True
    slide_roots: tuple[Path, ...] | None = None
    allow_urls: tuple[str, ...] = ()
    reflection: bool = True
    max_message_bytes: int = MAX_MESSAGE_BYTES
    message_bytes: int = 512 * MIB
    max_pushed_pixels: int = 20_000_000
    pushed_bytes: int = 512 * MIB
    max_slides: int = 32
    slide_bytes: int = 1024 * MIB
    decode_bytes: int = 1024 * MIB
    max_calls: int = 64
    keepalive_s: float = 20.0
    grace_s: float = 5.0
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    warm_up: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidRequest(f"port must lie in 0..65535, got {self.port}")
        if self.metrics_port is not None and not 0 <= self.metrics_port <= 65535:
            raise InvalidRequest(f"metrics_port must lie in 0..65535, got {self.metrics_port}")
        # Not super(): a dataclass with slots is a second class, which it does not know.
        EngineSettings.__post_init__(self)
        self.check_limits("max_message_bytes", "max_pushed_pixels", "max_slides", "max_calls")
        self.check_limits("threads", "message_bytes", "pushed_bytes", "slide_bytes", least=0)
        self.check_limits("decode_bytes")
        self.check_limits("grace_s", least=0)
        self._check_locks()
        self._check_slides()

    def within(self, memory_bytes: int) -> ServerSettings:
        """Return the same with its caches and its decoding in one budget, which the models' weights are not part of.

        Raises:
            InvalidRequest: too little to work with.
        """
        if memory_bytes < LEAST_MEMORY_BYTES:
            raise InvalidRequest(f"{memory_bytes // MIB} MiB are too little; give --memory 1 (GiB) or more")
        shares: dict[str, Any] = {name: memory_bytes * share // 16 for name, share in SHARES.items()}
        return replace(self, **shares)

    @property
    def call_threads(self) -> int:
        """Threads for calls. Some are above `max_calls`, to answer that there are too many, and health checks."""
        return self.max_calls + 8

    @property
    def arriving_bytes(self) -> int:
        """Most memory of messages on their way: each thread receives one, and one is parsed at a time."""
        return (self.call_threads + 1) * self.max_message_bytes

    @property
    def memory(self) -> str:
        """The memory of caches, decoding and messages, in a few words."""
        parts = {name: getattr(self, name) for name in SHARES}
        words = ", ".join(f"{name.removesuffix('_bytes')} {size // MIB}" for name, size in parts.items())
        budget = sum(parts.values())
        return (
            f"{budget // MIB} MiB ({words}) and at most {self.arriving_bytes // MIB} MiB of messages on their way "
            f"({self.max_message_bytes // MIB} MiB for each call): {(budget + self.arriving_bytes) // MIB} MiB in all, "
            "beside models"
        )

    def _check_slides(self) -> None:
        permissions = self.permissions
        if self.read_slides and permissions.roots is None and not self.is_loopback:
            raise InvalidRequest(
                f"a server on {self.host} must not open every file of this machine to all who reach it; name the "
                "folders of the slides with --slides FOLDER (which may be repeated), or say --no-read-slides"
            )
        for _, server in self.path_map:
            if is_url(server):
                permissions.urls.check(server, given=f"the path map's {server}")

    @property
    def permissions(self) -> Permissions:
        """Return which slides are opened for clients; raises `InvalidRequest` where a root is no folder."""
        return Permissions.of(self.slide_roots, UrlRules.parse(self.allow_urls))

    def _check_locks(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise InvalidRequest("a certificate and its key go together; give both --tls-certificate and --tls-key")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise InvalidRequest(
                "clients show certificates over TLS only; give --tls-certificate and --tls-key beside --tls-client-ca"
            )
        if self.token:
            check_token(self.token)
        if self.needs_token and not (self.is_encrypted or self.is_loopback or self.token_without_tls):
            raise InvalidRequest(
                f"a token that travels unencrypted to {self.host} can be read by everybody on the way; encrypt with "
                "--tls-certificate and --tls-key, or say --token-without-tls where that network is trusted"
            )

    @property
    def needs_token(self) -> bool:
        """Whether calls have to carry a token."""
        return bool(self.token) or self.tokens is not None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def is_encrypted(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls_certificate is not None

    @property
    def exposure(self) -> str:
        """Who can reach and use the server, in a few words."""
        who = "this machine only" if self.is_loopback else "every machine that can reach it"
        if self.tls_client_ca is not None:
            who += ", with a certificate"
        if self.needs_token:
            who += ", with a token"
        elif self.tls_client_ca is None and not self.is_loopback:
            who = f"{who}, without a token".upper()
        return f"{who}; encrypted" if self.is_encrypted else who

    def address(self, port: int) -> str:
        """Return ``host:port`` as gRPC wants it; IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"{host}:{port}"
