"""Between the protocol's messages and this package's values, both ways. Nothing else sees a ``_pb2``."""

from __future__ import annotations

import math

from shapely.geometry import Polygon

from qupath_sam.engine.refine_guards import Guards
from qupath_sam.engine.refine_options import PromptOptions, RefineOptions
from qupath_sam.errors import InvalidPrompt, InvalidRegion
from qupath_sam.protocol.wkb import geometry_of, geometry_wkb
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.refinements import Refinement, Refusal
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import MaskChoice, ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import (
    Doubt,
    EmbeddingSource,
    ObjectResult,
    Outline,
    Prediction,
    Provenance,
    Timings,
    WindowStatus,
)
from qupath_sam.types.service import ImageDescription
from qupath_sam.v1 import image_pb2, prompt_pb2, result_pb2
from qupath_sam.v1 import segmentation_service_pb2 as service_pb2

_LABELS = {
    prompt_pb2.CLICK_LABEL_POSITIVE: Label.POSITIVE,
    prompt_pb2.CLICK_LABEL_NEGATIVE: Label.NEGATIVE,
}
_CHOICES = {
    prompt_pb2.MASK_CHOICE_UNSPECIFIED: MaskChoice.BEST,
    prompt_pb2.MASK_CHOICE_BEST: MaskChoice.BEST,
    prompt_pb2.MASK_CHOICE_ALL: MaskChoice.ALL,
    prompt_pb2.MASK_CHOICE_LARGEST: MaskChoice.LARGEST,
    prompt_pb2.MASK_CHOICE_SMALLEST: MaskChoice.SMALLEST,
}
_DOUBTS = {
    result_pb2.DOUBT_LOW_SCORE: Doubt.LOW_SCORE,
    result_pb2.DOUBT_LARGE: Doubt.LARGE,
    result_pb2.DOUBT_BACKGROUND: Doubt.BACKGROUND,
}
_DOUBT_MESSAGES = {doubt: message for message, doubt in _DOUBTS.items()}
_CHOICE_MESSAGES = {choice: message for message, choice in _CHOICES.items() if message}
_SOURCES = {
    EmbeddingSource.MEMORY: result_pb2.EMBEDDING_SOURCE_MEMORY,
    EmbeddingSource.DISK: result_pb2.EMBEDDING_SOURCE_DISK,
    EmbeddingSource.COMPUTED: result_pb2.EMBEDDING_SOURCE_COMPUTED,
    EmbeddingSource.SHARED: result_pb2.EMBEDDING_SOURCE_SHARED,
}
_SOURCE_VALUES = {message: source for source, message in _SOURCES.items()}
#: Refusals that a server can tell; the others are the project writer's.
_REFUSALS: dict[Refusal, result_pb2.RefusalReason] = {
    Refusal.OLD_OUTSIDE: result_pb2.REFUSAL_REASON_OLD_OUTSIDE,
    Refusal.LARGER_THAN_WINDOW: result_pb2.REFUSAL_REASON_LARGER_THAN_WINDOW,
    Refusal.EMPTY: result_pb2.REFUSAL_REASON_EMPTY,
    Refusal.INVALID: result_pb2.REFUSAL_REASON_INVALID,
    Refusal.OUTSIDE: result_pb2.REFUSAL_REASON_OUTSIDE,
    Refusal.LOW_SCORE: result_pb2.REFUSAL_REASON_LOW_SCORE,
    Refusal.LOW_IOU: result_pb2.REFUSAL_REASON_LOW_IOU,
    Refusal.AREA_CHANGE: result_pb2.REFUSAL_REASON_AREA_CHANGE,
    Refusal.PART_LOST: result_pb2.REFUSAL_REASON_PART_LOST,
    Refusal.HOLE_LOST: result_pb2.REFUSAL_REASON_HOLE_LOST,
    Refusal.CUT_OFF: result_pb2.REFUSAL_REASON_CUT_OFF,
    Refusal.OLD_INVALID: result_pb2.REFUSAL_REASON_OLD_INVALID,
}
_REFUSAL_VALUES = {message: refusal for refusal, message in _REFUSALS.items()}


def region_of(message: image_pb2.Region) -> Region:
    """Return a region; raises `InvalidRegion` where it is empty."""
    return Region(message.x, message.y, message.width, message.height)


def region_message(region: Region) -> image_pb2.Region:
    """Return the message of a region; raises `InvalidRegion` where its numbers are beyond any image (32 bit)."""
    try:
        return image_pb2.Region(x=region.x, y=region.y, width=region.width, height=region.height)
    except ValueError as error:
        raise InvalidRegion(f"region {region.bounds} is beyond any image; regions are in level-0 pixels") from error


