"""The rpcs, each a few lines: parse, ask the engine, answer. Errors leave as exceptions; the interceptors map them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import grpc

from qupath_sam import __version__
from qupath_sam.engine.call import Call
from qupath_sam.engine.description import choice_by_scale
from qupath_sam.engine.engine import Engine
from qupath_sam.engine.model_choice import model_for
from qupath_sam.engine.view_windows import DEFAULT_EMBED_WINDOWS, view_windows
from qupath_sam.engine.worker import CancelToken, Priority
from qupath_sam.errors import InvalidRequest, RequestTooLarge
from qupath_sam.models.registry import AUTO
from qupath_sam.models.spec import LocalWeights, PackagedWeights, WeightsFile
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.protocol import convert
from qupath_sam.protocol.regions import objects_messages, region_batch_message, region_request_of
from qupath_sam.server.clients import Clients
from qupath_sam.server.images import Images
from qupath_sam.server.live import LiveSession
from qupath_sam.server.message_memory import MessageMemory
from qupath_sam.server.request_log import RequestLog
from qupath_sam.server.settings import ServerSettings
from qupath_sam.server.status import StatusSource
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.types.regions import Window
from qupath_sam.types.service import ModelInfo, PixelFormat
from qupath_sam.v1 import image_pb2, region_pb2, status_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc

PROTOCOL_VERSION = 1
#: Most windows of one Embed.
MAX_EMBED_WINDOWS = 1024

_FORMATS = {
    image_pb2.PIXEL_FORMAT_JPEG: PixelFormat.JPEG,
    image_pb2.PIXEL_FORMAT_PNG: PixelFormat.PNG,
    image_pb2.PIXEL_FORMAT_RAW_RGB: PixelFormat.RGB,
}
_PRIORITIES: dict[int, Priority] = {
    pb.PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    pb.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    pb.PRIORITY_BATCH: Priority.BATCH,
}


class Servicer(pb_grpc.SegmentationServiceServicer):
    """The segmentation service over an engine."""

    def __init__(
        self,
        engine: Engine,
        images: Images,
        store: ModelStore,
        settings: ServerSettings,
        clients: Clients,
        requests: RequestLog,
        status: StatusSource,
        messages: MessageMemory,
    ) -> None:
        self._engine = engine
        self._images = images
        self._store = store
        self._settings = settings
        self._clients = clients
        self._requests = requests
        self._status = status
        self._messages = messages

    def GetCapabilities(
        self, request: pb.GetCapabilitiesRequest, context: grpc.ServicerContext
    ) -> pb.GetCapabilitiesResponse:
        """Answer the rpc: versions, default model, device and limits."""
        return pb.GetCapabilitiesResponse(
            server_version=__version__,
            protocol_version=PROTOCOL_VERSION,
            default_model=self._engine.models.default,
            device=self._engine.models.device,
            max_message_bytes=self._settings.max_message_bytes,
            max_objects=self._settings.max_objects,
            max_pushed_pixels=self._settings.max_pushed_pixels,
            max_points=self._settings.max_points,
            reads_slides=self._settings.read_slides,
        )

    def Status(self, request: status_pb2.StatusRequest, context: grpc.ServicerContext) -> status_pb2.StatusResponse:
        """Answer the rpc; see `qupath_sam.server.status`."""
        return self._status.answer(request, context)

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        """Answer the rpc: every model that is known, the default first, and the choice by scale last."""
        loaded, automatic = self._engine.models.loaded(), self._engine.models.automatic_objects()
        default = self._engine.models.default
        specs = sorted(self._store.models().values(), key=lambda spec: spec.name != default)
        return pb.ListModelsResponse(
            models=[
                pb.ModelInfo(
                    name=spec.name,
                    family=spec.family.value,
                    title=spec.title,
                    input_size=spec.capabilities.input_size,
                    mask_count=spec.capabilities.mask_count,
                    takes_points=spec.capabilities.points,
                    takes_boxes=spec.capabilities.boxes,
                    takes_mask_prompt=spec.capabilities.mask_prompt,
                    weights_sha256=_known_sha256(spec.weights),
                    licence=str(spec.licence),
                    loaded=spec.name in loaded,
                    available=spec.weights is None or self._store.is_present(spec),
                    automatic_objects=objects_messages(automatic.get(spec.name, ())),
                )
                for spec in specs
            ]
            + [_choice_message(choice_by_scale(self._store, self._engine.models))]
        )

    def DescribeImage(
        self, request: pb.DescribeImageRequest, context: grpc.ServicerContext
    ) -> pb.DescribeImageResponse:
        """Answer the rpc: size, pixel size and channels of an image."""
        with self._images.borrow(request.image) as slide:
            return pb.DescribeImageResponse(**asdict(self._engine.describe(slide)))

    def PushPixels(self, request: pb.PushPixelsRequest, context: grpc.ServicerContext) -> pb.PushPixelsResponse:
        """Answer the rpc: keep pixels that the client sends, and return their digest."""
        pixel_format = _FORMATS.get(request.format)
        if pixel_format is None:
            raise InvalidRequest(f"unknown pixel format {request.format}; send JPEG, PNG or raw RGB")
        if not (math.isfinite(request.mpp) and request.mpp >= 0):
            raise InvalidRequest(f"a pixel size of {request.mpp} um is none; send a positive number, or 0 if unknown")
        if min(request.pixel_width, request.pixel_height) < 1:
            raise InvalidRequest("a picture has a width and a height; state its size")
        if request.pixel_width * request.pixel_height > self._settings.max_pushed_pixels:
            raise RequestTooLarge(
                f"{request.pixel_width} x {request.pixel_height} px are more than the "
                f"{self._settings.max_pushed_pixels} allowed; push a smaller region or a larger downsample"
            )
        with self._images.memory.reserving(6 * request.pixel_width * request.pixel_height):
            reader = PushedReader(
                request.data,
                pixel_format=pixel_format,
                size=(request.pixel_width, request.pixel_height),
                region=convert.pushed_region_of(request),
                image_size=(request.image_width, request.image_height),
                mpp=request.mpp or None,
                rendering=request.rendering,
            )
            digest = self._images.pushed.put(
                reader, 3 * request.pixel_width * request.pixel_height, owner=self._clients.of(context)
            )
        return pb.PushPixelsResponse(digest=bytes.fromhex(digest))

    def Embed(self, request: pb.EmbedRequest, context: grpc.ServicerContext) -> pb.EmbedResponse:
        """Answer the rpc; see `embed`."""
        return self.embed(request, self._call(context), owner=context.peer())

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:
        """Answer the rpc; see `predict`."""
        return self.predict(request, self._call(context))

    def SegmentRegion(
        self, request: region_pb2.SegmentRegionRequest, context: grpc.ServicerContext
    ) -> Iterator[region_pb2.SegmentRegionResponse]:
        """Answer the rpc: a batch of objects for each part of the region that is done."""
        call, asked = self._call(context), region_request_of(request)
        with self._images.borrow(request.image) as slide:
            for batch in self._engine.segment_region(slide, asked, model=request.model, call=call):
                yield region_batch_message(batch)

    def Live(self, requests: Iterator[pb.LiveRequest], context: grpc.ServicerContext) -> Iterator[pb.LiveResponse]:
        """Answer the rpc: requests of which a newer one replaces an older one; see `LiveSession`."""
        session = LiveSession(
            self,
            owner=f"{context.peer()} {id(context)}",
            client=self._clients.of(context).name,
            requests=self._requests,
            messages=self._messages,
        )
        context.add_callback(session.cancel_all)
        return session.answers(requests)

    def _call(self, context: grpc.ServicerContext) -> Call:
        """Return the call: its client, cancelled when the rpc ends early, its deadline on the monotonic clock."""
        token = CancelToken()
        if not context.add_callback(token.cancel):
            token.cancel()
        remaining = context.time_remaining()
        # gRPC reports "no deadline" as None or as a time in the far future.
        limited = remaining is not None and remaining < 365 * 24 * 3600
        deadline = time.monotonic() + remaining if limited and remaining is not None else None
        return Call(cancel=token, deadline=deadline, client=self._clients.of(context).name)

    def predict(self, request: pb.PredictRequest, call: Call) -> pb.PredictResponse:
        """Predict, wherever the request came from."""
        call = replace(call, priority=_priority_of(request.priority))
        self._load_ahead(request.model)
        self._engine.check_amount([sum(len(c.points) for c in message.clicks) for message in request.objects])
        with self._images.borrow(request.image) as slide:
            prediction = self._engine.predict(
                slide,
                [convert.prompts_of(message) for message in request.objects],
                model=request.model,
                window=convert.window_request_of(request.window),
                output=convert.output_of(request.output),
                refine=convert.refine_of(request.refine) if request.HasField("refine") else None,
                call=call,
            )
        return convert.prediction_message(prediction)

    def embed(self, request: pb.EmbedRequest, call: Call, *, owner: str) -> pb.EmbedResponse:
        """Embed, wherever the request came from; ``owner`` names the client whose newer START replaces its older."""
        _check_embed(request)
        call = replace(call, priority=_priority_of(request.priority))
        self._load_ahead(request.model)
        response = pb.EmbedResponse()
        with self._images.borrow(request.image) as slide:
            wanted = convert.window_request_of(request.window)
            wanted.check_pixel_size(slide.info.mpp)
            model = model_for(request.model, mpp=slide.info.mpp, window=wanted)
            scales = self._engine.scales(slide.info, model=model)
            windows = view_windows(
                scales,
                wanted,
                convert.region_of(request.view) if request.HasField("view") else None,
                (request.focus.x, request.focus.y) if request.HasField("focus") else None,
                limit=min(request.max_windows or DEFAULT_EMBED_WINDOWS, MAX_EMBED_WINDOWS),
            )
            if request.mode in (pb.EMBED_MODE_START, pb.EMBED_MODE_QUERY):
                statuses = self._engine.embedded(slide, windows, model=model)
            else:
                statuses, timings = self._engine.embed(slide, windows, model=model, call=call)
                response.timings.CopyFrom(convert.timings_message(timings))
            if request.mode == pb.EMBED_MODE_START:
                self._prefetch(request, windows, model=model, owner=f"{owner} {slide.info.fingerprint}")
        response.embeddings.extend(convert.status_message(status, scales.mpp) for status in statuses)
        return response

    def _load_ahead(self, model: str) -> None:
        """Have both models loaded of a person who zooms between their scales."""
        if model == AUTO:
            self._engine.load_choices()

    def _prefetch(self, request: pb.EmbedRequest, windows: Sequence[Window], *, model: str, owner: str) -> None:
        client = owner.partition(" ")[0]

        def encode(call: Call) -> None:
            call = replace(call, client=client)
            with self._images.borrow(request.image) as slide:
                self._engine.embed(slide, windows, model=model, call=call, priority=Priority.BACKGROUND)

        self._engine.prefetch(encode, owner=owner)


def _check_embed(request: pb.EmbedRequest) -> None:
    """Raise `InvalidRequest` where the request says something that cannot be meant."""
    if request.mode not in pb.EmbedMode.values():
        raise InvalidRequest(f"unknown mode {request.mode}; this server knows {pb.EmbedMode.values()}")
    if request.max_windows < 0:
        raise InvalidRequest(f"max_windows must not be negative, got {request.max_windows}; 0 takes the server's own")
    if not (math.isfinite(request.focus.x) and math.isfinite(request.focus.y)):
        raise InvalidRequest("the focus must have finite coordinates; leave it out for the view's centre")


def _choice_message(choice: ModelInfo) -> pb.ModelInfo:
    return pb.ModelInfo(
        name=choice.name,
        title=choice.title,
        input_size=choice.input_size,
        mask_count=choice.mask_count,
        takes_points=True,
        takes_boxes=True,
        takes_mask_prompt=True,
        licence=choice.licence,
        loaded=choice.loaded,
        available=choice.available,
        automatic_objects=objects_messages(choice.automatic_objects),
    )


def _known_sha256(weights: WeightsFile | PackagedWeights | LocalWeights | None) -> str:
    return (weights.sha256 or "") if weights is not None else ""


def _priority_of(message: int) -> Priority:
    priority = _PRIORITIES.get(message)
    if priority is None:
        raise InvalidRequest(f"unknown priority {message}; this server knows {sorted(_PRIORITIES)}")
    return priority
