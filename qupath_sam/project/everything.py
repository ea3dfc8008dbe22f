"""All objects of an image's regions, or all that look like examples, as detections below the region. Writes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import shapely
from shapely import STRtree
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from qupath_sam.project.decisions import Action, Decision
from qupath_sam.project.failures import OF_AN_OBJECT, reason_of
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import Edit, ImageObject, Kind, Plane
from qupath_sam.project.predictor import ImageSource, extent_of
from qupath_sam.project.refine import Proposal
from qupath_sam.project.selection import is_of_class
from qupath_sam.qupath.annotations import PREFIX, detection_of
from qupath_sam.qupath.corrections import FOUND_CLASS, class_text, is_corrected, marks_of
from qupath_sam.types.prompts import Label
from qupath_sam.types.refinements import Refusal
from qupath_sam.types.region_requests import Example, Prompting, RegionRequest
from qupath_sam.types.region_results import RegionBatch, RegionObject

#: Kinds of objects that `everything_in_image` is given.
KINDS = (Kind.ANNOTATION, Kind.DETECTION)
#: Metadata by which what an earlier run has found is known, and what they say; QuPath's scripts write the same.
FOUND, BY_ITSELF, BY_EXAMPLES = f"{PREFIX}found", "everything", "like"

#: From this intersection over union on, two outlines are of one object; the scripts' own (`Outlines.areSame`).
SAME_IOU = 0.5


class RegionPredictor(Protocol):
    """Finds all objects of a region, as `qupath_sam.client.SamClient.segment_region`."""

    def segment_region(self, image: Any, request: RegionRequest, *, model: str = "") -> Iterator[RegionBatch]:
        """Yield the objects, as the region's tiles are done."""
        ...


@dataclass(frozen=True, slots=True)
class EverythingOptions:
    """Which objects of which regions.

    Attributes:
        classes: class of the regions to class of what is found there, None for none.
        whole_image: of images without a region the whole is one.
        like: classes of examples; empty finds everything.
        unlike: classes of examples of what is not wanted.
        request: how objects are found; its place and examples are those of the image.
        mpp: um per tile px; on images without a pixel size a downsample.
        model: empty takes the server's default.
        replace_earlier: what an earlier run has found in a region goes, but for what a person has corrected since.
        provenance: note score and model on each object. Without it a later run does not know them as its own.
    """

    classes: Mapping[str, str | None]
    whole_image: bool = False
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    request: RegionRequest = field(default_factory=RegionRequest)
    mpp: float | None = None
    model: str = ""
    replace_earlier: bool = True
    provenance: bool = True


@dataclass(frozen=True, slots=True)
class _Place:
    """A region of an image; one without an object is the whole image."""

    plane: Plane
    region: ImageObject | None

    @property
    def parent_id(self) -> str | None:
        return None if self.region is None else self.region.object_id

    @property
    def outline(self) -> Polygon | MultiPolygon | None:
        if self.region is None:
            return None
        outline = self.region.geometry
        assert isinstance(outline, Polygon | MultiPolygon)
        return outline


def everything_in_image(
    image: ImageEntry,
    objects: Sequence[ImageObject],
    options: EverythingOptions,
    predictor: RegionPredictor,
    source: ImageSource,
) -> Proposal:
    """Ask for all objects of an image's regions.

    Args:
        image: of the project.
        objects: of `KINDS`.
        options: which.
        predictor: finds them.
        source: says how the server is to open the image.

    Raises:
        QupathSamError: a fault that is no region's, such as a lost server.
    """
    additions: list[ImageObject] = []
    removals: dict[str, ImageObject] = {}  # regions may overlap
    decisions: list[Decision] = []
    model, model_ms = options.model, 0.0
    for place in _places(objects, options):
        try:
            batches = list(predictor.segment_region(*_asked(image, objects, place, options, source), model=model))
        except OF_AN_OBJECT as error:
            if place.region is None:
                raise
            decisions.append(_refused(image, place.region, error))
            continue
        made = next((batch.provenance for batch in batches if batch.provenance is not None), None)
        name = model if made is None else made.model
        model_ms += sum(batch.timings.total for batch in batches if batch.timings is not None)
        path_class = _class_of_found(place, options)
        earlier = _earlier(objects, place, path_class, options) if options.replace_earlier else []
        in_use = [_is_in_use(item) for item in earlier]
        removals |= {item.object_id: item for item, stays in zip(earlier, in_use, strict=True) if not stays}
        staying = STRtree([item.geometry for item, stays in zip(earlier, in_use, strict=True) if stays])
        for batch in batches:
            for found in batch.objects:
                near = staying.geometries.take(staying.query(found.geometry))
                if any(_are_same(found.geometry, each) for each in near):
                    continue
                added = _detection(found, place, path_class, name if options.provenance else None)
                additions.append(added)
                decisions.append(_added(image, added, found))
    decisions += [
        Decision(image.entry_id, image.name, Action.REMOVED, object_id, before=item)
        for object_id, item in removals.items()
    ]
    step = f"qupath-sam found {len(additions)} objects"
    edit = Edit(additions=tuple(additions), removals=tuple(removals), step=step)
    return Proposal(edit if edit else Edit(), tuple(decisions), model_ms / 1000)


