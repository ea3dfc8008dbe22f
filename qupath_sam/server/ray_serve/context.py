"""A call that came through Ray Serve's proxy, as servicer and interceptors know calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NoReturn, Protocol, TypeVar

import grpc

T = TypeVar("T")


class ProxyContext(Protocol):
    """What Ray Serve hands over with a request (`ray.serve.grpc_util.RayServegRPCContext`)."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """Return what the client sent beside its request."""
        ...

    def peer(self) -> str:
        """Return the client's address."""
        ...

    def auth_context(self) -> Mapping[str, Any]:
        """Return what the connection proves of the client."""
        ...

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status of the answer."""
        ...

    def set_details(self, details: str) -> None:
        """Set the words of the status."""
        ...

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str | bytes]]) -> None:
        """Set what goes with the status."""
        ...


class Aborted(Exception):
    """The call has ended with an error's status; the context has it."""


class CallContext:
    """The part of `grpc.ServicerContext` that this server uses. Safe to use from several threads.

    A client that goes away, or whose time is up, ends the call by `end`: the proxy passes no deadline on.

    Args:
        proxy: what the proxy knows of the call.
        loop: on which the proxy's answers are awaited.
    """

    def __init__(self, proxy: ProxyContext, loop: asyncio.AbstractEventLoop) -> None:
        self._proxy = proxy
        self._loop = loop
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._awaited: set[Future[Any]] = set()
        self._active = True
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: list[tuple[str, str | bytes]] = []

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """Return what the client sent beside its request."""
        return self._proxy.invocation_metadata()

    def peer(self) -> str:
        """Return the client's address, of its connection to the proxy."""
        return self._proxy.peer()

    def auth_context(self) -> Mapping[str, Any]:
        """Return what the connection proves of the client."""
        return self._proxy.auth_context()

    def time_remaining(self) -> float | None:
        """Return None: the proxy ends the call when the client's time is up."""
        return None

    def is_active(self) -> bool:
        """Return whether the call goes on."""
        return self._active

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have something called when the call ends; return False, and do not, where it has ended already."""
        with self._lock:
            if self._active:
                self._callbacks.append(callback)
            return self._active

    def code(self) -> grpc.StatusCode | None:
        """Return the status of an error; None where there is none."""
        return self._code

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Set what goes with the status."""
        self._trailing = list(metadata)

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with a status; raises `Aborted`."""
        self._code, self._details = code, details
        raise Aborted(details)

    def cancel(self) -> None:
        """End the call: who made it may not be here any longer."""
        self._code, self._details = grpc.StatusCode.CANCELLED, "the server has ended this call; make it again"
        self.end()

    def end(self) -> None:
        """Say to all that work for this call that it is over. The second time does nothing."""
        with self._lock:
            if not self._active:
                return
            self._active = False
            callbacks, awaited = self._callbacks, list(self._awaited)
        for future in awaited:
            future.cancel()
        for callback in callbacks:
            callback()

    def await_in_thread(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it, on a thread of its own.

        Raises:
            concurrent.futures.CancelledError: the call is over.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        with self._lock:
            active = self._active
            if active:
                self._awaited.add(future)
        if not active:
            future.cancel()
        try:
            return future.result()
        finally:
            with self._lock:
                self._awaited.discard(future)

    def send_status(self) -> bool:
        """Give the proxy the status of an error; return whether there is one."""
        if self._code is None:
            return False
        self._proxy.set_code(self._code)
        self._proxy.set_details(self._details)
        self._proxy.set_trailing_metadata(self._trailing)
        return True
