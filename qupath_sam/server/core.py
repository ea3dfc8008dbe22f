"""What every call meets, whatever carries it: who is let in, what is counted, the log, the gate of the service."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from grpc_health.v1 import health

from qupath_sam.server.clients import CallsUnderWay, Clients
from qupath_sam.server.gate import Gate
from qupath_sam.server.interceptors import ErrorInterceptor, LimitInterceptor, TokenInterceptor
from qupath_sam.server.message_memory import MessageInterceptor, MessageMemory
from qupath_sam.server.phase import Lifecycle
from qupath_sam.server.request_log import RequestLog, RequestLogInterceptor
from qupath_sam.server.settings import ServerSettings
from qupath_sam.server.status import StatusSource
from qupath_sam.server.tokens import TokenFile, TokenRegistry
from qupath_sam.v1 import segmentation_service_pb2 as pb
from qupath_sam.v1 import status_pb2

SERVICE = pb.DESCRIPTOR.services_by_name["SegmentationService"]
SERVICE_NAME: str = SERVICE.full_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """A server without its port and without its engine.

    Attributes:
        settings: how the server runs.
        gate: takes the service once it is there; ``Status`` is answered before.
        lifecycle: what the server does now.
        health: answers health checks.
        tokens: who is let in.
        clients: who calls.
        calls: what is under way.
        requests: the log of requests.
        messages: the memory of requests that have arrived.
        status: says what the server does.
    """

    settings: ServerSettings
    gate: Gate
    lifecycle: Lifecycle
    health: health.HealthServicer
    tokens: TokenRegistry
    clients: Clients
    calls: CallsUnderWay
    requests: RequestLog
    messages: MessageMemory
    status: StatusSource

    @classmethod
    def of(cls, settings: ServerSettings) -> Core:
        """Return what settings describe.

        Raises:
            InvalidRequest: the file of tokens cannot be used.
        """
        tokens = TokenRegistry(settings.token, TokenFile(settings.tokens) if settings.tokens is not None else None)
        calls, requests = CallsUnderWay(settings.max_calls), RequestLog()
        tokens.on_revoked(calls.end_calls_of)
        messages = MessageMemory(settings.message_bytes)
        checks = health.HealthServicer()
        lifecycle = Lifecycle(checks, ("", SERVICE_NAME))
        status = StatusSource(lifecycle, calls, messages)
        requests.on_request(status.recent.add)
        gate = Gate([f"/{SERVICE_NAME}/{method.name}" for method in SERVICE.methods], lifecycle)
        gate.answer({f"/{SERVICE_NAME}/Status": _status_handler(status)})
        return cls(
            settings=settings,
            gate=gate,
            lifecycle=lifecycle,
            health=checks,
            tokens=tokens,
            clients=Clients(tokens),
            calls=calls,
            requests=requests,
            messages=messages,
            status=status,
        )

    def interceptors(self) -> list[grpc.ServerInterceptor]:
        """Return what happens around every call, outermost first."""
        token = [] if self.tokens.is_open else [TokenInterceptor(self.clients)]
        return [
            RequestLogInterceptor(self.clients, self.requests),
            ErrorInterceptor(),
            *token,
            LimitInterceptor(self.calls, self.clients),
            MessageInterceptor(self.messages),
        ]


def _status_handler(status: StatusSource) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        status.answer,
        request_deserializer=status_pb2.StatusRequest.FromString,
        response_serializer=status_pb2.StatusResponse.SerializeToString,
    )
