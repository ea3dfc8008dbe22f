"""Objects of a project as GeoJSON files, one an image, and back: ids, planes, classes and measurements are kept.

GeoJSON has no word for the parent of an object nor for the probability of its class, and this package's GeoJSON none
for the nucleus of a cell. Shapes that are not valid stay in the project and are counted. An import never touches an
object that is there.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import shapely
from shapely.geometry import LineString, MultiPoint, Point, Polygon

from qupath_sam.errors import InvalidRequest, ProjectError
from qupath_sam.project.decisions import Action, Decision
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import Edit, ImageObject, Kind, Plane, parents_first
from qupath_sam.project.refine import Proposal
from qupath_sam.qupath.geojson import AnnotationFeature, Area, ObjectType, PathClass, Shape, write_geojson
from qupath_sam.qupath.geojson.features import Color
from qupath_sam.qupath.geojson.files import SUFFIXES

_TYPES = {
    Kind.ANNOTATION: ObjectType.ANNOTATION,
    Kind.DETECTION: ObjectType.DETECTION,
    Kind.CELL: ObjectType.CELL,
    Kind.TILE: ObjectType.TILE,
}
_KINDS = {kind: name for name, kind in _TYPES.items()}
_NO_FILE_NAME = re.compile(r'[\x00-\x1f<>:"/\\|?*]')


class Existing(Enum):
    """What to do with a feature whose id an object of the image already has."""

    SKIP = "skip"
    NEW_ID = "new-id"


@dataclass(frozen=True, slots=True)
class Exported:
    """A written file, with the numbers of objects in it and of objects left out."""

    path: Path
    objects: int
    left_out: int


def file_name(image: ImageEntry) -> str:
    """Return the name of an image's GeoJSON file: its entry id makes it unique, its name readable, on every system."""
    readable = _NO_FILE_NAME.sub("_", image.name).strip(" .")[:100]
    return f"{image.entry_id} {readable}.geojson"


def file_of(folder: Path, image: ImageEntry) -> Path | None:
    """Return the file in ``folder`` that `file_name` made for an image.

    It may have been renamed behind its number, and compressed as QuPath's export dialog does it.
    """
    exact = folder / file_name(image)
    if exact.is_file():
        return exact
    named = sorted(folder.glob(f"{image.entry_id} *"))
    return next((path for path in named if path.is_file() and path.name.lower().endswith(SUFFIXES)), None)


def export_image(image: ImageEntry, objects: Sequence[ImageObject], folder: Path) -> Exported:
    """Write an image's objects to a file in ``folder``."""
    features = [feature for feature in map(feature_of, objects) if feature is not None]
    path = folder / file_name(image)
    write_geojson(path, features)
    return Exported(path, len(features), len(objects) - len(features))


def feature_of(item: ImageObject) -> AnnotationFeature | None:
    """Return an object as a feature; None where its shape is not valid or GeoJSON does not know its kind."""
    geometry = item.geometry
    if item.kind not in _TYPES or not isinstance(geometry, Shape):
        return None
    try:
        return AnnotationFeature(
            geometry,
            id=uuid.UUID(item.object_id),
            object_type=_TYPES[item.kind],
            name=item.name,
            classification=PathClass.of(item.path_class) if item.path_class else None,
            color=None if item.color is None else _unpacked(item.color),
            measurements=item.measurements,
            metadata=item.metadata,
            is_locked=item.locked,
            z=item.plane.z,
            t=item.plane.t,
            c=item.plane.c,
        )
    except InvalidRequest:
        return None


def object_of(feature: AnnotationFeature) -> ImageObject:
    """Return a feature as an object of the image, below the root."""
    return ImageObject(
        object_id=str(feature.id),
        kind=_KINDS[feature.object_type],
        roi=_roi_name(feature.geometry),
        wkb=shapely.to_wkb(feature.geometry, output_dimension=2),
        plane=Plane(feature.c, feature.z, feature.t),
        path_class=None if feature.classification is None else str(feature.classification),
        name=feature.name,
        locked=feature.is_locked,
        color=None if feature.color is None else _packed(feature.color),
        measurements=dict(feature.measurements),
        metadata=dict(feature.metadata),
    )


