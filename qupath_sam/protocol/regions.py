"""Between the messages about regions and this package's values, both ways."""

from __future__ import annotations

from collections.abc import Sequence

from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.errors import InvalidPrompt, InvalidRequest
from qupath_sam.protocol.convert import (
    output_message,
    output_of,
    provenance_message,
    provenance_of,
    region_message,
    region_of,
    timings_message,
    timings_of,
)
from qupath_sam.protocol.wkb import geometry_of, geometry_wkb
from qupath_sam.types.prompts import Label
from qupath_sam.types.region_requests import (
    Effort,
    Example,
    GridOptions,
    ObjectFilter,
    ObjectKind,
    Prompting,
    RegionRequest,
)
from qupath_sam.types.region_results import RegionBatch, RegionObject, RegionProgress
from qupath_sam.types.regions import Region
from qupath_sam.types.results import Outline
from qupath_sam.v1 import image_pb2, prompt_pb2, result_pb2
from qupath_sam.v1 import region_pb2 as pb

_PROMPTINGS = {
    pb.PROMPTING_UNSPECIFIED: Prompting.DEFAULT,
    pb.PROMPTING_GRID: Prompting.GRID,
    pb.PROMPTING_AUTOMATIC: Prompting.AUTOMATIC,
    pb.PROMPTING_LIKE: Prompting.LIKE,
}
_PROMPTING_MESSAGES = {prompting: message for message, prompting in _PROMPTINGS.items()}
_EFFORTS = {
    pb.EFFORT_UNSPECIFIED: Effort.BEST,
    pb.EFFORT_FAST: Effort.FAST,
    pb.EFFORT_BEST: Effort.BEST,
}
_EFFORT_MESSAGES = {effort: message for message, effort in _EFFORTS.items()}
_OBJECTS = {
    pb.OBJECT_KIND_UNSPECIFIED: ObjectKind.NUCLEI,
    pb.OBJECT_KIND_NUCLEI: ObjectKind.NUCLEI,
    pb.OBJECT_KIND_GLANDS: ObjectKind.GLANDS,
}
_OBJECTS_MESSAGES = {objects: message for message, objects in _OBJECTS.items()}
_LABELS = {
    prompt_pb2.CLICK_LABEL_UNSPECIFIED: Label.POSITIVE,
    prompt_pb2.CLICK_LABEL_POSITIVE: Label.POSITIVE,
    prompt_pb2.CLICK_LABEL_NEGATIVE: Label.NEGATIVE,
}
_LABEL_MESSAGES = {label: message for message, label in _LABELS.items()}


def objects_messages(objects: Sequence[ObjectKind]) -> list[pb.ObjectKind]:
    """Return kinds of objects as the protocol names them."""
    return [_OBJECTS_MESSAGES[each] for each in objects]


def objects_of(messages: Sequence[pb.ObjectKind]) -> tuple[ObjectKind, ...]:
    """Return the kinds of objects that this version knows."""
    return tuple(_OBJECTS[each] for each in messages if each in _OBJECTS)


def region_request_of(message: pb.SegmentRegionRequest) -> RegionRequest:
    """Return what is asked of a region.

    Raises:
        InvalidRequest, RequestTooLarge: an option, an outline or an example that is none.
    """
    prompting, effort = _PROMPTINGS.get(message.prompting), _EFFORTS.get(message.effort)
    if prompting is None:
        raise InvalidRequest(f"unknown prompting {message.prompting}; this server knows {sorted(_PROMPTINGS)}")
    if effort is None:
        raise InvalidRequest(f"unknown effort {message.effort}; this server knows {sorted(_EFFORTS)}")
    objects = _OBJECTS.get(message.objects)
    if objects is None:
        raise InvalidRequest(f"unknown objects {message.objects}; this server knows {sorted(_OBJECTS)}")
    scale = message.WhichOneof("scale")
    return RegionRequest(
        place=_place(message),
        clip=message.clip,
        prompting=prompting,
        objects=objects,
        effort=effort,
        grid=GridOptions(
            spacing=_optional(message.grid, "spacing"),
            min_stability=_optional(message.grid, "min_stability"),
            box_nms_iou=_optional(message.grid, "box_nms_iou"),
        ),
        examples=tuple(_example(example) for example in message.examples),
        like_threshold=_optional(message, "like_threshold"),
        downsample=message.downsample if scale == "downsample" else None,
        mpp=message.mpp if scale == "mpp" else None,
        output=output_of(message.output),
        filter=ObjectFilter(
            min_area=message.filter.min_area,
            max_area=message.filter.max_area,
            min_score=_optional(message.filter, "min_score"),
            leave_out_border=message.filter.leave_out_border,
        ),
        search_background=message.search_background,
        resume_token=message.resume_token,
    )