def _places(objects: Sequence[ImageObject], options: EverythingOptions) -> list[_Place]:
    """Return the regions; of a search by examples only those of a plane that has some."""
    examples = [item for item in objects if options.like and is_of_class(item.path_class, options.like)]
    planes = list(dict.fromkeys(item.plane for item in examples))
    regions = [
        item
        for item in objects
        if item.kind is Kind.ANNOTATION
        and is_of_class(item.path_class, options.classes)
        and isinstance(item.geometry, Polygon | MultiPolygon)
        and (not options.like or item.plane in planes)
    ]
    if regions or not options.whole_image:
        return [_Place(item.plane, item) for item in regions]
    return [_Place(plane, None) for plane in (planes if options.like else [Plane()])]


def _asked(
    image: ImageEntry, objects: Sequence[ImageObject], place: _Place, options: EverythingOptions, source: ImageSource
) -> tuple[object, RegionRequest]:
    """Return what is asked of the server about a region: the image, and the request."""
    scale: dict[str, Any] = {}
    if options.mpp is not None:
        scale = {"mpp": options.mpp} if image.mpp else {"downsample": options.mpp}
    outline = place.outline
    request = replace(options.request, place=outline, **scale)
    if options.like:
        labelled = ((options.like, Label.POSITIVE), (options.unlike, Label.NEGATIVE))
        examples = [
            example
            for item in objects
            for classes, label in labelled
            if item.plane == place.plane and classes and is_of_class(item.path_class, classes)
            for example in _examples(item, label)
        ]
        request = replace(request, prompting=Prompting.LIKE, examples=tuple(examples))
    bounds = extent_of(image).bounds if outline is None else outline.bounds
    return source.reference(image, place.plane, bounds), request


def _examples(item: ImageObject, label: Label) -> list[Example]:
    """Return an object's outline, or its points."""
    shape = item.geometry
    if isinstance(shape, Polygon | MultiPolygon):
        return [Example(shape, label)]
    if item.roi != "Points":
        return []
    return [Example((float(x), float(y)), label) for x, y in shapely.get_coordinates(shape)]


def _earlier(
    objects: Sequence[ImageObject], place: _Place, path_class: str | None, options: EverythingOptions
) -> list[ImageObject]:
    """Return what an earlier run of this kind has found in a region, by its mark: what is clicked has none.

    It lies below the region, or beside it: below another one that has been deleted since, and drawn anew.
    """
    mark = BY_EXAMPLES if options.like else BY_ITSELF
    found = [
        item
        for item in objects
        if item.kind is Kind.DETECTION
        and item.plane == place.plane
        and item.metadata.get(FOUND) == mark
        and (mark == BY_ITSELF or item.metadata.get(FOUND_CLASS, class_text(path_class)) == class_text(path_class))
    ]
    below = [item for item in found if item.parent_id == place.parent_id]
    return below if place.region is None else below + _lying_in(place.region, found)


def _lying_in(region: ImageObject, objects: Sequence[ImageObject]) -> list[ImageObject]:
    """Return the objects beside a region, below the same parent, whose centroid lies in it."""
    beside = [item for item in objects if item.parent_id == region.parent_id]
    outline = region.geometry
    shapely.prepare(outline)
    inside = shapely.intersects(outline, shapely.centroid([item.geometry for item in beside]))
    return [item for item, lies in zip(beside, inside, strict=True) if lies]


def _is_in_use(item: ImageObject) -> bool:
    """Return whether a person has work in it: it is locked, has objects in it, or has been corrected."""
    return (
        item.locked
        or bool(item.children)
        or is_corrected(
            item.metadata,
            item.geometry,
            path_class=item.path_class,
            probability=item.probability,
            name=item.name,
            color=item.color,
        )
    )


def _are_same(one: BaseGeometry, other: BaseGeometry) -> bool:
    """Return whether two outlines are of one object: an intersection over union of at least a half."""
    try:
        both = shapely.area(shapely.intersection(one, other))
    except shapely.GEOSException:  # a person may draw an outline that crosses itself
        both = shapely.area(shapely.intersection(shapely.make_valid(one), shapely.make_valid(other)))
    return bool(both > 0 and both / (one.area + other.area - both) >= SAME_IOU)


def _class_of_found(place: _Place, options: EverythingOptions) -> str | None:
    if place.region is None:
        # Without a region the first class says what is found.
        return next(iter(options.classes.values()), None)
    name = place.region.path_class or "Unclassified"
    return options.classes[max((base for base in options.classes if is_of_class(name, (base,))), key=len)]


def _detection(found: RegionObject, place: _Place, path_class: str | None, model: str | None) -> ImageObject:
    feature = detection_of(found, model=model or "")
    return ImageObject(
        object_id=str(uuid.uuid4()),
        kind=Kind.DETECTION,
        roi="Polygon" if isinstance(found.geometry, Polygon) else "Geometry",
        wkb=shapely.to_wkb(found.geometry, output_dimension=2),
        plane=place.plane,
        path_class=path_class,
        parent_id=place.parent_id,
        measurements=dict(feature.measurements) if model is not None else {},
        metadata={
            **feature.metadata,
            FOUND: BY_ITSELF if found.likeness is None else BY_EXAMPLES,
            **marks_of(found.geometry, path_class),
        },
    )


def _added(image: ImageEntry, added: ImageObject, found: RegionObject) -> Decision:
    return Decision(image.entry_id, image.name, Action.ADDED, added.object_id, new_wkb=added.wkb, score=found.score)


def _refused(image: ImageEntry, region: ImageObject, error: Exception) -> Decision:
    return Decision(
        image.entry_id,
        image.name,
        Action.REFUSED,
        region.object_id,
        before=region,
        refusal=Refusal.FAILED,
        remark=reason_of(error),
    )
