"""The one table from this package's errors to gRPC status codes and reasons of the protocol, both ways."""

from __future__ import annotations

import grpc

from qupath_sam import errors
from qupath_sam.v1 import error_pb2 as pb

#: Trailing metadata that carries a serialised ErrorInfo.
ERROR_METADATA = "qupath-sam-error-bin"

#: Metadata may have 8 KiB, and the message travels twice: percent-encoded (3 bytes for 1) and in the ErrorInfo.
MAX_MESSAGE_BYTES = 1500

#: Every error class: most special first; the first that an error is an instance of holds.
TABLE: tuple[tuple[type[errors.QupathSamError], grpc.StatusCode, pb.ErrorReason], ...] = (
    (errors.InvalidPrompt, grpc.StatusCode.INVALID_ARGUMENT, pb.ERROR_REASON_INVALID_PROMPT),
    (errors.InvalidRegion, grpc.StatusCode.INVALID_ARGUMENT, pb.ERROR_REASON_INVALID_REGION),
    (errors.RequestTooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED, pb.ERROR_REASON_TOO_LARGE),
    (errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT, pb.ERROR_REASON_INVALID_REQUEST),
    (errors.SlideNotFound, grpc.StatusCode.NOT_FOUND, pb.ERROR_REASON_SLIDE_NOT_FOUND),
    (errors.SlideMismatch, grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_SLIDE_MISMATCH),
    (errors.SlideUnsupported, grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_SLIDE_UNSUPPORTED),
    (errors.MissingPackage, grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_SLIDE_UNSUPPORTED),
    (errors.SlideUnreadable, grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_SLIDE_UNREADABLE),
    (errors.PixelsMissing, grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_PIXELS_MISSING),
    (errors.UnknownModel, grpc.StatusCode.NOT_FOUND, pb.ERROR_REASON_UNKNOWN_MODEL),
    (errors.WeightsMissing, grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_WEIGHTS_MISSING),
    (errors.WrongWeights, grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_WRONG_WEIGHTS),
    (errors.UnsupportedPrompt, grpc.StatusCode.INVALID_ARGUMENT, pb.ERROR_REASON_UNSUPPORTED_PROMPT),
    (errors.UnsupportedPrompting, grpc.StatusCode.UNIMPLEMENTED, pb.ERROR_REASON_UNSUPPORTED_PROMPTING),
    (errors.OutOfMemory, grpc.StatusCode.RESOURCE_EXHAUSTED, pb.ERROR_REASON_OUT_OF_MEMORY),
    (errors.ServerBusy, grpc.StatusCode.UNAVAILABLE, pb.ERROR_REASON_BUSY),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED, pb.ERROR_REASON_UNAUTHENTICATED),
    (errors.Cancelled, grpc.StatusCode.CANCELLED, pb.ERROR_REASON_CANCELLED),
    (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED, pb.ERROR_REASON_DEADLINE_EXCEEDED),
    (errors.ServerStarting, grpc.StatusCode.UNAVAILABLE, pb.ERROR_REASON_STARTING),
    (errors.ServerUnavailable, grpc.StatusCode.UNAVAILABLE, pb.ERROR_REASON_BUSY),
    (errors.SlideError, grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_SLIDE_UNREADABLE),
    (errors.ModelError, grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_WRONG_WEIGHTS),
    (errors.ProjectError, grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_INVALID_REQUEST),
    (errors.QupathSamError, grpc.StatusCode.INTERNAL, pb.ERROR_REASON_INTERNAL),
)


def error_info(error: errors.QupathSamError) -> tuple[grpc.StatusCode, pb.ErrorInfo]:
    """Return the status code and the ErrorInfo that stand for an error."""
    code, reason = next((code, reason) for kind, code, reason in TABLE if isinstance(error, kind))
    info = pb.ErrorInfo(reason=reason, message=_sendable(str(error)), status_code=code.value[0])
    if isinstance(error, errors.PixelsMissing):
        info.missing_digest = bytes.fromhex(error.digest)
    if isinstance(error, errors.ServerStarting):
        info.retry_after_ms = round(error.retry_after_s * 1e3)
    return code, info


def _sendable(message: str) -> str:
    """Return the message without lone surrogates, and without its middle where it is too long for gRPC."""
    encoded = message.encode("utf-8", "replace")
    if len(encoded) > MAX_MESSAGE_BYTES:
        half = MAX_MESSAGE_BYTES // 2
        encoded = encoded[:half] + " … ".encode() + encoded[-half:]
    return encoded.decode("utf-8", "ignore")


def error_of(info: pb.ErrorInfo) -> errors.QupathSamError:
    """Return the error that an ErrorInfo stands for, for the client to raise."""
    if info.reason == pb.ERROR_REASON_PIXELS_MISSING:
        return errors.PixelsMissing(info.missing_digest.hex())
    if info.reason == pb.ERROR_REASON_STARTING:
        return errors.ServerStarting(info.message, retry_after_s=info.retry_after_ms / 1e3 or 1.0)
    kind = next((kind for kind, _, reason in TABLE if reason == info.reason), errors.QupathSamError)
    return kind(info.message)
