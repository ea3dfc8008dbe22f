"""What the project's commands ask of a server: `SamClient` and `LocalClient` of `qupath_sam.client` do it.

An image is named by QuPath's own description of it, so that the server opens the very image; where it cannot, pixels
as QuPath renders them are pushed, a region for each object.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from qupath_sam.client.images import ImageRef, Pushed, Slide
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.errors import ProjectError
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import Plane
from qupath_sam.slides.location import PathMap, parse_location
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import Prediction
from qupath_sam.types.service import PixelFormat

#: What the provenance says of pixels that QuPath has rendered.
RENDERING = "QuPath rendered RGB"

#: Longer side of what is pushed for one object, pushed px.
PUSHED_SIDE_PX = 2048


class Predictor(Protocol):
    """Answers for objects of one image, as `qupath_sam.client.SamClient.predict`."""

    def predict(
        self,
        image: Any,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        refine: RefineOptions | None = None,
    ) -> Prediction:
        """Return one result per object, in order."""
        ...


class PixelPusher(Protocol):
    """Takes pixels, as `qupath_sam.client.SamClient.push_pixels`."""

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
        """Hold pixels of a region."""
        ...


class PixelSource(Protocol):
    """Renders pixels, as `qupath_sam.project.jvm.worker.QuPathWorker.pixels`."""

    def pixels(
        self, image: ImageEntry, region: tuple[int, int, int, int], downsample: float, *, z: int = 0, t: int = 0
    ) -> tuple[int, int, bytes]:
        """Return width, height and RGB bytes of a region."""
        ...


class ImageSource(Protocol):
    """Says how the server is to get the pixels for an object."""

    def reference(self, image: ImageEntry, plane: Plane, bounds: tuple[float, float, float, float]) -> ImageRef:
        """Return the image, good for windows around ``bounds`` (level-0 px). Equal references can share a call."""
        ...


@dataclass(frozen=True, slots=True)
class ServerReadsSlides:
    """The server opens the slide itself.

    Attributes:
        path_map: where this machine's folders are on the server's.
    """

    path_map: PathMap = field(default_factory=PathMap)

    def reference(self, image: ImageEntry, plane: Plane, bounds: tuple[float, float, float, float]) -> Slide:
        """Return QuPath's server builder, its path translated."""
        builder = image.slide_builder
        if self.path_map.pairs:
            builder = _translated(builder, self.path_map)
        size = (image.width, image.height) if image.width and image.height else None
        return Slide(json.dumps(builder), size=size, mpp=image.mpp, z=plane.z, t=plane.t)


class PushedPixels:
    """QuPath renders a region around each object, and it is pushed.

    Args:
        pixels: renders.
        server: takes them.
    """

    def __init__(self, pixels: PixelSource, server: PixelPusher) -> None:
        self._pixels = pixels
        self._server = server

    def reference(self, image: ImageEntry, plane: Plane, bounds: tuple[float, float, float, float]) -> Pushed:
        """Push a region of three times the size of ``bounds``, at most `PUSHED_SIDE_PX` wide."""
        region = region_around(bounds, extent_of(image))
        downsample = max(1.0, max(region.width, region.height) / PUSHED_SIDE_PX)
        area = (region.x, region.y, region.width, region.height)
        width, height, data = self._pixels.pixels(image, area, downsample, z=plane.z, t=plane.t)
        return self._server.push_pixels(
            data,
            pixel_format=PixelFormat.RGB,
            region=region,
            image_size=(image.width, image.height),
            pixel_size=(width, height),
            mpp=image.mpp,
            rendering=RENDERING,
        )


def extent_of(image: ImageEntry) -> Region:
    """Return the whole image, level-0 px; raises `ProjectError` where the project does not know its size."""
    if image.width < 1 or image.height < 1:
        raise ProjectError(f"the project does not say how large image {image.name!r} is; open and save it in QuPath")
    return Region(0, 0, image.width, image.height)


def region_around(
    bounds: tuple[float, float, float, float], extent: Region, *, share: float = 1.0, least: float = 256.0
) -> Region:
    """Return the bounds with room on each side, cut to the image.

    Args:
        bounds: level-0 px.
        extent: the image.
        share: room as a share of the longer side.
        least: least room, level-0 px.
    """
    min_x, min_y, max_x, max_y = bounds
    margin = max(share * (max_x - min_x), share * (max_y - min_y), least)
    wide = Region(
        math.floor(min_x - margin),
        math.floor(min_y - margin),
        math.ceil(max_x - min_x + 2 * margin),
        math.ceil(max_y - min_y + 2 * margin),
    )
    region = wide.intersection(extent)
    if region is None:
        raise ProjectError(f"an object with bounds {bounds} lies outside its image {extent.bounds}")
    return region


def _translated(builder: dict[str, Any], path_map: PathMap) -> dict[str, Any]:
    translated = dict(builder)
    if isinstance(builder.get("builder"), dict):
        translated["builder"] = _translated(builder["builder"], path_map)
    if isinstance(builder.get("uri"), str):
        target = parse_location(builder["uri"], path_map).target
        if target != parse_location(builder["uri"]).target:
            translated["uri"] = target
    return translated
