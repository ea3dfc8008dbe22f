"""A client of the segmentation service: one channel, kept open; values in, values out, errors of this package."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from time import monotonic, sleep
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from qupath_sam.client.access import Access, read_ca
from qupath_sam.client.address import checked_address
from qupath_sam.client.failures import error_from
from qupath_sam.client.image import Image, check_pixels, open_image
from qupath_sam.client.images import ImageRef, Pushed
from qupath_sam.client.live import LiveClient
from qupath_sam.client.messages import embed_request, image_message, predict_request
from qupath_sam.client.parts import in_parts
from qupath_sam.client.route import Routes
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.errors import InvalidRequest, RequestTooLarge, ServerBusy, ServerStarting, ServerUnavailable
from qupath_sam.protocol import convert
from qupath_sam.protocol.plain import plain
from qupath_sam.protocol.regions import objects_of, region_batch_of, region_request_message
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.region_requests import RegionRequest
from qupath_sam.types.region_results import RegionBatch
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import Prediction, WindowStatus
from qupath_sam.types.service import EmbedMode, ImageDescription, ModelInfo, PixelFormat, checked
from qupath_sam.v1 import image_pb2, status_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc

log = logging.getLogger(__name__)

#: Versions of the protocol's meaning that this client knows.
KNOWN_PROTOCOLS = (1,)
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
#: Pauses between attempts at a busy server for work that no person waits for, seconds.
PATIENT_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)

_FORMATS = {
    PixelFormat.JPEG: image_pb2.PIXEL_FORMAT_JPEG,
    PixelFormat.PNG: image_pb2.PIXEL_FORMAT_PNG,
    PixelFormat.RGB: image_pb2.PIXEL_FORMAT_RAW_RGB,
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server says of itself."""

    server_version: str
    default_model: str
    device: str
    max_message_bytes: int
    max_objects: int
    max_points: int
    max_pushed_pixels: int
    reads_slides: bool