def prompts_of(message: prompt_pb2.ObjectPrompts) -> ObjectRequest:
    """Convert one object's prompts.

    Raises:
        InvalidPrompt: empty, not finite, no label, or an outline that is no polygon.
    """
    try:
        clicks = tuple(_click(click) for click in message.clicks)
        box = (
            Box(message.box.min_x, message.box.min_y, message.box.max_x, message.box.max_y)
            if message.HasField("box")
            else None
        )
        prompts = ObjectPrompts(clicks, box, geometry_of(message.outline_wkb, what="outline"))
    except InvalidPrompt as error:
        raise InvalidPrompt(f"object {message.object_id!r}: {error}") if message.object_id else error from error
    return ObjectRequest(prompts, message.object_id, message.token)


def prompts_message(request: ObjectRequest) -> prompt_pb2.ObjectPrompts:
    """Return the message of one object's prompts."""
    prompts = request.prompts
    message = prompt_pb2.ObjectPrompts(object_id=request.object_id, token=request.token)
    for click in prompts.clicks:
        label = prompt_pb2.CLICK_LABEL_POSITIVE if click.label is Label.POSITIVE else prompt_pb2.CLICK_LABEL_NEGATIVE
        points = [prompt_pb2.Point(x=x, y=y) for x, y in click.points]
        message.clicks.add(points=points, label=label, from_mask=click.from_mask, same_step=click.same_step)
    if prompts.box is not None:
        box = prompts.box
        message.box.CopyFrom(prompt_pb2.Box(min_x=box.min_x, min_y=box.min_y, max_x=box.max_x, max_y=box.max_y))
    if prompts.outline is not None:
        message.outline_wkb = geometry_wkb(prompts.outline)
    return message


def _click(message: prompt_pb2.Click) -> Click:
    label = _LABELS.get(message.label)
    if label is None:
        raise InvalidPrompt("a click has no label; say whether it is positive or negative")
    from_mask = message.from_mask if message.HasField("from_mask") else None
    return Click(tuple((point.x, point.y) for point in message.points), label, from_mask, message.same_step)


def window_request_of(message: prompt_pb2.WindowOptions) -> WindowRequest:
    """Return what the caller says about the window; raises `InvalidRegion`."""
    scale = message.WhichOneof("scale")
    return WindowRequest(
        region=region_of(message.region) if message.HasField("region") else None,
        downsample=message.downsample if scale == "downsample" else None,
        mpp=message.mpp if scale == "mpp" else None,
        view_downsample=message.view_downsample,
        prefer_embedded=message.prefer_embedded,
        closer_look=message.closer_look,
    )


def window_request_message(request: WindowRequest) -> prompt_pb2.WindowOptions:
    """Return the message of a window request."""
    message = prompt_pb2.WindowOptions(
        view_downsample=request.view_downsample,
        prefer_embedded=request.prefer_embedded,
        closer_look=request.closer_look,
    )
    if request.region is not None:
        message.region.CopyFrom(region_message(request.region))
    if request.downsample is not None:
        message.downsample = request.downsample
    if request.mpp is not None:
        message.mpp = request.mpp
    return message


def output_of(message: prompt_pb2.OutputOptions) -> OutputOptions:
    """Return what to do to the masks; raises `InvalidPrompt`."""
    choice = _CHOICES.get(message.mask_choice)
    if choice is None:
        raise InvalidPrompt(f"unknown mask_choice {message.mask_choice}; this server knows {sorted(_CHOICES)}")
    return OutputOptions(
        choice=choice,
        keep_parts=message.keep_parts,
        fill_holes_area=message.fill_holes_area,
        min_area=message.min_area,
        simplify_tolerance=message.simplify_tolerance,
        clip=geometry_of(message.clip_wkb, what="clip outline"),
        clean_share=message.clean_share if message.HasField("clean_share") else OutputOptions().clean_share,
    )


def output_message(output: OutputOptions) -> prompt_pb2.OutputOptions:
    """Return the message of output options."""
    return prompt_pb2.OutputOptions(
        mask_choice=_CHOICE_MESSAGES[output.choice],
        keep_parts=output.keep_parts,
        fill_holes_area=output.fill_holes_area,
        min_area=output.min_area,
        simplify_tolerance=output.simplify_tolerance,
        clip_wkb=geometry_wkb(output.clip) if output.clip is not None else b"",
        clean_share=output.clean_share,
    )


