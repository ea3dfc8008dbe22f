from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ServerPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVER_PHASE_UNSPECIFIED: _ClassVar[ServerPhase]
    SERVER_PHASE_STARTING: _ClassVar[ServerPhase]
    SERVER_PHASE_SERVING: _ClassVar[ServerPhase]
    SERVER_PHASE_STOPPING: _ClassVar[ServerPhase]
SERVER_PHASE_UNSPECIFIED: ServerPhase
SERVER_PHASE_STARTING: ServerPhase
SERVER_PHASE_SERVING: ServerPhase
SERVER_PHASE_STOPPING: ServerPhase

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("server_version", "phase", "phase_text", "uptime_s", "device", "default_model", "loaded_models", "clients", "calls", "streams", "max_calls", "process_bytes", "device_memory_bytes", "queue", "caches", "turns", "methods", "recent", "lanes")
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PHASE_TEXT_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    LOADED_MODELS_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    MAX_CALLS_FIELD_NUMBER: _ClassVar[int]
    PROCESS_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    CACHES_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    server_version: str
    phase: ServerPhase
    phase_text: str
    uptime_s: float
    device: str
    default_model: str
    loaded_models: _containers.RepeatedScalarFieldContainer[str]
    clients: int
    calls: int
    streams: int
    max_calls: int
    process_bytes: int
    device_memory_bytes: int
    queue: _containers.RepeatedCompositeFieldContainer[QueueStatus]
    caches: _containers.RepeatedCompositeFieldContainer[CacheStatus]
    turns: _containers.RepeatedCompositeFieldContainer[TurnStatus]
    methods: _containers.RepeatedCompositeFieldContainer[MethodStatus]
    recent: _containers.RepeatedCompositeFieldContainer[RequestStatus]
    lanes: _containers.RepeatedCompositeFieldContainer[LaneStatus]
    def __init__(self, server_version: _Optional[str] = ..., phase: _Optional[_Union[ServerPhase, str]] = ..., phase_text: _Optional[str] = ..., uptime_s: _Optional[float] = ..., device: _Optional[str] = ..., default_model: _Optional[str] = ..., loaded_models: _Optional[_Iterable[str]] = ..., clients: _Optional[int] = ..., calls: _Optional[int] = ..., streams: _Optional[int] = ..., max_calls: _Optional[int] = ..., process_bytes: _Optional[int] = ..., device_memory_bytes: _Optional[int] = ..., queue: _Optional[_Iterable[_Union[QueueStatus, _Mapping]]] = ..., caches: _Optional[_Iterable[_Union[CacheStatus, _Mapping]]] = ..., turns: _Optional[_Iterable[_Union[TurnStatus, _Mapping]]] = ..., methods: _Optional[_Iterable[_Union[MethodStatus, _Mapping]]] = ..., recent: _Optional[_Iterable[_Union[RequestStatus, _Mapping]]] = ..., lanes: _Optional[_Iterable[_Union[LaneStatus, _Mapping]]] = ...) -> None: ...

class LaneStatus(_message.Message):
    __slots__ = ("name", "loaded_models", "queue", "turns", "embeddings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LOADED_MODELS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    loaded_models: _containers.RepeatedScalarFieldContainer[str]
    queue: _containers.RepeatedCompositeFieldContainer[QueueStatus]
    turns: _containers.RepeatedCompositeFieldContainer[TurnStatus]
    embeddings: CacheStatus
    def __init__(self, name: _Optional[str] = ..., loaded_models: _Optional[_Iterable[str]] = ..., queue: _Optional[_Iterable[_Union[QueueStatus, _Mapping]]] = ..., turns: _Optional[_Iterable[_Union[TurnStatus, _Mapping]]] = ..., embeddings: _Optional[_Union[CacheStatus, _Mapping]] = ...) -> None: ...

class QueueStatus(_message.Message):
    __slots__ = ("priority", "waiting")
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    priority: str
    waiting: int
    def __init__(self, priority: _Optional[str] = ..., waiting: _Optional[int] = ...) -> None: ...

class CacheStatus(_message.Message):
    __slots__ = ("name", "entries", "bytes", "max_bytes", "hits", "misses", "evictions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    entries: int
    bytes: int
    max_bytes: int
    hits: int
    misses: int
    evictions: int
    def __init__(self, name: _Optional[str] = ..., entries: _Optional[int] = ..., bytes: _Optional[int] = ..., max_bytes: _Optional[int] = ..., hits: _Optional[int] = ..., misses: _Optional[int] = ..., evictions: _Optional[int] = ...) -> None: ...

class TurnStatus(_message.Message):
    __slots__ = ("kind", "turns", "items", "seconds")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    turns: int
    items: int
    seconds: float
    def __init__(self, kind: _Optional[str] = ..., turns: _Optional[int] = ..., items: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class MethodStatus(_message.Message):
    __slots__ = ("method", "requests", "failed", "p50_ms", "p95_ms", "max_ms")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_MS_FIELD_NUMBER: _ClassVar[int]
    method: str
    requests: int
    failed: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    def __init__(self, method: _Optional[str] = ..., requests: _Optional[int] = ..., failed: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., max_ms: _Optional[float] = ...) -> None: ...

class RequestStatus(_message.Message):
    __slots__ = ("ago_s", "method", "model", "objects", "total_ms", "queue_ms", "read_ms", "encode_ms", "decode_ms", "trace_ms", "code")
    AGO_S_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    READ_MS_FIELD_NUMBER: _ClassVar[int]
    ENCODE_MS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    TRACE_MS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ago_s: float
    method: str
    model: str
    objects: int
    total_ms: float
    queue_ms: float
    read_ms: float
    encode_ms: float
    decode_ms: float
    trace_ms: float
    code: str
    def __init__(self, ago_s: _Optional[float] = ..., method: _Optional[str] = ..., model: _Optional[str] = ..., objects: _Optional[int] = ..., total_ms: _Optional[float] = ..., queue_ms: _Optional[float] = ..., read_ms: _Optional[float] = ..., encode_ms: _Optional[float] = ..., decode_ms: _Optional[float] = ..., trace_ms: _Optional[float] = ..., code: _Optional[str] = ...) -> None: ...
