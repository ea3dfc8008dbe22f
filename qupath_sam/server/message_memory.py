"""Messages that have arrived count as memory while they are worked on; what there is no room for is refused at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc

from qupath_sam.errors import ServerBusy
from qupath_sam.server.interceptors import wrapped

#: Smaller messages are not counted: clicks are a few hundred bytes, and as many as calls are under way at most.
COUNTED_BYTES = 256 * 1024


class MessageMemory:
    """So many bytes of messages may be held at once. Safe to use from several threads.

    Args:
        max_bytes: of all together. A larger message is taken while there is no other.
    """

    def __init__(self, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._taken = 0

    @property
    def max_bytes(self) -> int:
        """The limit."""
        return self._max_bytes

    @property
    def taken_bytes(self) -> int:
        """Bytes held now."""
        return self._taken

    def resize(self, max_bytes: int) -> None:
        """Change the limit; what is held stays."""
        self._max_bytes = max_bytes

    @contextmanager
    def holding(self, message: Any) -> Iterator[None]:
        """Count a message for the length of a ``with`` block; raises as `take`."""
        give_back = self.take(message)
        try:
            yield
        finally:
            give_back()

    def take(self, message: Any) -> Callable[[], None]:
        """Count a message until the function that is returned is called, once.

        Raises:
            ServerBusy: there is no room; the caller lets go of the message.
        """
        size = message.ByteSize()
        if size < COUNTED_BYTES:
            return _nothing
        with self._lock:
            if self._taken and self._taken + size > self._max_bytes:
                raise ServerBusy(
                    f"messages of {self._taken >> 20} MiB are worked on, and there is no room for {size >> 20} MiB "
                    "more; try again in a moment"
                )
            self._taken += size
        return partial(self._give_back, size)

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._taken -= size


def _nothing() -> None:
    """Give back what was not counted."""


class MessageInterceptor(grpc.ServerInterceptor):
    """Counts the requests of calls. Those of a stream are counted by `qupath_sam.server.live.LiveSession`.

    Args:
        memory: that they share.
    """

    def __init__(self, memory: MessageMemory) -> None:
        self._memory = memory

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler so that its request is counted while it is worked on."""
        handler = continuation(details)
        if handler is None or handler.request_streaming:
            return handler
        return wrapped(handler, self._answer, self._stream)

    def _answer(self, behaviour: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Any:
        with self._memory.holding(request):
            return behaviour(request, context)

    def _stream(self, behaviour: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with self._memory.holding(request):
            yield from behaviour(request, context)
