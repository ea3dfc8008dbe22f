"""One object of QuPath as a value. What can be made here, QuPath imports."""

from __future__ import annotations

import colorsys
import enum
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry import LineString, MultiLineString, MultiPoint, MultiPolygon, Point, Polygon

from qupath_sam.errors import InvalidRequest

#: Shapes that enclose something.
Area = Polygon | MultiPolygon
#: Every shape that an object of QuPath can have.
Shape = Area | Point | MultiPoint | LineString | MultiLineString


class Color(NamedTuple):
    """Red, green, blue, each 0 to 255."""

    red: int
    green: int
    blue: int


#: The classes that a fresh QuPath comes with (``PathClass.StandardPathClasses``).
_STANDARD_COLORS = {
    "Tumor": Color(200, 0, 0),
    "Stroma": Color(150, 200, 150),
    "Immune cells": Color(160, 90, 160),
    "Necrosis": Color(50, 50, 50),
    "Other": Color(255, 200, 0),
    "Region*": Color(0, 0, 180),
    "Ignore*": Color(180, 180, 180),
    "Positive": Color(200, 50, 50),
    "Negative": Color(90, 90, 180),
}


def default_color(name: str) -> Color:
    """Return the colour of a class, the same on every machine.

    Standard classes have QuPath's own colour. Others have a hue from the SHA-256 of the name, at a saturation and
    brightness that show on H&E and on a dark viewer.
    """
    if name in _STANDARD_COLORS:
        return _STANDARD_COLORS[name]
    hue = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:2], "big") / 2**16
    return Color(*(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, 0.75, 0.85)))


@dataclass(frozen=True, slots=True)
class PathClass:
    """A classification.

    Attributes:
        names: from base to most derived, such as ``("Tumor", "Positive")``, which QuPath shows as "Tumor: Positive".
        color: of a class that QuPath does not know yet; one it knows keeps its own.

    Raises:
        InvalidRequest: a name is blank or holds a colon or a line break, or the colour is out of range.
    """

    names: tuple[str, ...]
    color: Color

    @classmethod
    def of(cls, name: str, color: tuple[int, int, int] | None = None) -> PathClass:
        """Return the class that QuPath shows as ``name``, in its `default_color` where none is given."""
        names = tuple(part.strip() for part in name.split(":"))
        return cls(names, default_color(": ".join(names)) if color is None else Color(*color))

    def __post_init__(self) -> None:
        if not self.names:
            raise InvalidRequest("a class needs at least one name; leave the classification out instead")
        for name in self.names:
            if not name.strip() or any(character in name for character in ":\n\r"):
                raise InvalidRequest(
                    f"QuPath takes no class name {name!r}: it must not be blank nor hold ':' or line ends"
                )
        check_color(self.color)

    def __str__(self) -> str:
        return ": ".join(self.names)


class ObjectType(enum.Enum):
    """What kind of object QuPath makes of a feature. The values are those of its GeoJSON."""

    ANNOTATION = "annotation"
    DETECTION = "detection"
    CELL = "cell"
    TILE = "tile"


@dataclass(frozen=True, slots=True)
class AnnotationFeature:
    """One object: an area, points or lines.

    Attributes:
        geometry: level-0 px, pixel edges. QuPath rounds it to 0.01 px.
        id: QuPath's object id; an import never replaces an object of the same id but adds a second one.
        classification, name, color: None where there is none. ``color`` is the object's own, over that of its class.
        measurements: NaN and infinities are allowed, as in QuPath.
        metadata: shown by QuPath from 0.5 on.
        z, t, c: plane; -1 for c means all channels.

    Raises:
        InvalidRequest: the geometry is empty, not finite or not valid; QuPath would refuse the whole file for it.
    """

    geometry: Shape
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    object_type: ObjectType = ObjectType.ANNOTATION
    name: str | None = None
    classification: PathClass | None = None
    color: Color | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_locked: bool = False
    z: int = 0
    t: int = 0
    c: int = -1

    def __post_init__(self) -> None:
        if not isinstance(self.geometry, Shape):
            raise InvalidRequest(f"the geometry is a {type(self.geometry).__name__}; give an area, points or lines")
        if self.geometry.is_empty:
            raise InvalidRequest("the geometry is empty; leave the object out")
        if not np.isfinite(shapely.get_coordinates(self.geometry)).all():
            raise InvalidRequest("the geometry has coordinates that are not finite numbers; correct them")
        if not self.geometry.is_valid:
            raise InvalidRequest(
                f"the geometry is not valid ({shapely.is_valid_reason(self.geometry)}); repair it first"
            )
        if self.color is not None:
            check_color(self.color)


def check_color(color: tuple[int, int, int]) -> None:
    """Raise `InvalidRequest` unless ``color`` is three whole numbers from 0 to 255."""
    if len(color) != 3 or not all(isinstance(channel, int) and 0 <= channel <= 255 for channel in color):
        raise InvalidRequest(f"a colour is red, green, blue, each a whole number from 0 to 255; got {color}")
