"""What a client asks and learns beside outlines: images, models, windows encoded ahead, pixels that it sends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from qupath_sam.errors import InvalidRequest
from qupath_sam.types.choices import ObjectKind

E = TypeVar("E", bound=Enum)


class PixelFormat(Enum):
    """How pixels that a client sends are written."""

    PNG = "png"
    JPEG = "jpeg"
    RGB = "rgb"
    """Raw bytes, row after row from the top, three a pixel."""


class EmbedMode(Enum):
    """What encoding windows ahead waits for."""

    WAIT = "wait"
    """Answer when all windows are encoded."""
    START = "start"
    """Answer at once and encode in the background."""
    QUERY = "query"
    """Say which windows are there; encode nothing."""


def checked(kind: type[E], value: E, *, name: str) -> E:
    """Return the member of an enum; raises `InvalidRequest` where there is none."""
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
        raise InvalidRequest(f"unknown {name} {value!r}; give one of {known}") from error


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """What the engine makes of an image.

    Attributes:
        width, height: of level 0, px.
        mpp: um per level-0 px, or None.
        level_downsamples: of the stored levels.
        fingerprint: names the pixels.
        pixel_source: the reader.
        remarks: what a person should know of the pixels.
        scales: downsamples at which the default model's windows may be read, finest first.
        channels: names, in the file's order.
        size_z, size_t: planes of a stack, points in time.
    """

    width: int
    height: int
    mpp: float | None
    level_downsamples: tuple[float, ...]
    fingerprint: str
    pixel_source: str
    remarks: tuple[str, ...]
    scales: tuple[float, ...]
    channels: tuple[str, ...]
    size_z: int
    size_t: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model on offer.

    Attributes:
        loaded: it is in memory now.
        available: its weights are on the machine.
        automatic_objects: those for which it generates prompts itself; said of loaded models alone.
    """

    name: str
    family: str
    title: str
    input_size: int
    mask_count: int
    weights_sha256: str
    licence: str
    loaded: bool
    available: bool
    automatic_objects: tuple[ObjectKind, ...] = ()
