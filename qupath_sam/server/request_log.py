"""One line a request, for people and for programs: who asked for what, how long each part took, and how it ended.

No path, no name of an image and no object's id is in it: they may tell of patients.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from qupath_sam.server.clients import Clients
from qupath_sam.server.interceptors import wrapped

log = logging.getLogger("qupath_sam.requests")

#: Calls that take longer are warnings; a first click on a CPU takes a second.
SLOW_MS = 10_000.0
#: Streams that are open for as long as a person clicks, or as a region is large: never slow.
LONG_METHODS = frozenset({"Live", "SegmentRegion"})
#: Health checks come every few seconds, for ever.
_QUIET = "/grpc.health."
PARTS = ("queue", "read", "encode", "decode", "trace")


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request that has ended.

    Attributes:
        id: of its line.
        client: name of who asked.
        method: ``Predict``, or ``Live.predict`` for one request of a stream.
        code: gRPC's, ``OK``, or the reason of an error within a stream.
        ms: from the request to its end.
        model: as the request named it.
        objects: how many it was about; None where it was about none.
        parts: milliseconds by part.
    """

    id: str
    client: str
    method: str
    code: str
    ms: float
    model: str = ""
    objects: int | None = None
    parts: Mapping[str, float] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """Return what its line says, in order."""
        found: dict[str, Any] = {"id": self.id, "client": self.client, "method": self.method, "code": self.code}
        if self.model:
            found["model"] = self.model
        if self.objects is not None:
            found["objects"] = self.objects
        found["ms"] = round(self.ms, 1)
        return found | {f"{part}_ms": round(ms, 1) for part, ms in self.parts.items()}


class RequestLog:
    """Write a line for each request, and pass it on to listeners."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[RequestRecord], None]] = []

    def on_request(self, listener: Callable[[RequestRecord], None]) -> None:
        """Have ``listener`` called with each request that ends."""
        self._listeners.append(listener)

    def record(self, *, client: str, method: str, request: Any, response: Any, code: str, ms: float) -> None:
        """Write the line of a request that has ended.

        Args:
            client: name of who asked.
            method: ``Predict``, or ``Live.predict`` for one request of a stream.
            request, response: messages; None where there is none.
            code: gRPC's, ``OK``, or the reason of an error within a stream.
            ms: from the request to its end.
        """
        objects, timings = getattr(request, "objects", None), getattr(response, "timings", None)
        record = RequestRecord(
            id=uuid.uuid4().hex[:8],
            client=client,
            method=method,
            code=code,
            ms=ms,
            model=str(getattr(request, "model", "") or "")[:64],
            objects=None if objects is None else len(objects),
            parts={} if timings is None else {part: getattr(timings, f"{part}_ms") for part in PARTS},
        )
        fields = record.fields()
        level = logging.WARNING if ms > SLOW_MS and method not in LONG_METHODS else logging.INFO
        words = " ".join(f"{key}={value!r}" if key == "model" else f"{key}={value}" for key, value in fields.items())
        log.log(level, "%s", words, extra={"request": fields})
        for listener in self._listeners:
            listener(record)


class RequestLogInterceptor(grpc.ServerInterceptor):
    """Has a line written for each call, those that are refused included. The outermost of all.

    Args:
        clients: knows who calls.
        requests: writes.
    """

    def __init__(self, clients: Clients, requests: RequestLog) -> None:
        self._clients = clients
        self._requests = requests

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler so that each call leaves a record."""
        handler = continuation(details)
        if details.method.startswith(_QUIET):
            return handler
        method = details.method.rpartition("/")[2]

        def answer(behaviour: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Any:
            started, response = time.perf_counter(), None
            try:
                response = behaviour(request, context)
                return response
            finally:
                self._record(method, request, response, context, started)

        def stream(behaviour: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            started = time.perf_counter()
            try:
                yield from behaviour(request, context)
            finally:
                self._record(method, None, None, context, started)

        return wrapped(handler, answer, stream)

    def _record(self, method: str, request: Any, response: Any, context: Any, started: float) -> None:
        code = context.code()
        name = code.name if code is not None else "OK" if context.is_active() else "CANCELLED"
        ms = (time.perf_counter() - started) * 1e3
        client = self._clients.of(context).name
        self._requests.record(client=client, method=method, request=request, response=response, code=name, ms=ms)