def refine_of(message: prompt_pb2.RefineOptions) -> RefineOptions:
    """Return how outlines are refined; raises `InvalidRequest`."""
    prompts, guards, options = PromptOptions(), Guards(), RefineOptions()

    def given(name: str, default: float) -> float:
        return float(getattr(message, name)) if message.HasField(name) else default

    return RefineOptions(
        PromptOptions(
            outline=not message.no_mask,
            box=not message.no_box,
            box_margin=given("box_margin", prompts.box_margin),
            interior=int(given("interior_points", prompts.interior)),
            exterior=message.exterior_points,
        ),
        Guards(
            min_iou=given("min_iou", guards.min_iou),
            max_area_change=given("max_area_change", guards.max_area_change),
            min_score=message.min_score,
            allow_cut_off=message.allow_cut_off,
            min_part_iou=given("min_part_iou", guards.min_part_iou),
        ),
        given("coarsest_mpp", options.coarsest_mpp),
        along_border=message.along_border,
        remember=message.remember,
    )


def refine_message(options: RefineOptions) -> prompt_pb2.RefineOptions:
    """Return the message of refine options."""
    prompts, guards = options.prompts, options.guards
    return prompt_pb2.RefineOptions(
        interior_points=prompts.interior,
        exterior_points=prompts.exterior,
        no_box=not prompts.box,
        no_mask=not prompts.outline,
        min_iou=guards.min_iou,
        max_area_change=guards.max_area_change,
        min_score=guards.min_score,
        allow_cut_off=guards.allow_cut_off,
        min_part_iou=guards.min_part_iou,
        coarsest_mpp=options.coarsest_mpp,
        box_margin=prompts.box_margin,
        along_border=options.along_border,
        remember=options.remember,
    )


def refinement_message(refinement: Refinement) -> result_pb2.Refinement:
    """Return the message of a verdict."""
    refused = None
    if refinement.refused_wkb:
        refused = result_pb2.SegmentedMask(geometry_wkb=refinement.refused_wkb, score=refinement.score)
    message = result_pb2.Refinement(
        refusal_text=refinement.refusal.value if refinement.refusal else "",
        iou=None if math.isnan(refinement.iou) else refinement.iou,
        refused=refused,
    )
    if refinement.refusal is not None:
        message.refusal = _REFUSALS[refinement.refusal]
    return message


def refinement_of(message: result_pb2.Refinement, score: float) -> Refinement:
    """Return a verdict from its message; a reason that this version does not know counts as no answer.

    Args:
        message: of one object.
        score: of the outline that was taken; NaN where none was.
    """
    unspecified = result_pb2.REFUSAL_REASON_UNSPECIFIED
    refusal = None if message.refusal == unspecified else _REFUSAL_VALUES.get(message.refusal, Refusal.FAILED)
    return Refinement(
        refusal,
        message.iou if message.HasField("iou") else float("nan"),
        message.refused.geometry_wkb,
        message.refused.score if message.HasField("refused") else score,
    )


def window_of(message: image_pb2.Window) -> Window:
    """Return a window."""
    return Window(region_of(message.region), message.width, message.height)


def window_message(window: Window, mpp: float | None) -> image_pb2.Window:
    """Return the message of a window; ``mpp`` is um per level-0 px."""
    return image_pb2.Window(
        region=region_message(window.region),
        width=window.width,
        height=window.height,
        downsample=window.downsample,
        mpp=mpp * window.downsample if mpp else None,
    )


def prediction_message(prediction: Prediction) -> service_pb2.PredictResponse:
    """Return the message of a prediction."""
    mpp = prediction.provenance.mpp
    response = service_pb2.PredictResponse(timings=timings_message(prediction.timings))
    for result in prediction.results:
        message = response.results.add(
            object_id=result.object_id,
            window=window_message(result.window, mpp),
            touches_window_edge=result.touches_window_edge,
            token=result.token,
            resumed_steps=result.resumed_steps,
            embedding_source=_source_message(result.embedding_source),
            doubts=[_DOUBT_MESSAGES[doubt] for doubt in result.doubts],
        )
        for outline in result.outlines:
            message.masks.add(
                geometry_wkb=geometry_wkb(outline.geometry),
                score=outline.score,
                area_px2=outline.area_px2,
                area_um2=outline.area_um2,
                mask_index=outline.mask_index,
                window=None if outline.window is None else window_message(outline.window, mpp),
            )
        if result.refinement is not None:
            message.refinement.CopyFrom(refinement_message(result.refinement))
    response.provenance.CopyFrom(provenance_message(prediction.provenance))
    return response


