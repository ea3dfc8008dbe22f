"""Who calls: by token, by certificate, or by the connection; and what each may take at once."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import grpc

from qupath_sam.errors import ServerBusy
from qupath_sam.protocol.bearer import AUTHORIZATION, token_of
from qupath_sam.server.tokens import Limits, NamedToken, TokenRegistry

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Client:
    """The caller of an rpc.

    Attributes:
        name: of its token; else of its certificate; else of its connection, ``ipv4:192.0.2.7:4711``.
        limits: of its token.
    """

    name: str
    limits: Limits = field(default_factory=Limits)


def peer_of(context: grpc.ServicerContext) -> str:
    """Return the other end of a call's connection; gRPC writes ``ipv6:%5B::1%5D:4711`` for ``ipv6:[::1]:4711``."""
    return unquote(str(context.peer()))


class Clients:
    """Knows who calls.

    Args:
        tokens: those that are let in.
    """

    def __init__(self, tokens: TokenRegistry) -> None:
        self.tokens = tokens

    def token_in(self, metadata: Metadata) -> NamedToken | None:
        """Return the token that a call carries; None where it carries none that is known."""
        for key, value in metadata:
            if key == AUTHORIZATION and isinstance(value, str):
                found = self.tokens.find(token_of(value))
                if found is not None:
                    return found
        return None

    def of(self, context: grpc.ServicerContext) -> Client:
        """Return the caller of an rpc."""
        token = None if self.tokens.is_open else self.token_in(context.invocation_metadata())
        if token is not None and token.name != TokenRegistry.SINGLE:
            return Client(token.name, token.limits)
        for name in context.auth_context().get("x509_common_name", ()):
            return Client(bytes(name).decode("utf-8", "replace"))
        return Client(peer_of(context))


class CallsUnderWay:
    """Counts calls, all and by client, and refuses those beyond the limits. Safe to use from several threads.

    Args:
        max_calls: of all clients, open streams included.
    """

    def __init__(self, max_calls: int) -> None:
        self._max_calls = max_calls
        self._lock = threading.Lock()
        self._calls: dict[str, dict[int, tuple[Any, bool]]] = {}
        self._count = 0

    @property
    def max_calls(self) -> int:
        """The limit."""
        return self._max_calls

    def __len__(self) -> int:
        """Return the number of calls under way."""
        return self._count

    def by_client(self) -> dict[str, tuple[int, int]]:
        """Count the calls and streams under way by the client's name."""
        with self._lock:
            return {
                name: (len(calls), sum(stream for _, stream in calls.values())) for name, calls in self._calls.items()
            }

    @contextmanager
    def entered(self, client: Client, context: Any, *, stream: bool) -> Iterator[None]:
        """Count a call for the length of a ``with`` block.

        Raises:
            ServerBusy: the server, or this client, has as many as it may.
        """
        with self._lock:
            own = self._calls.setdefault(client.name, {})
            try:
                self._check(client, own, stream=stream)
            except ServerBusy:
                self._forget_idle(client.name)
                raise
            own[id(context)] = context, stream
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                del own[id(context)]
                self._count -= 1
                self._forget_idle(client.name)

    def end_calls_of(self, name: str) -> None:
        """Cancel what a client has under way: its token was taken away."""
        with self._lock:
            contexts = [context for context, _ in self._calls.get(name, {}).values()]
        for context in contexts:
            context.cancel()

    def _check(self, client: Client, own: dict[int, tuple[Any, bool]], *, stream: bool) -> None:
        limits = client.limits
        if self._count >= self._max_calls:
            raise ServerBusy(f"{self._max_calls} calls are under way already; try again in a moment")
        if limits.calls and len(own) >= limits.calls:
            raise ServerBusy(f"{limits.calls} of your calls are under way already; wait for one of them")
        if stream and limits.streams and sum(other for _, other in own.values()) >= limits.streams:
            raise ServerBusy(f"{limits.streams} of your streams are open already; close one of them")

    def _forget_idle(self, name: str) -> None:
        if not self._calls.get(name):
            self._calls.pop(name, None)
