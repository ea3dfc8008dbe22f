"""The engine in this process, with the face of the gRPC client: for commands that run without a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from qupath_sam.client.image import Image, check_pixels, open_image
from qupath_sam.client.images import ImageRef, Pushed
from qupath_sam.client.parts import in_parts
from qupath_sam.engine.build import build_engine
from qupath_sam.engine.call import Call
from qupath_sam.engine.cancellation import CancelToken, check_wanted
from qupath_sam.engine.description import describe_models
from qupath_sam.engine.model_choice import model_for
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.engine.view_windows import DEFAULT_EMBED_WINDOWS, view_windows
from qupath_sam.engine.worker import Priority
from qupath_sam.errors import PixelsMissing
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.builder import parse_builder
from qupath_sam.slides.cache import SlideCache
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.slides.wrapped import calibrated
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.region_requests import RegionRequest
from qupath_sam.types.region_results import RegionBatch
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import Prediction, WindowStatus
from qupath_sam.types.service import EmbedMode, ImageDescription, ModelInfo, checked

#: Requests of one stream that are worked on at once, as on a server.
_LIVE_THREADS = 3


class LocalClient:
    """Segments slides in this process. Use as a context manager, or call `close`."""

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self._settings = settings or EngineSettings()
        self.engine = build_engine(self._settings)
        self.slides = SlideCache()
        self._store = ModelStore(self._settings.models_home)
        self._pushed: dict[bytes, PushedReader] = {}

    def close(self) -> None:
        """Stop the inference thread and close the slides."""
        self.engine.close()
        self.slides.close_all()
        self._pushed.clear()

    def __enter__(self) -> LocalClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def reader(self, image: ImageRef) -> Iterator[SlideReader]:
        """Borrow the reader of an image, as the server would for a request about it.

        Raises:
            SlideError, PixelsMissing: the image cannot be read, or these pixels were never pushed here.
        """
        if isinstance(image, Pushed):
            held = self._pushed.get(image.digest)
            if held is None:
                raise PixelsMissing(image.digest.hex())
            yield held
            return
        text = str(image.location)
        rendered = image.rendering is not None
        source = parse_builder(text, rendered=rendered) if text.lstrip().startswith("{") else image.location
        options = {"z": image.z, "t": image.t}
        with self.slides.open(source, expected_size=image.size, rendering=image.rendering, **options) as slide:
            yield calibrated(slide, image.mpp)

    def open(
        self,
        source: str | PurePath | NDArray[np.uint8],
        *,
        mpp: float | None = None,
        model: str = "",
        z: int = 0,
        t: int = 0,
    ) -> Image:
        """Return an image to segment in: a path, a URI, or uint8 ``(H, W, 3)`` RGB; see `Client.open`."""
        return open_image(self, source, mpp=mpp, model=model, z=z, t=t)

    def models(self) -> list[ModelInfo]:
        """Return the models on offer, the default first."""
        return describe_models(self._store, self.engine.models)

    def describe(self, image: ImageRef) -> ImageDescription:
        """Return what the engine makes of an image; raises `SlideError` where it cannot be read."""
        with self.reader(image) as reader:
            return self.engine.describe(reader)

    def push(self, pixels: NDArray[np.uint8], *, mpp: float | None = None) -> Pushed:
        """Take an array, uint8 ``(H, W, 3)`` RGB, as an image; it is held until the client is closed."""
        check_pixels(pixels)
        reader = PushedReader.of_image(pixels, mpp)
        digest = bytes.fromhex(reader.info.fingerprint)
        self._pushed[digest] = reader
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
        """Encode windows ahead of the first click, nearest to ``focus`` first; see `Client.embed`."""
        request, mode = window or WindowRequest(), checked(EmbedMode, mode, name="mode")
        with self.reader(image) as reader:
            model = model_for(model, mpp=reader.info.mpp, window=request)
            scales = self.engine.scales(reader.info, model=model)
            windows = view_windows(scales, request, view, focus, limit=max_windows or DEFAULT_EMBED_WINDOWS)
            if mode is EmbedMode.WAIT:
                return self.engine.embed(reader, windows, model=model)[0]
            statuses = self.engine.embedded(reader, windows, model=model)
            if mode is EmbedMode.START:
                self._prefetch(image, windows, model, owner=reader.info.fingerprint)
            return statuses

    def predict(
        self,
        image: ImageRef,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        refine: RefineOptions | None = None,
        call: Call | None = None,
    ) -> Prediction:
        """Predict as `qupath_sam.client.SamClient.predict` does; ``call`` cancels it."""

        def ask(part: Sequence[ObjectRequest | ObjectPrompts]) -> Prediction:
            requests = [item if isinstance(item, ObjectRequest) else ObjectRequest(item) for item in part]
            return self.engine.predict(
                reader, requests, model=model, window=window, output=output, refine=refine, call=call
            )

        with self.reader(image) as reader:
            return in_parts(objects, ask, most=self.engine.max_objects)

    def segment_region(
        self, image: ImageRef, request: RegionRequest, *, model: str = "", call: Call | None = None
    ) -> Iterator[RegionBatch]:
        """Segment as `qupath_sam.client.SamClient.segment_region` does; ``call`` cancels it."""
        with self.reader(image) as reader:
            yield from self.engine.segment_region(reader, request, model=model, call=call)

    def live(self) -> LocalLive:
        """Open requests that replace each other, as a stream to a server has them."""
        return LocalLive(self)

    def _prefetch(self, image: ImageRef, windows: Sequence[Window], model: str, *, owner: str) -> None:
        def encode(call: Call) -> None:
            with self.reader(image) as reader:
                self.engine.embed(reader, windows, model=model, call=call, priority=Priority.BACKGROUND)

        self.engine.prefetch(encode, owner=owner)


class LocalLive:
    """Live clicking in this process. Use as a context manager, or call `close`."""

    def __init__(self, client: LocalClient) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(_LIVE_THREADS, thread_name_prefix="qupath-sam-live")
        self._lock = threading.Lock()
        self._newest: dict[str, CancelToken] = {}

    def predict(
        self,
        image: ImageRef,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        supersedes_key: str = "",
    ) -> Future[Prediction]:
        """Ask for outlines. The future raises `Cancelled` where a newer request of the same key replaced this one."""
        token = CancelToken()
        with self._lock:
            older = self._newest.get(supersedes_key) if supersedes_key else None
            if supersedes_key:
                self._newest[supersedes_key] = token
        if older is not None:
            older.cancel()

        def ask() -> Prediction:
            check_wanted(token, None)
            return self._client.predict(
                image, objects, model=model, window=window, output=output, call=Call(cancel=token)
            )

        return self._pool.submit(ask)

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
    ) -> Future[list[WindowStatus]]:
        """Ask for windows to be encoded; as `LocalClient.embed`."""
        return self._pool.submit(
            self._client.embed,
            image,
            model=model,
            window=window,
            view=view,
            focus=focus,
            max_windows=max_windows,
            mode=mode,
        )

    def close(self) -> None:
        """Take no more requests and wait for what is under way."""
        self._pool.shutdown(wait=True)

    def __enter__(self) -> LocalLive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