def region_request_message(
    request: RegionRequest, *, image: image_pb2.ImageRef, model: str = ""
) -> pb.SegmentRegionRequest:
    """Return the message of a request about an image; an empty model is the server's default."""
    asked = request.filter
    message = pb.SegmentRegionRequest(
        image=image,
        model=model,
        clip=request.clip,
        prompting=_PROMPTING_MESSAGES[request.prompting],
        objects=_OBJECTS_MESSAGES[request.objects],
        effort=_EFFORT_MESSAGES[request.effort],
        grid=pb.GridOptions(
            spacing=request.grid.spacing,
            min_stability=request.grid.min_stability,
            box_nms_iou=request.grid.box_nms_iou,
        ),
        examples=[_example_message(example) for example in request.examples],
        like_threshold=request.like_threshold,
        output=output_message(request.output),
        filter=pb.ObjectFilter(
            min_area=asked.min_area,
            max_area=asked.max_area,
            min_score=asked.min_score,
            leave_out_border=asked.leave_out_border,
        ),
        search_background=request.search_background,
        resume_token=request.resume_token,
    )
    if isinstance(request.place, Region):
        message.region.CopyFrom(region_message(request.place))
    elif request.place is not None:
        message.outline_wkb = geometry_wkb(request.place)
    if request.downsample is not None:
        message.downsample = request.downsample
    if request.mpp is not None:
        message.mpp = request.mpp
    return message


def region_batch_message(batch: RegionBatch) -> pb.SegmentRegionResponse:
    """Return the message of a batch."""
    progress = batch.progress
    return pb.SegmentRegionResponse(
        objects=[_object_message(each) for each in batch.objects],
        progress=pb.RegionProgress(
            tiles_done=progress.tiles_done,
            tiles_total=progress.tiles_total,
            tiles_skipped=progress.tiles_skipped,
            objects=progress.objects,
            too_large=progress.too_large,
            seconds_left=progress.seconds_left,
        ),
        resume_token=batch.resume_token,
        provenance=None if batch.provenance is None else provenance_message(batch.provenance),
        downsample=batch.downsample,
        tile_size=batch.tile_size,
        timings=None if batch.timings is None else timings_message(batch.timings),
    )


def region_batch_of(message: pb.SegmentRegionResponse) -> RegionBatch:
    """Return a batch from its message."""
    progress = message.progress
    return RegionBatch(
        objects=tuple(_object(each) for each in message.objects),
        progress=RegionProgress(
            tiles_done=progress.tiles_done,
            tiles_total=progress.tiles_total,
            tiles_skipped=progress.tiles_skipped,
            objects=progress.objects,
            too_large=progress.too_large,
            seconds_left=_optional(progress, "seconds_left"),
        ),
        resume_token=message.resume_token,
        provenance=provenance_of(message.provenance) if message.HasField("provenance") else None,
        downsample=message.downsample,
        tile_size=message.tile_size,
        timings=timings_of(message.timings) if message.HasField("timings") else None,
    )


def _place(message: pb.SegmentRegionRequest) -> Region | Polygon | MultiPolygon | None:
    match message.WhichOneof("place"):
        case "region":
            return region_of(message.region)
        case "outline_wkb":
            outline = geometry_of(message.outline_wkb, what="region's outline")
            if outline is None:
                raise InvalidPrompt("the region's outline is empty; send a Polygon or MultiPolygon, or no place at all")
            return outline
    return None


def _example(message: pb.Example) -> Example:
    label = _LABELS.get(message.label)
    if label is None:
        raise InvalidPrompt(f"unknown label {message.label} of an example; send positive or negative")
    if message.WhichOneof("place") == "point":
        return Example((message.point.x, message.point.y), label)
    outline = geometry_of(message.outline_wkb, what="outline of an example")
    if outline is None:
        raise InvalidPrompt("an example has neither an outline nor a point; send one of both")
    return Example(outline, label)


def _example_message(example: Example) -> pb.Example:
    message = pb.Example(label=_LABEL_MESSAGES[example.label])
    if isinstance(example.place, tuple):
        message.point.CopyFrom(prompt_pb2.Point(x=example.place[0], y=example.place[1]))
    else:
        message.outline_wkb = geometry_wkb(example.place)
    return message


def _object_message(found: RegionObject) -> pb.RegionObject:
    outline = found.outline
    return pb.RegionObject(
        number=found.number,
        mask=result_pb2.SegmentedMask(
            geometry_wkb=geometry_wkb(outline.geometry),
            score=outline.score,
            area_px2=outline.area_px2,
            area_um2=outline.area_um2,
        ),
        point=prompt_pb2.Point(x=found.point[0], y=found.point[1]),
        is_cut=found.is_cut,
        likeness=found.likeness,
    )


def _object(message: pb.RegionObject) -> RegionObject:
    mask = message.mask
    geometry = geometry_of(mask.geometry_wkb, what="object", max_bytes=len(mask.geometry_wkb)) or Polygon()
    return RegionObject(
        number=message.number,
        outline=Outline(geometry, mask.score, mask.area_px2, mask.area_um2 if mask.HasField("area_um2") else None),
        point=(message.point.x, message.point.y),
        is_cut=message.is_cut,
        likeness=_optional(message, "likeness"),
    )


def _optional(message: object, name: str) -> float | None:
    """Return a field that may be absent."""
    return float(getattr(message, name)) if message.HasField(name) else None  # type: ignore[attr-defined]
