"""What keeps requests about one image on one of several servers: a key that a front (NGINX, Envoy) hashes.

Servers behind a front hold embeddings, states and pushed pixels each for itself. Any of them answers any request about
a slide, and the same; the key only saves encoding one window on each of them. Pushed pixels are with the server that
got them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

from qupath_sam.protocol.route import ROUTE_METADATA
from qupath_sam.v1 import image_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb

#: Pushed images whose key is remembered, and bytes of one that make its key.
_MOST_PUSHED = 1024
_HEAD_BYTES = 65536


class Routes:
    """Makes the keys of requests."""

    def __init__(self) -> None:
        self._pushed: OrderedDict[bytes, str] = OrderedDict()

    def metadata(self, request: Any) -> tuple[tuple[str, str], ...]:
        """Return what a request carries beside its access; nothing where it is about no image."""
        if isinstance(request, pb.PushPixelsRequest):
            return ((ROUTE_METADATA, _route_of_push(request)),)
        image = getattr(request, "image", None)
        if not isinstance(image, image_pb2.ImageRef):
            return ()
        return ((ROUTE_METADATA, self._route_of(image)),)

    def pushed(self, request: pb.PushPixelsRequest, digest: bytes) -> None:
        """Remember where pixels were pushed to: what refers to them by their digest goes there, too."""
        self._pushed[digest] = _route_of_push(request)
        self._pushed.move_to_end(digest)
        while len(self._pushed) > _MOST_PUSHED:
            self._pushed.popitem(last=False)

    def _route_of(self, image: image_pb2.ImageRef) -> str:
        if image.WhichOneof("source") == "pushed":
            return self._pushed.get(image.pushed.digest, image.pushed.digest.hex()[:16])
        location = image.slide.WhichOneof("location")
        return _key(getattr(image.slide, location) if location else "")


def _route_of_push(request: pb.PushPixelsRequest) -> str:
    region = request.region
    place = f"{region.x} {region.y} {region.width} {region.height} {len(request.data)} "
    return _key(place, request.data[:_HEAD_BYTES])


def _key(text: str, data: bytes = b"") -> str:
    return hashlib.sha256(text.encode("utf-8", "replace") + data).hexdigest()[:16]
