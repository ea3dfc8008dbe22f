"""QuPath's objects and edits of them, as plain values that can go from one process to another."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import shapely
from shapely.geometry.base import BaseGeometry


class Kind(enum.Enum):
    """QuPath's kinds of objects, by the names of its GeoJSON."""

    ROOT = "root"
    ANNOTATION = "annotation"
    DETECTION = "detection"
    CELL = "cell"
    TILE = "tile"
    TMA_CORE = "tma_core"


@dataclass(frozen=True, slots=True)
class Plane:
    """Where in a stack a shape lies; c is -1 for all channels."""

    c: int = -1
    z: int = 0
    t: int = 0


@dataclass(frozen=True, slots=True)
class ImageObject:
    """One object of an image, as QuPath holds it.

    Attributes:
        object_id: UUID.
        kind: what it is.
        roi: QuPath's name of the shape: Polygon, Geometry, Rectangle, Ellipse, Line, Polyline, Points.
        wkb: the shape, level-0 px.
        plane: of the shape.
        path_class: "Tumor", "Tumor: Positive"; None where it has none.
        name: None where it has none.
        locked: a person wants it left alone.
        parent_id: the object it lies in; None below the root.
        color: own colour as packed ARGB; None where it takes that of its class.
        probability: of the class; NaN where unknown.
        measurements: in order.
        metadata: in order.
        children: how many objects, of all kinds, have it as their parent.
    """

    object_id: str
    kind: Kind
    roi: str
    wkb: bytes
    plane: Plane = Plane()
    path_class: str | None = None
    name: str | None = None
    locked: bool = False
    parent_id: str | None = None
    color: int | None = None
    probability: float = float("nan")
    measurements: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    children: int = 0

    @property
    def geometry(self) -> BaseGeometry:
        """The shape, level-0 px."""
        return shapely.from_wkb(self.wkb)


def parents_first(objects: Iterable[ImageObject]) -> list[ImageObject]:
    """Return the objects in their order, but each behind its parent where that is one of them."""
    by_id = {item.object_id: item for item in objects}

    def depth(item: ImageObject) -> int:
        return 0 if item.parent_id not in by_id else 1 + depth(by_id[item.parent_id])

    return sorted(by_id.values(), key=depth)


@dataclass(frozen=True, slots=True)
class ImageContents:
    """Objects that were read from an image.

    Attributes:
        objects: of the kinds that were asked for, parents before children.
        total: number of all objects.
    """

    objects: tuple[ImageObject, ...]
    total: int


@dataclass(frozen=True, slots=True)
class ShapeChange:
    """A new shape for an object that stays what it is.

    Attributes:
        object_id: which.
        old_wkb: its shape as it was read; the change is refused where it is another by now.
        new_wkb: polygon or multipolygon, level-0 px.
        measurements: added or replaced.
        metadata: added or replaced.
        exact_measurements: if given, all measurements as they shall be (to undo), nothing else.
        exact_metadata: likewise.
    """

    object_id: str
    old_wkb: bytes
    new_wkb: bytes
    measurements: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    exact_measurements: Mapping[str, float] | None = None
    exact_metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """All changes of one write to an image.

    Attributes:
        changes: new shapes of objects.
        additions: new objects, each below its ``parent_id``.
        removals: ids of objects that go; their children stay.
        step: what the image's workflow says of it.
    """

    changes: tuple[ShapeChange, ...] = ()
    additions: tuple[ImageObject, ...] = ()
    removals: tuple[str, ...] = ()
    step: str = ""

    def __bool__(self) -> bool:
        return bool(self.changes or self.additions or self.removals)


@dataclass(frozen=True, slots=True)
class Written:
    """Side effects of a write.

    Attributes:
        summary: new contents of summary.json.
        recomputed: measurements of shape that were computed again.
        removed: measurements that depended on the old shape and could not be computed.
    """

    summary: bytes
    recomputed: int
    removed: int
