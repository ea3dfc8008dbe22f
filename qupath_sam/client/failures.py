"""This package's errors from failed rpcs: callers catch one kind of error, whichever side failed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import grpc

from qupath_sam import errors
from qupath_sam.protocol.status import ERROR_METADATA, error_of
from qupath_sam.v1 import error_pb2

#: What gRPC's words about a failed handshake mean for the user.
_HANDSHAKE_FAULTS = (
    ("WRONG_VERSION_NUMBER", "does not speak TLS", "leave TLS out, or start it with --tls-certificate"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "does not prove who it is",
        "trust it or its authority with --tls-ca",
    ),
    ("Hostname Verification", "has a certificate for another name", "connect by a name that is in the certificate"),
)
#: What a plain client sees of a server that waits for a TLS handshake, and of one that breaks off.
_BROKEN_OFF = ("Socket closed", "Connection reset")
#: How Ray Serve's proxy begins where the replica that worked on a call has gone (`ray.exceptions.RayActorError`): there
#: is no status of its own for that. This server's own faults carry an ErrorInfo.
_LOST_REPLICA = "The actor "
#: What gRPC says where a front answers for a server that it has lost or cannot reach: HTTP's 502 to 504 of NGINX, and
#: Envoy's own words.
_LOST_BEHIND_FRONT = re.compile(r"http2 header with status: 50[234]|^upstream connect error|^no healthy upstream")


def error_from(rpc_error: grpc.RpcError, address: str) -> errors.QupathSamError:
    """Return the error that a failed rpc stands for; its ErrorInfo where the server sent one."""
    metadata: Iterable[Any] = rpc_error.trailing_metadata() or ()
    for key, value in metadata:
        if key == ERROR_METADATA:
            return error_of(error_pb2.ErrorInfo.FromString(value))
    code, details = rpc_error.code(), rpc_error.details() or ""
    if _is_lost(code, details):
        lost = details.partition("\n")[0]
        return errors.ServerBusy(f"the server behind {address} that worked on this has gone ({lost}); ask again")
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.ServerUnavailable(_unavailable(address, details))
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return errors.Unauthenticated(f"{address} does not let us in ({details}); give its token with --token-file")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded(
            f"the server at {address} did not answer in time; allow more, or look at its load"
        )
    if code is grpc.StatusCode.CANCELLED:
        return errors.Cancelled("the call was cancelled; make it again if it is still wanted")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.RequestTooLarge(f"{details}; send a smaller region or fewer objects")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return errors.ServerUnavailable(
            f"what answers at {address} is no qupath-sam server, or one of another version; check host and port"
        )
    return errors.QupathSamError(f"{code.name}: {details}; see the log of the server at {address}")


def _is_lost(code: grpc.StatusCode, details: str) -> bool:
    """Return whether one of several servers behind an address has gone in the middle of a call."""
    if code is grpc.StatusCode.INTERNAL:
        return details.startswith(_LOST_REPLICA)
    return code is grpc.StatusCode.UNAVAILABLE and _LOST_BEHIND_FRONT.search(details) is not None


def _unavailable(address: str, details: str) -> str:
    for words, fault, remedy in _HANDSHAKE_FAULTS:
        if words in details:
            return f"the server at {address} {fault} ({details}); {remedy}"
    message = f"no server answers at {address} ({details}); start one with `qupath-sam serve`, or check host and port"
    if any(words in details for words in _BROKEN_OFF):
        message += ", or say --tls where it speaks TLS, or show a certificate (QUPATH_SAM_CERTIFICATE)"
    return message
