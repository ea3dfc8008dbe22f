"""The rpcs of a server that listens before it can answer them: until its gate opens, callers are asked to come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import grpc

from qupath_sam.server.phase import Lifecycle


class Gate(grpc.GenericRpcHandler):
    """Hands calls to the service once there is one.

    Args:
        methods: full names of the service's rpcs, ``/package.Service/Method``.
        lifecycle: says what the server does meanwhile.
    """

    def __init__(self, methods: Sequence[str], lifecycle: Lifecycle) -> None:
        self._methods = frozenset(methods)
        self._lifecycle = lifecycle
        self._handlers: Mapping[str, Any] = {}
        self._is_open = False

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return who answers a call: the service, or one who asks the caller to come back; None for other services."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is not None:
            return handler
        if self._is_open or handler_call_details.method not in self._methods:
            return None
        # As a stream, whatever the rpc: gRPC receives the request of any other kind before it calls the handler.
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    def answer(self, handlers: Mapping[str, Any]) -> None:
        """Have these rpcs answered already, by their full names."""
        self._handlers = {**self._handlers, **handlers}

    def open(self, handlers: Mapping[str, Any]) -> None:
        """Let all calls in."""
        self.answer(handlers)
        self._is_open = True

    def _refuse(self, requests: Iterator[Any], context: grpc.ServicerContext) -> NoReturn:
        raise self._lifecycle.not_ready()


class Handlers:
    """Takes what generated code adds to a server, ``add_XServicer_to_server(servicer, handlers)``.

    Attributes:
        by_name: handlers by the full names of their rpcs.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: `add_registered_method_handlers` is given the same ones."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Take the handlers of a service by the short names of their rpcs."""
        self.by_name |= {f"/{service}/{name}": handler for name, handler in handlers.items()}
