from qupath_sam.v1 import image_pb2 as _image_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClickLabel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLICK_LABEL_UNSPECIFIED: _ClassVar[ClickLabel]
    CLICK_LABEL_POSITIVE: _ClassVar[ClickLabel]
    CLICK_LABEL_NEGATIVE: _ClassVar[ClickLabel]

class MaskChoice(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_CHOICE_UNSPECIFIED: _ClassVar[MaskChoice]
    MASK_CHOICE_BEST: _ClassVar[MaskChoice]
    MASK_CHOICE_ALL: _ClassVar[MaskChoice]
    MASK_CHOICE_LARGEST: _ClassVar[MaskChoice]
    MASK_CHOICE_SMALLEST: _ClassVar[MaskChoice]
CLICK_LABEL_UNSPECIFIED: ClickLabel
CLICK_LABEL_POSITIVE: ClickLabel
CLICK_LABEL_NEGATIVE: ClickLabel
MASK_CHOICE_UNSPECIFIED: MaskChoice
MASK_CHOICE_BEST: MaskChoice
MASK_CHOICE_ALL: MaskChoice
MASK_CHOICE_LARGEST: MaskChoice
MASK_CHOICE_SMALLEST: MaskChoice

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Click(_message.Message):
    __slots__ = ("points", "label", "from_mask", "same_step")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    FROM_MASK_FIELD_NUMBER: _ClassVar[int]
    SAME_STEP_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    label: ClickLabel
    from_mask: int
    same_step: bool
    def __init__(self, points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., label: _Optional[_Union[ClickLabel, str]] = ..., from_mask: _Optional[int] = ..., same_step: bool = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("min_x", "min_y", "max_x", "max_y")
    MIN_X_FIELD_NUMBER: _ClassVar[int]
    MIN_Y_FIELD_NUMBER: _ClassVar[int]
    MAX_X_FIELD_NUMBER: _ClassVar[int]
    MAX_Y_FIELD_NUMBER: _ClassVar[int]
    min_x: float
    min_y: float
    max_x: float
    max_y: float
    def __init__(self, min_x: _Optional[float] = ..., min_y: _Optional[float] = ..., max_x: _Optional[float] = ..., max_y: _Optional[float] = ...) -> None: ...

class ObjectPrompts(_message.Message):
    __slots__ = ("object_id", "clicks", "box", "outline_wkb", "token")
    OBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    CLICKS_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    OUTLINE_WKB_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    object_id: str
    clicks: _containers.RepeatedCompositeFieldContainer[Click]
    box: Box
    outline_wkb: bytes
    token: bytes
    def __init__(self, object_id: _Optional[str] = ..., clicks: _Optional[_Iterable[_Union[Click, _Mapping]]] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., outline_wkb: _Optional[bytes] = ..., token: _Optional[bytes] = ...) -> None: ...

class WindowOptions(_message.Message):
    __slots__ = ("region", "downsample", "mpp", "view_downsample", "prefer_embedded", "closer_look")
    REGION_FIELD_NUMBER: _ClassVar[int]
    DOWNSAMPLE_FIELD_NUMBER: _ClassVar[int]
    MPP_FIELD_NUMBER: _ClassVar[int]
    VIEW_DOWNSAMPLE_FIELD_NUMBER: _ClassVar[int]
    PREFER_EMBEDDED_FIELD_NUMBER: _ClassVar[int]
    CLOSER_LOOK_FIELD_NUMBER: _ClassVar[int]
    region: _image_pb2.Region
    downsample: float
    mpp: float
    view_downsample: float
    prefer_embedded: bool
    closer_look: bool
    def __init__(self, region: _Optional[_Union[_image_pb2.Region, _Mapping]] = ..., downsample: _Optional[float] = ..., mpp: _Optional[float] = ..., view_downsample: _Optional[float] = ..., prefer_embedded: bool = ..., closer_look: bool = ...) -> None: ...

class OutputOptions(_message.Message):
    __slots__ = ("mask_choice", "fill_holes_area", "min_area", "simplify_tolerance", "clip_wkb", "clean_share", "keep_parts")
    MASK_CHOICE_FIELD_NUMBER: _ClassVar[int]
    FILL_HOLES_AREA_FIELD_NUMBER: _ClassVar[int]
    MIN_AREA_FIELD_NUMBER: _ClassVar[int]
    SIMPLIFY_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    CLIP_WKB_FIELD_NUMBER: _ClassVar[int]
    CLEAN_SHARE_FIELD_NUMBER: _ClassVar[int]
    KEEP_PARTS_FIELD_NUMBER: _ClassVar[int]
    mask_choice: MaskChoice
    fill_holes_area: float
    min_area: float
    simplify_tolerance: float
    clip_wkb: bytes
    clean_share: float
    keep_parts: bool
    def __init__(self, mask_choice: _Optional[_Union[MaskChoice, str]] = ..., fill_holes_area: _Optional[float] = ..., min_area: _Optional[float] = ..., simplify_tolerance: _Optional[float] = ..., clip_wkb: _Optional[bytes] = ..., clean_share: _Optional[float] = ..., keep_parts: bool = ...) -> None: ...

class RefineOptions(_message.Message):
    __slots__ = ("interior_points", "exterior_points", "no_box", "no_mask", "min_iou", "max_area_change", "min_score", "allow_cut_off", "min_part_iou", "coarsest_mpp", "box_margin", "along_border", "remember")
    INTERIOR_POINTS_FIELD_NUMBER: _ClassVar[int]
    EXTERIOR_POINTS_FIELD_NUMBER: _ClassVar[int]
    NO_BOX_FIELD_NUMBER: _ClassVar[int]
    NO_MASK_FIELD_NUMBER: _ClassVar[int]
    MIN_IOU_FIELD_NUMBER: _ClassVar[int]
    MAX_AREA_CHANGE_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_CUT_OFF_FIELD_NUMBER: _ClassVar[int]
    MIN_PART_IOU_FIELD_NUMBER: _ClassVar[int]
    COARSEST_MPP_FIELD_NUMBER: _ClassVar[int]
    BOX_MARGIN_FIELD_NUMBER: _ClassVar[int]
    ALONG_BORDER_FIELD_NUMBER: _ClassVar[int]
    REMEMBER_FIELD_NUMBER: _ClassVar[int]
    interior_points: int
    exterior_points: int
    no_box: bool
    no_mask: bool
    min_iou: float
    max_area_change: float
    min_score: float
    allow_cut_off: bool
    min_part_iou: float
    coarsest_mpp: float
    box_margin: float
    along_border: bool
    remember: bool
    def __init__(self, interior_points: _Optional[int] = ..., exterior_points: _Optional[int] = ..., no_box: bool = ..., no_mask: bool = ..., min_iou: _Optional[float] = ..., max_area_change: _Optional[float] = ..., min_score: _Optional[float] = ..., allow_cut_off: bool = ..., min_part_iou: _Optional[float] = ..., coarsest_mpp: _Optional[float] = ..., box_margin: _Optional[float] = ..., along_border: bool = ..., remember: bool = ...) -> None: ...
