"""From the protocol's image references to slide readers: slides that the server opens, and pixels that were pushed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from qupath_sam.errors import InvalidRequest, PixelsMissing, RequestTooLarge, SlideUnsupported
from qupath_sam.machine.byte_lru import ByteLru
from qupath_sam.protocol.rendering import rendering_of
from qupath_sam.server.clients import Client
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.builder import parse_builder
from qupath_sam.slides.cache import SlideCache
from qupath_sam.slides.memory import DecodeMemory
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.slides.wrapped import calibrated
from qupath_sam.v1 import image_pb2

#: Length of what names pushed pixels: SHA-256.
DIGEST_BYTES = 32


@dataclass(slots=True)
class _Held:
    """Pixels that are held.

    Attributes:
        owners: names of the clients that have pushed them, on whose accounts they are.
    """

    reader: PushedReader
    size_bytes: int
    owners: set[str]


class PushedStore:
    """Pushed pixels by digest, least recently used first out, bounded in bytes. Safe to use from several threads.

    Args:
        max_bytes: of all clients; what a client's limits allow it is part of that.
    """

    def __init__(self, max_bytes: int) -> None:
        self._held: ByteLru[str, _Held] = ByteLru(max_bytes)
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Bytes held now."""
        return self._held.size_bytes

    @property
    def max_bytes(self) -> int:
        """The limit."""
        return self._held.max_bytes

    def __len__(self) -> int:
        """Return how many pictures are held."""
        return len(self._held)

    def resize(self, max_bytes: int) -> None:
        """Change the limit; the least recently used give way."""
        with self._lock:
            self._held.resize(max_bytes)

    def bytes_of(self, name: str) -> int:
        """Return the bytes that a client has pushed and that are still held."""
        with self._lock:
            return self._bytes_of(name)

    def put(self, reader: PushedReader, size_bytes: int, *, owner: Client) -> str:
        """Hold the pixels (of that many bytes in memory); returns the hex digest to refer to them by.

        Beyond its own limit a client's own pixels give way, beyond the server's the least recently used ones.

        Raises:
            RequestTooLarge: these alone are more than the client may have.
        """
        allowed = min(owner.limits.pushed_bytes or self._held.max_bytes, self._held.max_bytes)
        if size_bytes > allowed:
            raise RequestTooLarge(
                f"{size_bytes} bytes of pixels are more than the {allowed} allowed; push a smaller region"
            )
        digest = reader.info.fingerprint
        with self._lock:
            held = self._held.get(digest)
            owners = set() if held is None else held.owners
            if owner.name not in owners:
                while self._bytes_of(owner.name) + size_bytes > allowed:
                    self._let_go(owner.name)
            self._held.put(digest, _Held(reader, size_bytes, owners | {owner.name}), size_bytes)
        return digest

    def get(self, digest: str) -> PushedReader:
        """Return the pixels of a digest; raise `PixelsMissing` where they are not held."""
        with self._lock:
            held = self._held.get(digest)
            if held is None:
                raise PixelsMissing(digest)
            return held.reader

    def _bytes_of(self, name: str) -> int:
        return sum(held.size_bytes for _, held in self._held.items() if name in held.owners)

    def _let_go(self, name: str) -> None:
        """Take the oldest pixels off a client's account; they stay while they are on another's."""
        digest, held = next(item for item in self._held.items() if name in item[1].owners)
        held.owners.discard(name)
        if not held.owners:
            self._held.pop(digest)


class Images:
    """Finds the pixels that a request is about."""

    def __init__(self, slides: SlideCache | None, pushed: PushedStore, memory: DecodeMemory) -> None:
        self.slides = slides
        self.pushed = pushed
        self.memory = memory

    @contextmanager
    def borrow(self, image: image_pb2.ImageRef) -> Iterator[SlideReader]:
        """Borrow the reader, with the pixel size that the client insists on, if any.

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
        if self.slides is None:
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
        return self.slides.open(source, expected_size=expected, z=slide.z, t=slide.t, rendering=rendering)
