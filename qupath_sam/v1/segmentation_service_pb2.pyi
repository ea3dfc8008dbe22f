from qupath_sam.v1 import error_pb2 as _error_pb2
from qupath_sam.v1 import image_pb2 as _image_pb2
from qupath_sam.v1 import prompt_pb2 as _prompt_pb2
from qupath_sam.v1 import region_pb2 as _region_pb2
from qupath_sam.v1 import result_pb2 as _result_pb2
from qupath_sam.v1 import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EmbedMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMBED_MODE_UNSPECIFIED: _ClassVar[EmbedMode]
    EMBED_MODE_WAIT: _ClassVar[EmbedMode]
    EMBED_MODE_START: _ClassVar[EmbedMode]
    EMBED_MODE_QUERY: _ClassVar[EmbedMode]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_INTERACTIVE: _ClassVar[Priority]
    PRIORITY_BATCH: _ClassVar[Priority]
EMBED_MODE_UNSPECIFIED: EmbedMode
EMBED_MODE_WAIT: EmbedMode
EMBED_MODE_START: EmbedMode
EMBED_MODE_QUERY: EmbedMode
PRIORITY_UNSPECIFIED: Priority
PRIORITY_INTERACTIVE: Priority
PRIORITY_BATCH: Priority

class GetCapabilitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCapabilitiesResponse(_message.Message):
    __slots__ = ("server_version", "protocol_version", "default_model", "device", "max_message_bytes", "max_objects", "max_pushed_pixels", "reads_slides", "max_points")
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    MAX_PUSHED_PIXELS_FIELD_NUMBER: _ClassVar[int]
    READS_SLIDES_FIELD_NUMBER: _ClassVar[int]
    MAX_POINTS_FIELD_NUMBER: _ClassVar[int]
    server_version: str
    protocol_version: int
    default_model: str
    device: str
    max_message_bytes: int
    max_objects: int
    max_pushed_pixels: int
    reads_slides: bool
    max_points: int
    def __init__(self, server_version: _Optional[str] = ..., protocol_version: _Optional[int] = ..., default_model: _Optional[str] = ..., device: _Optional[str] = ..., max_message_bytes: _Optional[int] = ..., max_objects: _Optional[int] = ..., max_pushed_pixels: _Optional[int] = ..., reads_slides: bool = ..., max_points: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("name", "family", "title", "input_size", "mask_count", "takes_points", "takes_boxes", "takes_mask_prompt", "weights_sha256", "licence", "loaded", "available", "automatic_objects")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    INPUT_SIZE_FIELD_NUMBER: _ClassVar[int]
    MASK_COUNT_FIELD_NUMBER: _ClassVar[int]
    TAKES_POINTS_FIELD_NUMBER: _ClassVar[int]
    TAKES_BOXES_FIELD_NUMBER: _ClassVar[int]
    TAKES_MASK_PROMPT_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    AUTOMATIC_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    family: str
    title: str
    input_size: int
    mask_count: int
    takes_points: bool
    takes_boxes: bool
    takes_mask_prompt: bool
    weights_sha256: str
    licence: str
    loaded: bool
    available: bool
    automatic_objects: _containers.RepeatedScalarFieldContainer[_region_pb2.ObjectKind]
    def __init__(self, name: _Optional[str] = ..., family: _Optional[str] = ..., title: _Optional[str] = ..., input_size: _Optional[int] = ..., mask_count: _Optional[int] = ..., takes_points: bool = ..., takes_boxes: bool = ..., takes_mask_prompt: bool = ..., weights_sha256: _Optional[str] = ..., licence: _Optional[str] = ..., loaded: bool = ..., available: bool = ..., automatic_objects: _Optional[_Iterable[_Union[_region_pb2.ObjectKind, str]]] = ...) -> None: ...

class DescribeImageRequest(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.ImageRef
    def __init__(self, image: _Optional[_Union[_image_pb2.ImageRef, _Mapping]] = ...) -> None: ...

class DescribeImageResponse(_message.Message):
    __slots__ = ("width", "height", "mpp", "level_downsamples", "fingerprint", "pixel_source", "remarks", "scales", "channels", "size_z", "size_t")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MPP_FIELD_NUMBER: _ClassVar[int]
    LEVEL_DOWNSAMPLES_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SOURCE_FIELD_NUMBER: _ClassVar[int]
    REMARKS_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    SIZE_Z_FIELD_NUMBER: _ClassVar[int]
    SIZE_T_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    mpp: float
    level_downsamples: _containers.RepeatedScalarFieldContainer[float]
    fingerprint: str
    pixel_source: str
    remarks: _containers.RepeatedScalarFieldContainer[str]
    scales: _containers.RepeatedScalarFieldContainer[float]
    channels: _containers.RepeatedScalarFieldContainer[str]
    size_z: int
    size_t: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., mpp: _Optional[float] = ..., level_downsamples: _Optional[_Iterable[float]] = ..., fingerprint: _Optional[str] = ..., pixel_source: _Optional[str] = ..., remarks: _Optional[_Iterable[str]] = ..., scales: _Optional[_Iterable[float]] = ..., channels: _Optional[_Iterable[str]] = ..., size_z: _Optional[int] = ..., size_t: _Optional[int] = ...) -> None: ...

class PushPixelsRequest(_message.Message):
    __slots__ = ("format", "data", "pixel_width", "pixel_height", "region", "image_width", "image_height", "mpp", "rendering")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    PIXEL_WIDTH_FIELD_NUMBER: _ClassVar[int]
    PIXEL_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MPP_FIELD_NUMBER: _ClassVar[int]
    RENDERING_FIELD_NUMBER: _ClassVar[int]
    format: _image_pb2.PixelFormat
    data: bytes
    pixel_width: int
    pixel_height: int
    region: _image_pb2.Region
    image_width: int
    image_height: int
    mpp: float
    rendering: str
    def __init__(self, format: _Optional[_Union[_image_pb2.PixelFormat, str]] = ..., data: _Optional[bytes] = ..., pixel_width: _Optional[int] = ..., pixel_height: _Optional[int] = ..., region: _Optional[_Union[_image_pb2.Region, _Mapping]] = ..., image_width: _Optional[int] = ..., image_height: _Optional[int] = ..., mpp: _Optional[float] = ..., rendering: _Optional[str] = ...) -> None: ...

class PushPixelsResponse(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    def __init__(self, digest: _Optional[bytes] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("image", "model", "window", "view", "focus", "max_windows", "mode", "priority")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    FOCUS_FIELD_NUMBER: _ClassVar[int]
    MAX_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.ImageRef
    model: str
    window: _prompt_pb2.WindowOptions
    view: _image_pb2.Region
    focus: _prompt_pb2.Point
    max_windows: int
    mode: EmbedMode
    priority: Priority
    def __init__(self, image: _Optional[_Union[_image_pb2.ImageRef, _Mapping]] = ..., model: _Optional[str] = ..., window: _Optional[_Union[_prompt_pb2.WindowOptions, _Mapping]] = ..., view: _Optional[_Union[_image_pb2.Region, _Mapping]] = ..., focus: _Optional[_Union[_prompt_pb2.Point, _Mapping]] = ..., max_windows: _Optional[int] = ..., mode: _Optional[_Union[EmbedMode, str]] = ..., priority: _Optional[_Union[Priority, str]] = ...) -> None: ...

class EmbeddingStatus(_message.Message):
    __slots__ = ("window", "ready", "source")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    window: _image_pb2.Window
    ready: bool
    source: _result_pb2.EmbeddingSource
    def __init__(self, window: _Optional[_Union[_image_pb2.Window, _Mapping]] = ..., ready: bool = ..., source: _Optional[_Union[_result_pb2.EmbeddingSource, str]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("embeddings", "timings")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    embeddings: _containers.RepeatedCompositeFieldContainer[EmbeddingStatus]
    timings: _result_pb2.Timings
    def __init__(self, embeddings: _Optional[_Iterable[_Union[EmbeddingStatus, _Mapping]]] = ..., timings: _Optional[_Union[_result_pb2.Timings, _Mapping]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("image", "model", "objects", "window", "output", "priority", "refine")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REFINE_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.ImageRef
    model: str
    objects: _containers.RepeatedCompositeFieldContainer[_prompt_pb2.ObjectPrompts]
    window: _prompt_pb2.WindowOptions
    output: _prompt_pb2.OutputOptions
    priority: Priority
    refine: _prompt_pb2.RefineOptions
    def __init__(self, image: _Optional[_Union[_image_pb2.ImageRef, _Mapping]] = ..., model: _Optional[str] = ..., objects: _Optional[_Iterable[_Union[_prompt_pb2.ObjectPrompts, _Mapping]]] = ..., window: _Optional[_Union[_prompt_pb2.WindowOptions, _Mapping]] = ..., output: _Optional[_Union[_prompt_pb2.OutputOptions, _Mapping]] = ..., priority: _Optional[_Union[Priority, str]] = ..., refine: _Optional[_Union[_prompt_pb2.RefineOptions, _Mapping]] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("results", "provenance", "timings")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_result_pb2.ObjectResult]
    provenance: _result_pb2.Provenance
    timings: _result_pb2.Timings
    def __init__(self, results: _Optional[_Iterable[_Union[_result_pb2.ObjectResult, _Mapping]]] = ..., provenance: _Optional[_Union[_result_pb2.Provenance, _Mapping]] = ..., timings: _Optional[_Union[_result_pb2.Timings, _Mapping]] = ...) -> None: ...

class LiveRequest(_message.Message):
    __slots__ = ("request_id", "supersedes_key", "predict", "embed", "cancel_request_id")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDES_KEY_FIELD_NUMBER: _ClassVar[int]
    PREDICT_FIELD_NUMBER: _ClassVar[int]
    EMBED_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    supersedes_key: str
    predict: PredictRequest
    embed: EmbedRequest
    cancel_request_id: int
    def __init__(self, request_id: _Optional[int] = ..., supersedes_key: _Optional[str] = ..., predict: _Optional[_Union[PredictRequest, _Mapping]] = ..., embed: _Optional[_Union[EmbedRequest, _Mapping]] = ..., cancel_request_id: _Optional[int] = ...) -> None: ...

class LiveResponse(_message.Message):
    __slots__ = ("request_id", "predict", "embed", "error", "notice")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICT_FIELD_NUMBER: _ClassVar[int]
    EMBED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    predict: PredictResponse
    embed: EmbedResponse
    error: _error_pb2.ErrorInfo
    notice: Notice
    def __init__(self, request_id: _Optional[int] = ..., predict: _Optional[_Union[PredictResponse, _Mapping]] = ..., embed: _Optional[_Union[EmbedResponse, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.ErrorInfo, _Mapping]] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class Notice(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...
