from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PixelFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PIXEL_FORMAT_UNSPECIFIED: _ClassVar[PixelFormat]
    PIXEL_FORMAT_JPEG: _ClassVar[PixelFormat]
    PIXEL_FORMAT_PNG: _ClassVar[PixelFormat]
    PIXEL_FORMAT_RAW_RGB: _ClassVar[PixelFormat]
PIXEL_FORMAT_UNSPECIFIED: PixelFormat
PIXEL_FORMAT_JPEG: PixelFormat
PIXEL_FORMAT_PNG: PixelFormat
PIXEL_FORMAT_RAW_RGB: PixelFormat

class Region(_message.Message):
    __slots__ = ("x", "y", "width", "height")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    x: int
    y: int
    width: int
    height: int
    def __init__(self, x: _Optional[int] = ..., y: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class SlideRef(_message.Message):
    __slots__ = ("path", "uri", "server_builder_json", "width", "height", "z", "t", "mpp", "rendering")
    PATH_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    SERVER_BUILDER_JSON_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    T_FIELD_NUMBER: _ClassVar[int]
    MPP_FIELD_NUMBER: _ClassVar[int]
    RENDERING_FIELD_NUMBER: _ClassVar[int]
    path: str
    uri: str
    server_builder_json: str
    width: int
    height: int
    z: int
    t: int
    mpp: float
    rendering: Rendering
    def __init__(self, path: _Optional[str] = ..., uri: _Optional[str] = ..., server_builder_json: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., z: _Optional[int] = ..., t: _Optional[int] = ..., mpp: _Optional[float] = ..., rendering: _Optional[_Union[Rendering, _Mapping]] = ...) -> None: ...

class Rendering(_message.Message):
    __slots__ = ("channels", "range")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    channels: _containers.RepeatedCompositeFieldContainer[ChannelDisplay]
    range: DisplayRange
    def __init__(self, channels: _Optional[_Iterable[_Union[ChannelDisplay, _Mapping]]] = ..., range: _Optional[_Union[DisplayRange, _Mapping]] = ...) -> None: ...

class ChannelDisplay(_message.Message):
    __slots__ = ("index", "name", "range", "color")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    index: int
    name: str
    range: DisplayRange
    color: int
    def __init__(self, index: _Optional[int] = ..., name: _Optional[str] = ..., range: _Optional[_Union[DisplayRange, _Mapping]] = ..., color: _Optional[int] = ...) -> None: ...

class DisplayRange(_message.Message):
    __slots__ = ("min_display", "max_display")
    MIN_DISPLAY_FIELD_NUMBER: _ClassVar[int]
    MAX_DISPLAY_FIELD_NUMBER: _ClassVar[int]
    min_display: float
    max_display: float
    def __init__(self, min_display: _Optional[float] = ..., max_display: _Optional[float] = ...) -> None: ...

class PushedRef(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    def __init__(self, digest: _Optional[bytes] = ...) -> None: ...

class ImageRef(_message.Message):
    __slots__ = ("slide", "pushed")
    SLIDE_FIELD_NUMBER: _ClassVar[int]
    PUSHED_FIELD_NUMBER: _ClassVar[int]
    slide: SlideRef
    pushed: PushedRef
    def __init__(self, slide: _Optional[_Union[SlideRef, _Mapping]] = ..., pushed: _Optional[_Union[PushedRef, _Mapping]] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("region", "width", "height", "downsample", "mpp")
    REGION_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    DOWNSAMPLE_FIELD_NUMBER: _ClassVar[int]
    MPP_FIELD_NUMBER: _ClassVar[int]
    region: Region
    width: int
    height: int
    downsample: float
    mpp: float
    def __init__(self, region: _Optional[_Union[Region, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., downsample: _Optional[float] = ..., mpp: _Optional[float] = ...) -> None: ...
