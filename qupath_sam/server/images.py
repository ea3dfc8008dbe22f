"""From the protocol's image references to slide readers: slides that the server opens, and pixels that were pushed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from qupath_sam.errors import InvalidRequest, PixelsMissing, SlideUnsupported
from qupath_sam.protocol.rendering import rendering_of
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.builder import parse_builder
from qupath_sam.slides.cache import SlideCache
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.slides.wrapped import calibrated
from qupath_sam.v1 import image_pb2

#: Length of what names pushed pixels: SHA-256.
DIGEST_BYTES = 32


class PushedStore:
    """Pushed pixels by digest, least recently used first out, bounded in bytes. Safe to use from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._readers: OrderedDict[str, tuple[PushedReader, int]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, reader: PushedReader, size_bytes: int) -> str:
        """Hold the pixels (of that many bytes in memory); returns the hex digest to refer to them by."""
        digest = reader.info.fingerprint
        with self._lock:
            if digest not in self._readers:
                self._readers[digest] = reader, size_bytes
                self._bytes += size_bytes
            self._readers.move_to_end(digest)
            while self._bytes > self._max_bytes and len(self._readers) > 1:
                _, (_, dropped_bytes) = self._readers.popitem(last=False)
                self._bytes -= dropped_bytes
        return digest

    def get(self, digest: str) -> PushedReader:
        """The pixels of a digest; raises `PixelsMissing` where they are not held."""
        with self._lock:
            held = self._readers.get(digest)
            if held is None:
                raise PixelsMissing(digest)
            self._readers.move_to_end(digest)
            return held[0]


class Images:
    """Finds the pixels that a request is about."""

    def __init__(self, slides: SlideCache | None, pushed: PushedStore) -> None:
        self._slides = slides
        self.pushed = pushed

    @contextmanager
    def borrow(self, image: image_pb2.ImageRef) -> Iterator[SlideReader]:
        """The reader, with the pixel size that the client insists on, if any.

        Raises:
            InvalidRequest: no source is set, or what it says of the image cannot be.
            SlideError, PixelsMissing: the pixels cannot be had.
        """
        source = image.WhichOneof("source")
        if source == "pushed":
            digest = image.pushed.digest
            if len(digest) != DIGEST_BYTES:
                raise InvalidRequest(f"a digest of {len(digest)} bytes is none; send the one that PushPixels answered")
            yield self.pushed.get(digest.hex())
        elif source == "slide":
            with self._open(image.slide) as slide:
                yield calibrated(slide, image.slide.mpp or None)
        else:
            raise InvalidRequest("the request names no image; set image.slide or image.pushed")

    def _open(self, slide: image_pb2.SlideRef) -> AbstractContextManager[SlideReader]:
        if self._slides is None:
            raise SlideUnsupported("this server opens no slides; push the pixels")
        location = slide.WhichOneof("location")
        if location is None:
            raise InvalidRequest("the slide has no location; set path, uri or server_builder_json")
        text = getattr(slide, location)
        rendering = rendering_of(slide.rendering) if slide.HasField("rendering") else None
        named = location == "server_builder_json"
        source = parse_builder(text, rendered=rendering is not None) if named else text
        expected = (slide.width, slide.height) if slide.width or slide.height else None
        if expected is not None and min(expected) < 1:
            raise InvalidRequest(f"no slide has {slide.width} x {slide.height} px; send both sides or neither")
        return self._slides.open(source, expected_size=expected, z=slide.z, t=slide.t, rendering=rendering)
