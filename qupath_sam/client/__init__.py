"""The Python client: the same shape as the Java one in ``groovy/client``. Imports neither torch nor a slide reader."""

from qupath_sam.client.access import Access
from qupath_sam.client.images import ImageRef, Pushed, Slide
from qupath_sam.client.live import LiveClient
from qupath_sam.client.sam import Capabilities, ModelInfo, SamClient

__all__ = ["Access", "Capabilities", "ImageRef", "LiveClient", "ModelInfo", "Pushed", "SamClient", "Slide"]
