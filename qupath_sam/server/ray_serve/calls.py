"""Handlers of gRPC, which work on threads, for an event loop that awaits their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import grpc

from qupath_sam.server.ray_serve.context import Aborted, CallContext, ProxyContext

#: Ends a stream of requests or answers.
_END = object()


class CallDetails(NamedTuple):
    """What an interceptor sees of a call (`grpc.HandlerCallDetails`)."""

    method: str
    invocation_metadata: Sequence[tuple[str, str | bytes]]


class Calls:
    """Answers calls by handlers, as a gRPC server does.

    Args:
        handler_of: who answers a call.
        interceptors: what happens around every call, outermost first.
        threads: most calls at once, open streams included.
    """

    def __init__(
        self,
        handler_of: Callable[[CallDetails], Any],
        interceptors: Sequence[grpc.ServerInterceptor],
        *,
        threads: int,
    ) -> None:
        for interceptor in reversed(interceptors):
            handler_of = partial(interceptor.intercept_service, handler_of)
        self._handler_of = handler_of
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="qupath-sam-call")

    def close(self) -> None:
        """Take no more calls."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def unary(self, method: str, request: Any, proxy: ProxyContext, empty: Callable[[], Any]) -> Any:
        """Answer a call of one request and one response.

        Args:
            method: full name of the rpc, ``/package.Service/Method``.
            request: its message.
            proxy: gets the status of an error, which travels with an ``empty`` response.
            empty: makes a response for an error.
        """
        loop = asyncio.get_running_loop()
        context = CallContext(proxy, loop)
        try:
            answers = partial(self._answers, method, iter((request,)), context)
            answer = await loop.run_in_executor(self._pool, lambda: next(answers(), None))
        finally:
            context.end()
        return empty() if context.send_status() or answer is None else answer

    async def stream(
        self, method: str, requests: Any, proxy: ProxyContext, empty: Callable[[], Any]
    ) -> AsyncIterator[Any]:
        """Answer a call of many responses.

        Args:
            method: full name of the rpc.
            requests: one message, or an asynchronous iterator of them.
            proxy, empty: as `unary`; an ``empty`` response goes before the status of an error.
        """
        loop = asyncio.get_running_loop()
        context = CallContext(proxy, loop)
        given: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        arriving = _arriving(requests, context) if hasattr(requests, "__anext__") else iter((requests,))
        work = loop.run_in_executor(self._pool, self._give, method, arriving, context, given)
        try:
            while (answer := await given.get()) is not _END:
                yield answer
            await work
            if context.send_status():
                yield empty()
        finally:
            context.end()

    def _give(self, method: str, requests: Iterator[Any], context: CallContext, given: asyncio.Queue[Any]) -> None:
        """Put the answers of a call, then the end, into a queue; on a thread of its own, as they come."""
        answers = self._answers(method, requests, context)
        try:
            for answer in answers:
                context.await_in_thread(given.put(answer))
        except CancelledError:
            # Nobody takes the answers any longer.
            answers.close()
        finally:
            with suppress(CancelledError):
                context.await_in_thread(given.put(_END))

    def _answers(self, method: str, requests: Iterator[Any], context: CallContext) -> Generator[Any]:
        """Yield the answers of a call; an error ends them, and the context has its status."""
        details = CallDetails(method, tuple(context.invocation_metadata()))
        handler = self._handler_of(details)
        argument: Any = requests if handler.request_streaming else next(requests)
        try:
            answered = _behaviour(handler)(argument, context)
            yield from answered if handler.response_streaming else (answered,)
        except Aborted:
            return


def _behaviour(handler: Any) -> Callable[[Any, CallContext], Any]:
    streaming = (handler.request_streaming, handler.response_streaming)
    names = {
        (False, False): "unary_unary",
        (False, True): "unary_stream",
        (True, False): "stream_unary",
        (True, True): "stream_stream",
    }
    behaviour: Callable[[Any, CallContext], Any] = getattr(handler, names[streaming])
    return behaviour


def _arriving(requests: Any, context: CallContext) -> Iterator[Any]:
    """Yield requests of an asynchronous iterator, on a thread; raises `CancelledError` when the call is over."""

    async def following() -> Any:
        return await anext(requests, _END)

    while (request := context.await_in_thread(following())) is not _END:
        yield request
