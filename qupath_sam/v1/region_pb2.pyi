from qupath_sam.v1 import image_pb2 as _image_pb2
from qupath_sam.v1 import prompt_pb2 as _prompt_pb2
from qupath_sam.v1 import result_pb2 as _result_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Prompting(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROMPTING_UNSPECIFIED: _ClassVar[Prompting]
    PROMPTING_GRID: _ClassVar[Prompting]
    PROMPTING_AUTOMATIC: _ClassVar[Prompting]
    PROMPTING_LIKE: _ClassVar[Prompting]

class ObjectKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OBJECT_KIND_UNSPECIFIED: _ClassVar[ObjectKind]
    OBJECT_KIND_NUCLEI: _ClassVar[ObjectKind]
    OBJECT_KIND_GLANDS: _ClassVar[ObjectKind]

class Effort(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EFFORT_UNSPECIFIED: _ClassVar[Effort]
    EFFORT_FAST: _ClassVar[Effort]
    EFFORT_BEST: _ClassVar[Effort]
PROMPTING_UNSPECIFIED: Prompting
PROMPTING_GRID: Prompting
PROMPTING_AUTOMATIC: Prompting
PROMPTING_LIKE: Prompting
OBJECT_KIND_UNSPECIFIED: ObjectKind
OBJECT_KIND_NUCLEI: ObjectKind
OBJECT_KIND_GLANDS: ObjectKind
EFFORT_UNSPECIFIED: Effort
EFFORT_FAST: Effort
EFFORT_BEST: Effort

class Example(_message.Message):
    __slots__ = ("outline_wkb", "point", "label")
    OUTLINE_WKB_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    outline_wkb: bytes
    point: _prompt_pb2.Point
    label: _prompt_pb2.ClickLabel
    def __init__(self, outline_wkb: _Optional[bytes] = ..., point: _Optional[_Union[_prompt_pb2.Point, _Mapping]] = ..., label: _Optional[_Union[_prompt_pb2.ClickLabel, str]] = ...) -> None: ...

class GridOptions(_message.Message):
    __slots__ = ("spacing", "min_stability", "box_nms_iou")
    SPACING_FIELD_NUMBER: _ClassVar[int]
    MIN_STABILITY_FIELD_NUMBER: _ClassVar[int]
    BOX_NMS_IOU_FIELD_NUMBER: _ClassVar[int]
    spacing: float
    min_stability: float
    box_nms_iou: float
    def __init__(self, spacing: _Optional[float] = ..., min_stability: _Optional[float] = ..., box_nms_iou: _Optional[float] = ...) -> None: ...

class ObjectFilter(_message.Message):
    __slots__ = ("min_area", "max_area", "min_score", "leave_out_border")
    MIN_AREA_FIELD_NUMBER: _ClassVar[int]
    MAX_AREA_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    LEAVE_OUT_BORDER_FIELD_NUMBER: _ClassVar[int]
    min_area: float
    max_area: float
    min_score: float
    leave_out_border: bool
    def __init__(self, min_area: _Optional[float] = ..., max_area: _Optional[float] = ..., min_score: _Optional[float] = ..., leave_out_border: bool = ...) -> None: ...

class SegmentRegionRequest(_message.Message):
    __slots__ = ("image", "model", "region", "outline_wkb", "clip", "prompting", "effort", "grid", "examples", "like_threshold", "downsample", "mpp", "output", "filter", "search_background", "resume_token", "objects")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    OUTLINE_WKB_FIELD_NUMBER: _ClassVar[int]
    CLIP_FIELD_NUMBER: _ClassVar[int]
    PROMPTING_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    LIKE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    DOWNSAMPLE_FIELD_NUMBER: _ClassVar[int]
    MPP_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SEARCH_BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.ImageRef
    model: str
    region: _image_pb2.Region
    outline_wkb: bytes
    clip: bool
    prompting: Prompting
    effort: Effort
    grid: GridOptions
    examples: _containers.RepeatedCompositeFieldContainer[Example]
    like_threshold: float
    downsample: float
    mpp: float
    output: _prompt_pb2.OutputOptions
    filter: ObjectFilter
    search_background: bool
    resume_token: bytes
    objects: ObjectKind
    def __init__(self, image: _Optional[_Union[_image_pb2.ImageRef, _Mapping]] = ..., model: _Optional[str] = ..., region: _Optional[_Union[_image_pb2.Region, _Mapping]] = ..., outline_wkb: _Optional[bytes] = ..., clip: bool = ..., prompting: _Optional[_Union[Prompting, str]] = ..., effort: _Optional[_Union[Effort, str]] = ..., grid: _Optional[_Union[GridOptions, _Mapping]] = ..., examples: _Optional[_Iterable[_Union[Example, _Mapping]]] = ..., like_threshold: _Optional[float] = ..., downsample: _Optional[float] = ..., mpp: _Optional[float] = ..., output: _Optional[_Union[_prompt_pb2.OutputOptions, _Mapping]] = ..., filter: _Optional[_Union[ObjectFilter, _Mapping]] = ..., search_background: bool = ..., resume_token: _Optional[bytes] = ..., objects: _Optional[_Union[ObjectKind, str]] = ...) -> None: ...

class RegionObject(_message.Message):
    __slots__ = ("number", "mask", "point", "is_cut", "likeness")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    IS_CUT_FIELD_NUMBER: _ClassVar[int]
    LIKENESS_FIELD_NUMBER: _ClassVar[int]
    number: int
    mask: _result_pb2.SegmentedMask
    point: _prompt_pb2.Point
    is_cut: bool
    likeness: float
    def __init__(self, number: _Optional[int] = ..., mask: _Optional[_Union[_result_pb2.SegmentedMask, _Mapping]] = ..., point: _Optional[_Union[_prompt_pb2.Point, _Mapping]] = ..., is_cut: bool = ..., likeness: _Optional[float] = ...) -> None: ...

class RegionProgress(_message.Message):
    __slots__ = ("tiles_done", "tiles_total", "tiles_skipped", "objects", "too_large", "seconds_left")
    TILES_DONE_FIELD_NUMBER: _ClassVar[int]
    TILES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    TILES_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    TOO_LARGE_FIELD_NUMBER: _ClassVar[int]
    SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    tiles_done: int
    tiles_total: int
    tiles_skipped: int
    objects: int
    too_large: int
    seconds_left: float
    def __init__(self, tiles_done: _Optional[int] = ..., tiles_total: _Optional[int] = ..., tiles_skipped: _Optional[int] = ..., objects: _Optional[int] = ..., too_large: _Optional[int] = ..., seconds_left: _Optional[float] = ...) -> None: ...

class SegmentRegionResponse(_message.Message):
    __slots__ = ("objects", "progress", "resume_token", "provenance", "downsample", "tile_size", "timings")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    DOWNSAMPLE_FIELD_NUMBER: _ClassVar[int]
    TILE_SIZE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[RegionObject]
    progress: RegionProgress
    resume_token: bytes
    provenance: _result_pb2.Provenance
    downsample: float
    tile_size: int
    timings: _result_pb2.Timings
    def __init__(self, objects: _Optional[_Iterable[_Union[RegionObject, _Mapping]]] = ..., progress: _Optional[_Union[RegionProgress, _Mapping]] = ..., resume_token: _Optional[bytes] = ..., provenance: _Optional[_Union[_result_pb2.Provenance, _Mapping]] = ..., downsample: _Optional[float] = ..., tile_size: _Optional[int] = ..., timings: _Optional[_Union[_result_pb2.Timings, _Mapping]] = ...) -> None: ...
