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

class Doubt(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DOUBT_UNSPECIFIED: _ClassVar[Doubt]
    DOUBT_LOW_SCORE: _ClassVar[Doubt]
    DOUBT_LARGE: _ClassVar[Doubt]
    DOUBT_BACKGROUND: _ClassVar[Doubt]

class RefusalReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_REASON_UNSPECIFIED: _ClassVar[RefusalReason]
    REFUSAL_REASON_OLD_OUTSIDE: _ClassVar[RefusalReason]
    REFUSAL_REASON_LARGER_THAN_WINDOW: _ClassVar[RefusalReason]
    REFUSAL_REASON_EMPTY: _ClassVar[RefusalReason]
    REFUSAL_REASON_INVALID: _ClassVar[RefusalReason]
    REFUSAL_REASON_OUTSIDE: _ClassVar[RefusalReason]
    REFUSAL_REASON_LOW_SCORE: _ClassVar[RefusalReason]
    REFUSAL_REASON_LOW_IOU: _ClassVar[RefusalReason]
    REFUSAL_REASON_AREA_CHANGE: _ClassVar[RefusalReason]
    REFUSAL_REASON_PART_LOST: _ClassVar[RefusalReason]
    REFUSAL_REASON_HOLE_LOST: _ClassVar[RefusalReason]
    REFUSAL_REASON_CUT_OFF: _ClassVar[RefusalReason]
    REFUSAL_REASON_OLD_INVALID: _ClassVar[RefusalReason]
EMBEDDING_SOURCE_UNSPECIFIED: EmbeddingSource
EMBEDDING_SOURCE_MEMORY: EmbeddingSource
EMBEDDING_SOURCE_DISK: EmbeddingSource
EMBEDDING_SOURCE_COMPUTED: EmbeddingSource
EMBEDDING_SOURCE_SHARED: EmbeddingSource
DOUBT_UNSPECIFIED: Doubt
DOUBT_LOW_SCORE: Doubt
DOUBT_LARGE: Doubt
DOUBT_BACKGROUND: Doubt
REFUSAL_REASON_UNSPECIFIED: RefusalReason
REFUSAL_REASON_OLD_OUTSIDE: RefusalReason
REFUSAL_REASON_LARGER_THAN_WINDOW: RefusalReason
REFUSAL_REASON_EMPTY: RefusalReason
REFUSAL_REASON_INVALID: RefusalReason
REFUSAL_REASON_OUTSIDE: RefusalReason
REFUSAL_REASON_LOW_SCORE: RefusalReason
REFUSAL_REASON_LOW_IOU: RefusalReason
REFUSAL_REASON_AREA_CHANGE: RefusalReason
REFUSAL_REASON_PART_LOST: RefusalReason
REFUSAL_REASON_HOLE_LOST: RefusalReason
REFUSAL_REASON_CUT_OFF: RefusalReason
REFUSAL_REASON_OLD_INVALID: RefusalReason

class SegmentedMask(_message.Message):
    __slots__ = ("geometry_wkb", "score", "area_px2", "area_um2", "mask_index", "window")
    GEOMETRY_WKB_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    AREA_PX2_FIELD_NUMBER: _ClassVar[int]
    AREA_UM2_FIELD_NUMBER: _ClassVar[int]
    MASK_INDEX_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    geometry_wkb: bytes
    score: float
    area_px2: float
    area_um2: float
    mask_index: int
    window: _image_pb2.Window
    def __init__(self, geometry_wkb: _Optional[bytes] = ..., score: _Optional[float] = ..., area_px2: _Optional[float] = ..., area_um2: _Optional[float] = ..., mask_index: _Optional[int] = ..., window: _Optional[_Union[_image_pb2.Window, _Mapping]] = ...) -> None: ...

class ObjectResult(_message.Message):
    __slots__ = ("object_id", "masks", "window", "touches_window_edge", "token", "resumed_steps", "embedding_source", "refinement", "doubts")
    OBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    TOUCHES_WINDOW_EDGE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESUMED_STEPS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SOURCE_FIELD_NUMBER: _ClassVar[int]
    REFINEMENT_FIELD_NUMBER: _ClassVar[int]
    DOUBTS_FIELD_NUMBER: _ClassVar[int]
    object_id: str
    masks: _containers.RepeatedCompositeFieldContainer[SegmentedMask]
    window: _image_pb2.Window
    touches_window_edge: bool
    token: bytes
    resumed_steps: int
    embedding_source: EmbeddingSource
    refinement: Refinement
    doubts: _containers.RepeatedScalarFieldContainer[Doubt]
    def __init__(self, object_id: _Optional[str] = ..., masks: _Optional[_Iterable[_Union[SegmentedMask, _Mapping]]] = ..., window: _Optional[_Union[_image_pb2.Window, _Mapping]] = ..., touches_window_edge: bool = ..., token: _Optional[bytes] = ..., resumed_steps: _Optional[int] = ..., embedding_source: _Optional[_Union[EmbeddingSource, str]] = ..., refinement: _Optional[_Union[Refinement, _Mapping]] = ..., doubts: _Optional[_Iterable[_Union[Doubt, str]]] = ...) -> None: ...

class Refinement(_message.Message):
    __slots__ = ("refusal", "refusal_text", "iou", "refused")
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_TEXT_FIELD_NUMBER: _ClassVar[int]
    IOU_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    refusal: RefusalReason
    refusal_text: str
    iou: float
    refused: SegmentedMask
    def __init__(self, refusal: _Optional[_Union[RefusalReason, str]] = ..., refusal_text: _Optional[str] = ..., iou: _Optional[float] = ..., refused: _Optional[_Union[SegmentedMask, _Mapping]] = ...) -> None: ...

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
