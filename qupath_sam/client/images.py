"""How a client names an image: a slide that the server can open, or pixels that it pushes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from qupath_sam.protocol.rendering import rendering_message
from qupath_sam.slides.rendering import Rendering
from qupath_sam.v1 import image_pb2

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")


@dataclass(frozen=True, slots=True)
class Slide:
    """A slide that the server opens itself.

    Attributes:
        location: path, URI, or QuPath's server-builder JSON (starts with a brace).
        size: ``(width, height)`` of level 0 as the client sees it; a slide of another size is refused.
        mpp: um per level-0 px as the client has it calibrated; None takes the file's own.
        z, t: plane of a stack.
        rendering: how to show what is not 8-bit RGB; None leaves it to the server.
    """

    location: str | PurePath
    size: tuple[int, int] | None = None
    mpp: float | None = None
    z: int = 0
    t: int = 0
    rendering: Rendering | None = None

    def message(self) -> image_pb2.ImageRef:
        """The message of this slide."""
        width, height = self.size or (0, 0)
        slide = image_pb2.SlideRef(width=width, height=height, mpp=self.mpp or 0.0, z=self.z, t=self.t)
        if self.rendering is not None:
            slide.rendering.CopyFrom(rendering_message(self.rendering))
        text = str(self.location)
        if text.lstrip().startswith("{"):
            slide.server_builder_json = text
        elif _SCHEME.match(text) and not isinstance(self.location, PurePath):
            slide.uri = text
        else:
            slide.path = text
        return image_pb2.ImageRef(slide=slide)


@dataclass(frozen=True, slots=True)
class Pushed:
    """Pixels that were pushed; ``digest`` as `SamClient.push_pixels` returned it."""

    digest: bytes

    def message(self) -> image_pb2.ImageRef:
        """The message of these pixels."""
        return image_pb2.ImageRef(pushed=image_pb2.PushedRef(digest=self.digest))


ImageRef = Slide | Pushed
