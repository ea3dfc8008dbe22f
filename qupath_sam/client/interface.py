"""What `LocalClient` and `SamClient` have in common: code that is given one of them runs with the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from qupath_sam.client.images import ImageRef, Pushed
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.region_requests import RegionRequest
from qupath_sam.types.region_results import RegionBatch
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import Prediction, WindowStatus
from qupath_sam.types.service import EmbedMode, ImageDescription, ModelInfo

if TYPE_CHECKING:
    from qupath_sam.client.image import Image


class Live(Protocol):
    """Clicks that follow each other: of those with one key, only the newest has to be answered."""

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
        ...

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
        """Ask for windows to be encoded; as `Client.embed`."""
        ...

    def close(self) -> None:
        """Take no more requests and wait for what is under way."""
        ...

    def __enter__(self) -> Self:
        """Return itself; `close` when the block ends."""
        ...

    def __exit__(self, *_: object) -> None: ...


class Client(Protocol):
    """Segments objects of images. Safe to use from several threads."""

    def open(
        self,
        source: str | PurePath | NDArray[np.uint8],
        *,
        mpp: float | None = None,
        model: str = "",
        z: int = 0,
        t: int = 0,
    ) -> Image:
        """Return an image to segment in: a path, a URI, or uint8 ``(H, W, 3)`` RGB; of a stack the plane at z and t."""
        ...

    def models(self) -> list[ModelInfo]:
        """Return the models on offer, the default first."""
        ...

    def describe(self, image: ImageRef) -> ImageDescription:
        """Return what the engine makes of an image; raises `SlideError` where it cannot be read."""
        ...

    def push(self, pixels: NDArray[np.uint8], *, mpp: float | None = None) -> Pushed:
        """Hand over a whole image, uint8 ``(H, W, 3)`` RGB, taken as level 0."""
        ...

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
        """Have windows encoded ahead of the first click, nearest to ``focus`` (level-0 px) first."""
        ...

    def predict(
        self,
        image: ImageRef,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        refine: RefineOptions | None = None,
    ) -> Prediction:
        """Outline independent objects of one image, in order; with ``refine``, better than they are."""
        ...

    def segment_region(self, image: ImageRef, request: RegionRequest, *, model: str = "") -> Iterator[RegionBatch]:
        """Yield all objects of a region, as its tiles are done; the work goes on while the batches are taken."""
        ...

    def live(self) -> Live:
        """Return a stream for live clicking; close it when the person stops."""
        ...

    def close(self) -> None:
        """End it; calls under way are cancelled."""
        ...