def import_features(
    image: ImageEntry,
    features: Iterable[AnnotationFeature],
    present: Iterable[ImageObject],
    existing: Existing = Existing.SKIP,
) -> Proposal:
    """Return the edit that imports features into an image.

    Each goes below the smallest annotation of its plane that holds it, of those that are there and those that come with
    it, as QuPath's own "resolve hierarchy" would have it, or below the root.
    """
    present = list(present)
    taken = {item.object_id for item in present}
    new: list[ImageObject] = []
    left = 0
    for item in _fresh(features, taken, existing):
        if item is None:
            left += 1
            continue
        new.append(item)
    holders = _Holders([*present, *new])
    additions = parents_first(holders.below(item) for item in new)
    step = f"qupath-sam imported {len(additions)} objects"
    decisions = [
        Decision(image.entry_id, image.name, Action.ADDED, item.object_id, new_wkb=item.wkb) for item in additions
    ]
    edit = Edit(additions=tuple(additions), step=step) if additions else Edit()
    return Proposal(edit, tuple(decisions), 0.0, skipped=left)


def source_of(image: ImageEntry, source: Path) -> Path:
    """Return the file to import into an image: ``source`` itself, or the one in the folder that an export wrote.

    Raises:
        ProjectError: nothing in the folder is for this image.
    """
    path = file_of(source, image) if source.is_dir() else source
    if path is None:
        raise ProjectError(f"no file for image {image.name!r} in {source}: its name begins with {image.entry_id!r}")
    return path


def _fresh(features: Iterable[AnnotationFeature], taken: set[str], existing: Existing) -> Iterator[ImageObject | None]:
    for feature in features:
        item = object_of(feature)
        if item.object_id in taken:
            if existing is Existing.SKIP:
                yield None
                continue
            item = replace(item, object_id=str(uuid.uuid4()))
        taken.add(item.object_id)
        yield item


class _Holders:
    """Finds the smallest annotation that holds a shape."""

    def __init__(self, objects: Iterable[ImageObject]) -> None:
        annotations = [(item, item.geometry) for item in objects if item.kind is Kind.ANNOTATION]
        areas = [(item, shape) for item, shape in annotations if isinstance(shape, Area)]
        self._objects = [item for item, _ in areas]
        self._areas = [shape.area for _, shape in areas]
        self._tree = shapely.STRtree([shape for _, shape in areas])

    def below(self, item: ImageObject) -> ImageObject:
        """Return the object with its parent, if it has one."""
        shape = item.geometry
        holders = [
            index
            for index in self._tree.query(shape, predicate="covered_by")
            if _in_one_plane(self._objects[index], item) and self._areas[index] > shape.area
        ]
        if not holders:
            return item
        return replace(item, parent_id=self._objects[min(holders, key=self._areas.__getitem__)].object_id)


def _in_one_plane(a: ImageObject, b: ImageObject) -> bool:
    """Return whether one can hold the other; QuPath looks at their z and t only (``RoiRelate.samePlane``)."""
    return (a.plane.z, a.plane.t) == (b.plane.z, b.plane.t)


def _roi_name(geometry: Shape) -> str:
    """Return QuPath's name of the shape that it makes of a geometry."""
    match geometry:
        case Point() | MultiPoint():
            return "Points"
        case LineString():
            return "Line" if len(geometry.coords) == 2 else "Polyline"
        case Polygon() if not geometry.interiors:
            return "Polygon"
    return "Geometry"


def _unpacked(argb: int) -> Color:
    return Color((argb >> 16) & 255, (argb >> 8) & 255, argb & 255)


def _packed(color: Color) -> int:
    """Pack opaque ARGB as Java's signed int."""
    return ((255 << 24) | (color.red << 16) | (color.green << 8) | color.blue) - (1 << 32)
