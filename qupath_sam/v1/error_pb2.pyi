from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_PROMPT: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_REGION: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_REQUEST: _ClassVar[ErrorReason]
    ERROR_REASON_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_SLIDE_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_SLIDE_UNREADABLE: _ClassVar[ErrorReason]
    ERROR_REASON_SLIDE_MISMATCH: _ClassVar[ErrorReason]
    ERROR_REASON_SLIDE_UNSUPPORTED: _ClassVar[ErrorReason]
    ERROR_REASON_PIXELS_MISSING: _ClassVar[ErrorReason]
    ERROR_REASON_UNKNOWN_MODEL: _ClassVar[ErrorReason]
    ERROR_REASON_WEIGHTS_MISSING: _ClassVar[ErrorReason]
    ERROR_REASON_WRONG_WEIGHTS: _ClassVar[ErrorReason]
    ERROR_REASON_UNSUPPORTED_PROMPT: _ClassVar[ErrorReason]
    ERROR_REASON_OUT_OF_MEMORY: _ClassVar[ErrorReason]
    ERROR_REASON_BUSY: _ClassVar[ErrorReason]
    ERROR_REASON_CANCELLED: _ClassVar[ErrorReason]
    ERROR_REASON_DEADLINE_EXCEEDED: _ClassVar[ErrorReason]
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
    ERROR_REASON_UNAUTHENTICATED: _ClassVar[ErrorReason]
    ERROR_REASON_UNSUPPORTED_PROMPTING: _ClassVar[ErrorReason]
    ERROR_REASON_STARTING: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_INVALID_PROMPT: ErrorReason
ERROR_REASON_INVALID_REGION: ErrorReason
ERROR_REASON_INVALID_REQUEST: ErrorReason
ERROR_REASON_TOO_LARGE: ErrorReason
ERROR_REASON_SLIDE_NOT_FOUND: ErrorReason
ERROR_REASON_SLIDE_UNREADABLE: ErrorReason
ERROR_REASON_SLIDE_MISMATCH: ErrorReason
ERROR_REASON_SLIDE_UNSUPPORTED: ErrorReason
ERROR_REASON_PIXELS_MISSING: ErrorReason
ERROR_REASON_UNKNOWN_MODEL: ErrorReason
ERROR_REASON_WEIGHTS_MISSING: ErrorReason
ERROR_REASON_WRONG_WEIGHTS: ErrorReason
ERROR_REASON_UNSUPPORTED_PROMPT: ErrorReason
ERROR_REASON_OUT_OF_MEMORY: ErrorReason
ERROR_REASON_BUSY: ErrorReason
ERROR_REASON_CANCELLED: ErrorReason
ERROR_REASON_DEADLINE_EXCEEDED: ErrorReason
ERROR_REASON_INTERNAL: ErrorReason
ERROR_REASON_UNAUTHENTICATED: ErrorReason
ERROR_REASON_UNSUPPORTED_PROMPTING: ErrorReason
ERROR_REASON_STARTING: ErrorReason

class ErrorInfo(_message.Message):
    __slots__ = ("reason", "message", "missing_digest", "status_code", "retry_after_ms")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MISSING_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    reason: ErrorReason
    message: str
    missing_digest: bytes
    status_code: int
    retry_after_ms: int
    def __init__(self, reason: _Optional[_Union[ErrorReason, str]] = ..., message: _Optional[str] = ..., missing_digest: _Optional[bytes] = ..., status_code: _Optional[int] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...
