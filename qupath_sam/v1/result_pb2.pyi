from qupath_sam.v1 import image_pb2 as _image_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EmbeddingSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMBEDDING_SOURCE_UNSPECIFIED: _ClassVar[EmbeddingSource]
    EMBEDDING_SOURCE_MEMORY: _ClassVar[EmbeddingSource]
    EMBEDDING_SOURCE_DISK: _ClassVar[EmbeddingSource]
    EMBEDDING_SOURCE_COMPUTED: _ClassVar[EmbeddingSource]
    EMBEDDING_SOURCE_SHARED: _ClassVar[EmbeddingSource]
EMBEDDING_SOURCE_UNSPECIFIED: EmbeddingSource
EMBEDDING_SOURCE_MEMORY: EmbeddingSource
EMBEDDING_SOURCE_DISK: EmbeddingSource
EMBEDDING_SOURCE_COMPUTED: EmbeddingSource
EMBEDDING_SOURCE_SHARED: EmbeddingSource

class SegmentedMask(_message.Message):
    __slots__ = ("geometry_wkb", "score", "area_px2", "area_um2")
    GEOMETRY_WKB_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    AREA_PX2_FIELD_NUMBER: _ClassVar[int]
    AREA_UM2_FIELD_NUMBER: _ClassVar[int]
    geometry_wkb: bytes
    score: float
    area_px2: float
    area_um2: float
    def __init__(self, geometry_wkb: _Optional[bytes] = ..., score: _Optional[float] = ..., area_px2: _Optional[float] = ..., area_um2: _Optional[float] = ...) -> None: ...

class ObjectResult(_message.Message):
    __slots__ = ("object_id", "masks", "window", "touches_window_edge", "token", "resumed_steps", "embedding_source")
    OBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    TOUCHES_WINDOW_EDGE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESUMED_STEPS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SOURCE_FIELD_NUMBER: _ClassVar[int]
    object_id: str
    masks: _containers.RepeatedCompositeFieldContainer[SegmentedMask]
    window: _image_pb2.Window
    touches_window_edge: bool
    token: bytes
    resumed_steps: int
    embedding_source: EmbeddingSource
    def __init__(self, object_id: _Optional[str] = ..., masks: _Optional[_Iterable[_Union[SegmentedMask, _Mapping]]] = ..., window: _Optional[_Union[_image_pb2.Window, _Mapping]] = ..., touches_window_edge: bool = ..., token: _Optional[bytes] = ..., resumed_steps: _Optional[int] = ..., embedding_source: _Optional[_Union[EmbeddingSource, str]] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("total_ms", "queue_ms", "read_ms", "encode_ms", "decode_ms", "trace_ms")
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    READ_MS_FIELD_NUMBER: _ClassVar[int]
    ENCODE_MS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    TRACE_MS_FIELD_NUMBER: _ClassVar[int]
    total_ms: float
    queue_ms: float
    read_ms: float
    encode_ms: float
    decode_ms: float
    trace_ms: float
    def __init__(self, total_ms: _Optional[float] = ..., queue_ms: _Optional[float] = ..., read_ms: _Optional[float] = ..., encode_ms: _Optional[float] = ..., decode_ms: _Optional[float] = ..., trace_ms: _Optional[float] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("model", "weights_sha256", "preprocessing_version", "server_version", "image_fingerprint", "pixel_source", "device", "mpp", "remarks")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SOURCE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MPP_FIELD_NUMBER: _ClassVar[int]
    REMARKS_FIELD_NUMBER: _ClassVar[int]
    model: str
    weights_sha256: str
    preprocessing_version: str
    server_version: str
    image_fingerprint: str
    pixel_source: str
    device: str
    mpp: float
    remarks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., preprocessing_version: _Optional[str] = ..., server_version: _Optional[str] = ..., image_fingerprint: _Optional[str] = ..., pixel_source: _Optional[str] = ..., device: _Optional[str] = ..., mpp: _Optional[float] = ..., remarks: _Optional[_Iterable[str]] = ...) -> None: ...
