"""The Python clients. Importing this loads neither torch nor a slide reader; `qupath_sam.client.local` does."""

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
