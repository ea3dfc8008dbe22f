"""What happens around every call: errors become status codes, strangers are sent away, a full server says so.

One chain, outermost first. A call without the server's token never counts as one under way.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc

from qupath_sam.errors import QupathSamError, Unauthenticated
from qupath_sam.protocol.status import ERROR_METADATA, error_info
from qupath_sam.server.clients import CallsUnderWay, Clients, peer_of
from qupath_sam.v1 import error_pb2

log = logging.getLogger(__name__)

#: Asked by load balancers, who have no token and learn no more than that the server is up: never refused. But health's
#: Watch is, and reflection: such a stream holds a thread while it is open, and enough of them would stop the server.
_ALWAYS_ANSWERED = "/grpc.health.v1.Health/Check"


def failure(error: BaseException) -> tuple[grpc.StatusCode, error_pb2.ErrorInfo]:
    """Return the status and ErrorInfo of any error.

    A fault of ours is logged under an id, and the client gets the id alone.
    """
    if isinstance(error, QupathSamError):
        return error_info(error)
    if isinstance(error, MemoryError):
        message = "the server ran out of memory; ask for a smaller window or restart it with smaller caches"
        code, reason = grpc.StatusCode.RESOURCE_EXHAUSTED, error_pb2.ERROR_REASON_OUT_OF_MEMORY
        return code, error_pb2.ErrorInfo(reason=reason, message=message, status_code=code.value[0])
    fault = uuid.uuid4().hex[:12]
    log.error("fault %s", fault, exc_info=error)
    code = grpc.StatusCode.INTERNAL
    message = f"a fault of the server ({type(error).__name__}); its log has the details under {fault}"
    return code, error_pb2.ErrorInfo(reason=error_pb2.ERROR_REASON_INTERNAL, message=message, status_code=code.value[0])


class ErrorInterceptor(grpc.ServerInterceptor):
    """Ends a call that raises with the status and the ErrorInfo of its error."""

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler so that its errors become statuses."""
        return wrapped(continuation(details), self._answer, self._stream)

    def _answer(self, behaviour: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return behaviour(request, context)
        except Exception as error:
            _abort(context, error)

    def _stream(self, behaviour: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from behaviour(request, context)
        except Exception as error:
            _abort(context, error)


class TokenInterceptor(grpc.ServerInterceptor):
    """Refuses calls that do not carry one of the server's tokens, before their request is read.

    Args:
        clients: knows the tokens.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Give the handler to callers with a token, and a refusal to all others."""
        if details.method == _ALWAYS_ANSWERED or self._clients.token_in(details.invocation_metadata) is not None:
            return continuation(details)
        # As a stream, whatever the rpc: gRPC receives the request of any other kind before it calls the handler.
        return grpc.stream_stream_rpc_method_handler(_refuse)


def _refuse(requests: Iterator[Any], context: grpc.ServicerContext) -> NoReturn:
    log.warning("refused a call of %s: it had no token, or another one", peer_of(context))
    raise Unauthenticated(
        "this server lets in only who sends a token of its own, and the call had none, another one or a revoked one; "
        "give the client one (--token-file on the command line, `token` in QuPath's client.properties)"
    )


class LimitInterceptor(grpc.ServerInterceptor):
    """Refuses calls beyond a number under way, instead of letting them wait unseen.

    Args:
        calls: counts them, and knows the limits.
        clients: knows who calls.
    """

    def __init__(self, calls: CallsUnderWay, clients: Clients) -> None:
        self._calls = calls
        self._clients = clients

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler so that its calls are counted."""
        handler = continuation(details)
        if details.method == _ALWAYS_ANSWERED:
            return handler
        return wrapped(handler, self._answer, self._stream)

    def _answer(self, behaviour: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Any:
        with self._calls.entered(self._clients.of(context), context, stream=False):
            return behaviour(request, context)

    def _stream(self, behaviour: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with self._calls.entered(self._clients.of(context), context, stream=True):
            yield from behaviour(request, context)


def _abort(context: grpc.ServicerContext, error: Exception) -> None:
    code, info = failure(error)
    context.set_trailing_metadata(((ERROR_METADATA, info.SerializeToString()),))
    context.abort(code, info.message)


def wrapped(handler: Any, answer: Callable[..., Any], stream: Callable[..., Any]) -> Any:
    """Return the handler with its behaviour wrapped; ``answer`` for one response, ``stream`` for many."""
    if handler is None:
        return None
    kinds = {
        (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler, answer),
        (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler, answer),
        (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler, stream),
        (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler, stream),
    }
    name, make, wrap = kinds[handler.request_streaming, handler.response_streaming]
    behaviour = getattr(handler, name)
    return make(
        lambda request, context: wrap(behaviour, request, context),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
