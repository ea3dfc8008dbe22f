"""The files of a Zarr folder or URL, opened by the same rules as any slide. Read-only."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from qupath_sam.errors import SlideNotFound
from qupath_sam.slides.location import Location
from qupath_sam.slides.permissions import lies_in
from qupath_sam.slides.source import open_binary

_NO_KEYS: tuple[str, ...] = ()


class SlideStore(Store):
    """A Zarr store beneath a location. A link that leads out of the folder leads nowhere."""

    def __init__(self, location: Location) -> None:
        super().__init__(read_only=True)
        self._location = location

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SlideStore) and other._location == self._location

    def __hash__(self) -> int:
        return hash(self._location.target)

    @property
    def supports_writes(self) -> bool:
        """No."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """No."""
        return False

    @property
    def supports_listing(self) -> bool:
        """No: URLs cannot be listed."""
        return False

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return the bytes of a file, or None where there is none."""
        data = await asyncio.to_thread(read_file, self._location, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read several parts of files."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return whether there is such a file."""
        return await asyncio.to_thread(read_file, self._location, key, None) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse."""
        raise PermissionError("slides are not written")

    async def delete(self, key: str) -> None:
        """Refuse."""
        raise PermissionError("slides are not written")

    async def list(self) -> AsyncIterator[str]:
        """Yield nothing."""
        for key in _NO_KEYS:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield nothing."""
        for key in _NO_KEYS:
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield nothing."""
        for key in _NO_KEYS:
            yield key


def file_in(location: Location, key: str) -> Location | None:
    """Return where a file of a Zarr lies; None where a link leads out of its folder."""
    if location.is_url:
        return replace(location, target=f"{location.target.rstrip('/')}/{key}")
    root = os.path.realpath(location.path)
    real = os.path.realpath(os.path.join(root, *key.split("/")))
    return replace(location, real=real) if lies_in(real, root) else None


def read_file(location: Location, key: str, part: ByteRequest | None = None) -> bytes | None:
    """Return the bytes (or a part of them) of a file of a Zarr; None where there is none."""
    place = file_in(location, key)
    if place is None:
        return None
    try:
        with open_binary(place) as stream:
            match part:
                case RangeByteRequest(start, end):
                    stream.seek(start)
                    return stream.read(end - start)
                case OffsetByteRequest(offset):
                    stream.seek(offset)
                    return stream.read()
                case SuffixByteRequest(suffix):
                    return stream.read()[-suffix:]
            return stream.read()
    except SlideNotFound:
        return None
