"""The Python clients. Importing this loads neither torch nor a slide reader; `qupath_sam.client.local` does.

Each name loads what it needs when it is first used: a client in this process needs no gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qupath_sam.client.access import Access
    from qupath_sam.client.image import Image, SegmentedObject, SegmentedObjects
    from qupath_sam.client.images import ImageRef, Pushed, Slide
    from qupath_sam.client.interface import Client, Live
    from qupath_sam.client.live import LiveClient
    from qupath_sam.client.sam import Capabilities, SamClient
    from qupath_sam.types.service import EmbedMode, ModelInfo, PixelFormat

__all__ = [
    "Access",
    "Capabilities",
    "Client",
    "EmbedMode",
    "Image",
    "ImageRef",
    "Live",
    "LiveClient",
    "ModelInfo",
    "PixelFormat",
    "Pushed",
    "SamClient",
    "SegmentedObject",
    "SegmentedObjects",
    "Slide",
]

#: Where each name is.
_MODULES = {
    "Access": "client.access",
    "Capabilities": "client.sam",
    "Client": "client.interface",
    "EmbedMode": "types.service",
    "Image": "client.image",
    "ImageRef": "client.images",
    "Live": "client.interface",
    "LiveClient": "client.live",
    "ModelInfo": "types.service",
    "PixelFormat": "types.service",
    "Pushed": "client.images",
    "SamClient": "client.sam",
    "SegmentedObject": "client.image",
    "SegmentedObjects": "client.image",
    "Slide": "client.images",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"qupath_sam.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