class SamClient:
    """Talks to a server. Safe to use from several threads. Use as a context manager, or call `close`.

    Args:
        address: ``host:port``.
        timeout_s: patience for each call, seconds; for as long a server that loads its model is waited for.
        token: sent with every call, where the server asks for one.
        ca: PEM file with the certificate to trust; encrypts.
        access: encryption and token in full, instead of ``token`` and ``ca``.
        busy_pauses_s: a call that finds the server busy is made again after each of these, seconds; without any,
            `ServerBusy` is raised at once. Live streams are not concerned.
        batch: no person waits for the answers: those of persons come first, and no click can follow an answer.

    Raises:
        InvalidRequest: the address is none.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 120.0,
        token: str = "",
        ca: str | Path | None = None,
        access: Access | None = None,
        busy_pauses_s: Sequence[float] = (),
        batch: bool = False,
    ) -> None:
        if access is not None and (token or ca is not None):
            raise InvalidRequest("give token and ca, or access that holds both")
        if access is None:
            access = Access(token=token, ca=None if ca is None else read_ca(Path(ca)))
        address = checked_address(address)
        if access.exposes_token(address):
            log.warning("the token travels to %s unencrypted; use TLS, or a tunnel", address)
        self.address = address
        self._metadata = access.metadata()
        self._routes = Routes()
        self._timeout_s = timeout_s
        self._busy_pauses_s = tuple(busy_pauses_s)
        self._known: Capabilities | None = None
        self._priority = pb.PRIORITY_BATCH if batch else pb.PRIORITY_INTERACTIVE
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # A server is called where it is: a proxy that the environment names for the web would be in the way.
            ("grpc.enable_http_proxy", 0),
            # A machine that has gone says nothing; without pings a live stream would wait for it for ever.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.ping_timeout_ms", 10_000),  # without it gRPC 1.85 waits for a minute
            ("grpc.http2.max_pings_without_data", 0),
            # Clients of one process are as apart as those of several: servers let connections take turns.
            ("grpc.use_local_subchannel_pool", 1),
            # A server that was started again is found again in seconds, not minutes.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]
        self._channel = access.channel(address, options)
        # Both now: gRPC crashes when a stub is made of a channel that was closed.
        self._stub = pb_grpc.SegmentationServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._channel.close()

    def __enter__(self) -> SamClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_serving(self, *, timeout_s: float = 2.0) -> bool:
        """Return whether the server answers and says it serves (gRPC health)."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except (grpc.RpcError, ValueError):
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def capabilities(self) -> Capabilities:
        """Return what the server is and allows.

        Raises:
            ServerUnavailable: nothing answers, or it speaks a protocol that this client does not know.
        """
        answer = self._patiently(self._stub.GetCapabilities, pb.GetCapabilitiesRequest())
        if answer.protocol_version not in KNOWN_PROTOCOLS:
            raise ServerUnavailable(
                f"the server at {self.address} ({answer.server_version}) speaks protocol {answer.protocol_version}, "
                f"this client {KNOWN_PROTOCOLS}; install the same version of qupath-sam on both sides"
            )
        return Capabilities(
            server_version=answer.server_version,
            default_model=answer.default_model,
            device=answer.device,
            max_message_bytes=answer.max_message_bytes,
            max_objects=answer.max_objects,
            max_points=answer.max_points,
            max_pushed_pixels=answer.max_pushed_pixels,
            reads_slides=answer.reads_slides,
        )

    def status(self) -> dict[str, Any]:
        """Return what the server does now: the fields of the protocol's StatusResponse by name; enums are names.

        It is answered while the server starts, too.

        Raises:
            ServerUnavailable, Unauthenticated: nothing answers, or it does not let us in.
        """
        return plain(self._call_once(self._stub.Status, status_pb2.StatusRequest(), None))

    def models(self) -> list[ModelInfo]:
        """Return the models on offer, the server's default first."""
        answer = self._call(self._stub.ListModels, pb.ListModelsRequest())
        names = [name for name in ModelInfo.__dataclass_fields__ if name != "automatic_objects"]
        return [
            ModelInfo(
                **{name: getattr(model, name) for name in names}, automatic_objects=objects_of(model.automatic_objects)
            )
            for model in answer.models
        ]

    def describe(self, image: ImageRef) -> ImageDescription:
        """Return what the server makes of an image.

        Raises:
            SlideError, PixelsMissing: the server cannot see it.
        """
        answer = self._call(self._stub.DescribeImage, pb.DescribeImageRequest(image=image_message(image)))
        return convert.description_of(answer)

    def open(
        self,
        source: str | PurePath | NDArray[np.uint8],
        *,
        mpp: float | None = None,
        model: str = "",
        z: int = 0,
        t: int = 0,
    ) -> Image:
        """Return an image to segment in: a slide that the server sees under this path or URI, or an array that is sent.

        Args:
            source: path, URI, QuPath's server-builder JSON, or uint8 ``(H, W, 3)`` RGB.
            mpp: um per level-0 px; None takes the slide's own.
            model: empty takes the server's default.
        """
        return open_image(self, source, mpp=mpp, model=model, z=z, t=t)

    def push(self, pixels: NDArray[np.uint8], *, mpp: float | None = None) -> Pushed:
        """Send a whole image, uint8 ``(H, W, 3)`` RGB, that the server cannot read.

        Args:
            pixels: taken as level 0.
            mpp: um per px.

        Raises:
            InvalidRequest: not such an array.
            RequestTooLarge: more px than the server takes; see `capabilities`.
        """
        check_pixels(pixels)
        height, width = pixels.shape[:2]
        return self.push_pixels(
            pixels.tobytes(),
            pixel_format=PixelFormat.RGB,
            region=Region(0, 0, width, height),
            image_size=(width, height),
            pixel_size=(width, height),
            mpp=mpp,
        )

    def push_pixels(
        self,
        data: bytes,
        *,
        pixel_format: PixelFormat,
        region: Region,
        image_size: tuple[int, int],
        pixel_size: tuple[int, int],
        mpp: float | None = None,
        rendering: str = "",
    ) -> Pushed:
        """Send pixels of a region that the server cannot read.

        Args:
            data: JPEG or PNG file, or raw RGB bytes.
            pixel_format: how they are written.
            region: what they show, level-0 px.
            image_size: ``(width, height)`` of the whole image, level-0 px.
            pixel_size: ``(width, height)`` of the pushed pixels.
            mpp: um per level-0 px.
            rendering: how they were rendered, for the provenance.
        """
        request = pb.PushPixelsRequest(
            format=_FORMATS[checked(PixelFormat, pixel_format, name="pixel format")],
            data=data,
            pixel_width=pixel_size[0],
            pixel_height=pixel_size[1],
            region=convert.region_message(region),
            image_width=image_size[0],
            image_height=image_size[1],
            mpp=mpp or 0.0,
            rendering=rendering,
        )
        digest: bytes = self._call(self._stub.PushPixels, request).digest
        self._routes.pushed(request, digest)
        return Pushed(digest)

    def embed(
        self,
        image: ImageRef,
        *,
        model: str = "",
        window: WindowRequest | None = None,
        view: Region | None = None,
        focus: tuple[float, float] | None = None,
        max_windows: int = 0,
        mode: EmbedMode = EmbedMode.WAIT,
    ) -> list[WindowStatus]:
        """Have windows encoded ahead of the first click, nearest to ``focus`` first.

        Args:
            image: which image.
            model: empty takes the server's default.
            window: scale, or the very window.
            view: part of the image in view, level-0 px.
            focus: where the pointer is, level-0 px.
            max_windows: 0 takes the server's default.
            mode: wait for them, start in the background, or ask what is there.
        """
        request = embed_request(
            image, model=model, window=window, view=view, focus=focus, max_windows=max_windows, mode=mode
        )
        request.priority = self._priority
        return [convert.status_of(status) for status in self._call(self._stub.Embed, request).embeddings]

    def predict(
        self,
        image: ImageRef,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        refine: RefineOptions | None = None,
        timeout_s: float | None = None,
    ) -> Prediction:
        """Segment objects of one image: as `qupath_sam.engine.engine.Engine.predict`, over the wire.

        More objects than the server takes in one call are sent in several.

        Args:
            timeout_s: patience for each call, seconds; None takes the client's.

        Raises:
            QupathSamError: what the server raised, or `ServerUnavailable`, `DeadlineExceeded`.
        """

        def ask(part: Sequence[ObjectRequest | ObjectPrompts]) -> Prediction:
            request = predict_request(image, part, model=model, window=window, output=output, refine=refine)
            request.priority = self._priority
            if len(part) > 1 and request.ByteSize() > limits[1]:
                raise RequestTooLarge(f"{len(part)} objects fill more than a message; send fewer")
            return convert.prediction_of(self._call(self._stub.Predict, request, timeout_s=timeout_s))

        limits = self._limits() if len(objects) > 1 else (1, MAX_MESSAGE_BYTES)
        return in_parts(objects, ask, most=limits[0])

    def segment_region(
        self, image: ImageRef, request: RegionRequest, *, model: str = "", timeout_s: float | None = None
    ) -> Iterator[RegionBatch]:
        """Find all objects of a region: as `qupath_sam.engine.engine.Engine.segment_region`, over the wire.

        The server works while the batches are taken. Closing the iterator cancels the call.

        Args:
            timeout_s: patience for the whole region, seconds; None waits as long as it takes.

        Raises (while the batches are taken):
            QupathSamError: what the server raised, or `ServerUnavailable`, `DeadlineExceeded`.
        """
        self._check_protocol()
        message = region_request_message(request, image=image_message(image), model=model)
        try:
            metadata = (*self._metadata, *self._routes.metadata(message))
            answers = self._stub.SegmentRegion(message, timeout=timeout_s, metadata=metadata)
        except ValueError as error:
            raise ServerUnavailable(f"this client of {self.address} is closed; make a new one") from error
        try:
            for answer in answers:
                yield region_batch_of(answer)
        except grpc.RpcError as error:
            raise error_from(error, self.address) from error
        finally:
            answers.cancel()

    def live(self) -> LiveClient:
        """Open a stream for live clicking; close it when the person stops."""
        self._check_protocol()
        try:
            return LiveClient(self._stub, self.address, self._metadata)
        except ValueError as error:
            raise ServerUnavailable(f"this client of {self.address} is closed; make a new one") from error

    def _limits(self) -> tuple[int, int]:
        """Return the most objects and the most bytes of one call; asked once."""
        known = self._check_protocol()
        return max(1, known.max_objects), known.max_message_bytes or MAX_MESSAGE_BYTES

    def _check_protocol(self) -> Capabilities:
        """Ask the server for its protocol before the first call; raises as `capabilities`."""
        if self._known is None:
            self._known = self.capabilities()
        return self._known

    def _call(self, method: Callable[..., Any], request: Any, *, timeout_s: float | None = None) -> Any:
        self._check_protocol()
        return self._patiently(method, request, timeout_s=timeout_s)

    def _patiently(self, method: Callable[..., Any], request: Any, *, timeout_s: float | None = None) -> Any:
        for pause_s in self._busy_pauses_s:
            try:
                return self._call_once(method, request, timeout_s)
            except ServerBusy as error:
                log.info("%s is busy (%s); asking again in %g s", self.address, error, pause_s)
                sleep(pause_s)
        return self._call_once(method, request, timeout_s)

    def _call_once(self, method: Callable[..., Any], request: Any, timeout_s: float | None) -> Any:
        timeout = self._timeout_s if timeout_s is None else timeout_s
        patient_until = monotonic() + timeout
        while True:
            try:
                return self._ask(method, request, timeout)
            except ServerStarting as starting:
                if monotonic() + starting.retry_after_s >= patient_until:
                    raise
                log.info("%s: %s", self.address, starting)
                sleep(starting.retry_after_s)

    def _ask(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Any:
        try:
            return method(request, timeout=timeout_s, metadata=(*self._metadata, *self._routes.metadata(request)))
        except grpc.RpcError as error:
            raise error_from(error, self.address) from error
        except ValueError as error:  # gRPC's way to say that the channel is closed
            raise ServerUnavailable(f"this client of {self.address} is closed; make a new one") from error