def prediction_of(message: service_pb2.PredictResponse) -> Prediction:
    """Return a prediction from its message."""
    results = []
    for result in message.results:
        outlines = []
        for mask in result.masks:
            geometry = geometry_of(mask.geometry_wkb, what="result", max_bytes=len(mask.geometry_wkb)) or Polygon()
            area_um2 = mask.area_um2 if mask.HasField("area_um2") else None
            window = window_of(mask.window) if mask.HasField("window") else None
            outlines.append(Outline(geometry, mask.score, mask.area_px2, area_um2, mask.mask_index, window))
        results.append(
            ObjectResult(
                object_id=result.object_id,
                outlines=tuple(outlines),
                window=window_of(result.window),
                touches_window_edge=result.touches_window_edge,
                token=result.token,
                resumed_steps=result.resumed_steps,
                embedding_source=_SOURCE_VALUES.get(result.embedding_source),
                refinement=refinement_of(result.refinement, outlines[0].score if outlines else float("nan"))
                if result.HasField("refinement")
                else None,
                doubts=tuple(_DOUBTS[doubt] for doubt in result.doubts if doubt in _DOUBTS),
            )
        )
    return Prediction(tuple(results), provenance_of(message.provenance), timings_of(message.timings))


def provenance_message(made: Provenance) -> result_pb2.Provenance:
    """Return the message of what made a result."""
    return result_pb2.Provenance(
        model=made.model,
        weights_sha256=made.weights_sha256,
        preprocessing_version=made.preprocessing_version,
        server_version=made.server_version,
        image_fingerprint=made.image_fingerprint,
        pixel_source=made.pixel_source,
        device=made.device,
        mpp=made.mpp,
        remarks=made.remarks,
    )


def provenance_of(made: result_pb2.Provenance) -> Provenance:
    """Return what made a result from its message."""
    return Provenance(
        model=made.model,
        weights_sha256=made.weights_sha256,
        preprocessing_version=made.preprocessing_version,
        server_version=made.server_version,
        image_fingerprint=made.image_fingerprint,
        pixel_source=made.pixel_source,
        device=made.device,
        mpp=made.mpp if made.HasField("mpp") else None,
        remarks=tuple(made.remarks),
    )


def timings_message(timings: Timings) -> result_pb2.Timings:
    """Return the message of timings."""
    return result_pb2.Timings(
        total_ms=timings.total,
        queue_ms=timings.queue,
        read_ms=timings.read,
        encode_ms=timings.encode,
        decode_ms=timings.decode,
        trace_ms=timings.trace,
    )


def timings_of(message: result_pb2.Timings) -> Timings:
    """Convert timings from their message."""
    return Timings(
        total=message.total_ms,
        queue=message.queue_ms,
        read=message.read_ms,
        encode=message.encode_ms,
        decode=message.decode_ms,
        trace=message.trace_ms,
    )


def status_message(status: WindowStatus, mpp: float | None) -> service_pb2.EmbeddingStatus:
    """Return the message of one window's embedding."""
    return service_pb2.EmbeddingStatus(
        window=window_message(status.window, mpp), ready=status.ready, source=_source_message(status.source)
    )


def status_of(message: service_pb2.EmbeddingStatus) -> WindowStatus:
    """Convert one window's embedding from its message."""
    return WindowStatus(window_of(message.window), message.ready, _SOURCE_VALUES.get(message.source))


def _source_message(source: EmbeddingSource | None) -> result_pb2.EmbeddingSource:
    return _SOURCES[source] if source is not None else result_pb2.EMBEDDING_SOURCE_UNSPECIFIED


def pushed_region_of(message: service_pb2.PushPixelsRequest) -> Region:
    """Return where pushed pixels lie; raises `InvalidRegion` where that is not in the image."""
    region = region_of(message.region)
    if message.image_width < 1 or message.image_height < 1:
        raise InvalidRegion("pushed pixels need the width and height of the whole image")
    if not Region(0, 0, message.image_width, message.image_height).encloses(region):
        raise InvalidRegion(
            f"the pushed region {region.bounds} does not lie in the image of "
            f"{message.image_width} x {message.image_height} px"
        )
    return region


def description_of(message: service_pb2.DescribeImageResponse) -> ImageDescription:
    """Return what the engine makes of an image."""
    return ImageDescription(
        width=message.width,
        height=message.height,
        mpp=message.mpp if message.HasField("mpp") else None,
        level_downsamples=tuple(message.level_downsamples),
        fingerprint=message.fingerprint,
        pixel_source=message.pixel_source,
        remarks=tuple(message.remarks),
        scales=tuple(message.scales),
        channels=tuple(message.channels),
        size_z=message.size_z,
        size_t=message.size_t,
    )
