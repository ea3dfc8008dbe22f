"""The messages that the client sends, made of this package's values."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from qupath_sam.client.images import ImageRef, Pushed
from qupath_sam.protocol import convert
from qupath_sam.protocol.rendering import rendering_message
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.service import EmbedMode, checked
from qupath_sam.v1 import image_pb2, prompt_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb

if TYPE_CHECKING:
    from qupath_sam.engine.refine_options import RefineOptions

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")
_MODES = {
    EmbedMode.WAIT: pb.EMBED_MODE_WAIT,
    EmbedMode.START: pb.EMBED_MODE_START,
    EmbedMode.QUERY: pb.EMBED_MODE_QUERY,
}


def image_message(image: ImageRef) -> image_pb2.ImageRef:
    """Return the message of an image. A relative path is made absolute: the server has another folder to start from."""
    if isinstance(image, Pushed):
        return image_pb2.ImageRef(pushed=image_pb2.PushedRef(digest=image.digest))
    width, height = image.size or (0, 0)
    slide = image_pb2.SlideRef(width=width, height=height, mpp=image.mpp or 0.0, z=image.z, t=image.t)
    if image.rendering is not None:
        slide.rendering.CopyFrom(rendering_message(image.rendering))
    text = str(image.location)
    if text.lstrip().startswith("{"):
        slide.server_builder_json = text
    elif _SCHEME.match(text) and not isinstance(image.location, PurePath):
        slide.uri = text
    else:
        slide.path = _absolute(image.location)
    return image_pb2.ImageRef(slide=slide)


def _absolute(location: str | PurePath) -> str:
    text = str(location)
    of_another_system = isinstance(location, PurePath) and not isinstance(location, Path)
    if not text or of_another_system or PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute():
        return text
    return os.path.abspath(text)


def predict_request(
    image: ImageRef,
    objects: Sequence[ObjectRequest | ObjectPrompts],
    *,
    model: str = "",
    window: WindowRequest | None = None,
    output: OutputOptions | None = None,
    refine: RefineOptions | None = None,
) -> pb.PredictRequest:
    """Return the message of a Predict; prompts without a name and token are given neither."""
    requests = [item if isinstance(item, ObjectRequest) else ObjectRequest(item) for item in objects]
    return pb.PredictRequest(
        image=image_message(image),
        model=model,
        objects=[convert.prompts_message(request) for request in requests],
        window=convert.window_request_message(window or WindowRequest()),
        output=convert.output_message(output or OutputOptions()),
        refine=None if refine is None else convert.refine_message(refine),
    )


def embed_request(
    image: ImageRef,
    *,
    model: str = "",
    window: WindowRequest | None = None,
    view: Region | None = None,
    focus: tuple[float, float] | None = None,
    max_windows: int = 0,
    mode: EmbedMode = EmbedMode.WAIT,
) -> pb.EmbedRequest:
    """Return the message of an Embed."""
    request = pb.EmbedRequest(
        image=image_message(image),
        model=model,
        max_windows=max_windows,
        mode=_MODES[checked(EmbedMode, mode, name="mode")],
    )
    request.window.CopyFrom(convert.window_request_message(window or WindowRequest()))
    if view is not None:
        request.view.CopyFrom(convert.region_message(view))
    if focus is not None:
        request.focus.CopyFrom(prompt_pb2.Point(x=focus[0], y=focus[1]))
    return request
