"""How a client names an image: a slide that the server can open, or pixels that it pushes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from qupath_sam.slides.rendering import Rendering


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


@dataclass(frozen=True, slots=True)
class Pushed:
    """Pixels that were pushed; ``digest`` as `SamClient.push_pixels` returned it."""

    digest: bytes


ImageRef = Slide | Pushed
