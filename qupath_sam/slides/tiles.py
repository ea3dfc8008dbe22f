"""Pixels of a TIFF page as the file stores them, tile by tile, and which of them the file has at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qupath_sam.types.regions import Region

_JPEG = {6, 7, 34892, 33007}
"""Compressions whose decoder needs tables that the page keeps apart."""


class BinaryFile(Protocol):
    """What is read from: an open file, or one of fsspec's."""

    def seek(self, offset: int, /) -> int:
        """Go to a place."""
        ...

    def read(self, size: int, /) -> bytes:
        """Read from there."""
        ...


class FileBytes:
    """Reads parts of one file for several threads."""

    def __init__(self, file: BinaryFile) -> None:
        self._file = file
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes there; raises `EOFError` where the file ends before them."""
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(size)
        if len(data) != size:
            raise EOFError(f"the file ends at {offset + len(data)}, in the middle of a tile")
        return data


def chunk_table(page: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each tile or strip of a tifffile page lies: offsets and sizes in bytes; 0 where missing."""
    listed = min(len(page.dataoffsets), len(page.databytecounts))
    return np.array(page.dataoffsets[:listed], np.int64), np.array(page.databytecounts[:listed], np.int64)


def chunk_size(page: Any) -> tuple[int, int]:
    """Return the width and height of a page's tiles, or of its strips."""
    key = page.keyframe
    if key.is_tiled:
        return int(key.tilewidth), int(key.tilelength)
    return int(key.imagewidth), int(min(key.rowsperstrip, key.imagelength))


class Tiles:
    """One page of tifffile. Everything that has to be looked up in the file is looked up on construction.

    Attributes:
        width, height: in px.
        samples: of a px, as `read` gives them.
        dtype: of what `read` gives.
        tile: width and height of a tile (or strip) in px.
        present: tiles that have data, bool ``(rows, columns)``.
    """

    def __init__(self, page: Any, source: FileBytes, samples: Sequence[int] | None = None) -> None:
        """Prepare a page; ``samples`` are those wanted, all of them where it is None."""
        key = page.keyframe
        self.width, self.height = int(key.imagewidth), int(key.imagelength)
        self.tile = chunk_size(page)
        self._columns, self._rows = -(-self.width // self.tile[0]), -(-self.height // self.tile[1])
        wanted = tuple(range(key.samplesperpixel) if samples is None else samples)
        self._separate = key.planarconfig == 2 and key.samplesperpixel > 1
        self._planes: tuple[int, ...] = wanted if self._separate else (0,)
        self._picked = None if self._separate or wanted == tuple(range(key.samplesperpixel)) else list(wanted)
        self.samples = len(wanted)
        self.dtype = np.dtype(key.dtype).newbyteorder("=")
        self._offsets, self._counts = chunk_table(page)
        self._source = source
        self._decode = key.decode
        self._tables: dict[str, Any] = (
            {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader} if key.compression in _JPEG else {}
        )
        self.present = np.logical_and.reduce([self._filled(plane) for plane in self._planes])

    def _filled(self, plane: int) -> NDArray[np.bool_]:
        """Return the tiles of a plane that have data; some writers leave the last row of tiles out of the table."""
        size = self._rows * self._columns
        filled = ((self._offsets > 0) & (self._counts > 0))[plane * size : (plane + 1) * size]
        present = np.zeros(size, bool)
        present[: len(filled)] = filled
        return present.reshape(self._rows, self._columns)

    @property
    def end(self) -> int:
        """Where in the file the last of the tiles ends."""
        return int((self._offsets + self._counts).max(initial=0))

    def first_bytes(self, size: int) -> bytes:
        """Return the beginning of the first tile that has data; empty where none has."""
        filled = np.flatnonzero((self._offsets > 0) & (self._counts > 0))
        if not len(filled):
            return b""
        return self._source.read(int(self._offsets[filled[0]]), min(size, int(self._counts[filled[0]])))

    def read(self, region: Region) -> NDArray[Any]:
        """Read px of a region inside the page: ``(height, width, samples)`` as stored, 0 where tiles are missing."""
        across, down = self.tile
        out = np.zeros((region.height, region.width, self.samples), self.dtype)
        for row in range(region.y // down, -(-region.bottom // down)):
            for column in range(region.x // across, -(-region.right // across)):
                if not self.present[row, column]:
                    continue
                place = Region(column * across, row * down, across, down)
                seen = place.intersection(region)
                assert seen is not None
                for position, plane in enumerate(self._planes):
                    block = self._tile(plane, row, column)[_within(seen, place)]
                    if block.shape[:2] != (seen.height, seen.width):
                        raise ValueError(f"tile {row}, {column} holds fewer px than its size")
                    target = out[_within(seen, region)]
                    if self._separate:
                        target[:, :, position] = block[:, :, 0]
                    else:
                        target[...] = block if self._picked is None else block[:, :, self._picked]
        return out

    def _tile(self, plane: int, row: int, column: int) -> NDArray[Any]:
        index = (plane * self._rows + row) * self._columns + column
        data = self._source.read(int(self._offsets[index]), int(self._counts[index]))
        decoded, _, _ = self._decode(data, index, **self._tables)
        return np.asarray(decoded[0])


@dataclass(frozen=True, slots=True)
class Piece:
    """One image of the file on a level; most levels are one piece, Leica's have one for each scanned area.

    Attributes:
        x, y: of its top-left corner, in level px.
        parts: pages whose samples follow each other: the channels, or one page with all of them.
    """

    x: int
    y: int
    parts: tuple[Tiles, ...]

    @property
    def place(self) -> Region:
        """Where it lies, in level px."""
        return Region(self.x, self.y, self.parts[0].width, self.parts[0].height)

    def holes(self, region: Region) -> Iterator[Region]:
        """Yield the part of each missing tile in ``region``, level px; a tile that several channels lack only once."""
        seen = self.place.intersection(region)
        if seen is None:
            return
        given = set()
        for part in self.parts:
            if part.present.all():
                continue
            for tile in _tiles_in(part, seen, self.x, self.y, wanted=False):
                hole = tile.intersection(seen)
                if hole is not None and hole not in given:
                    given.add(hole)
                    yield hole

    def has_data(self, region: Region) -> bool:
        """Return whether any tile that lies in ``region`` (level px) has data."""
        seen = self.place.intersection(region)
        return seen is not None and any(
            next(_tiles_in(part, seen, self.x, self.y, wanted=True), None) is not None for part in self.parts
        )


def _tiles_in(part: Tiles, seen: Region, x: int, y: int, *, wanted: bool) -> Iterator[Region]:
    """Yield tiles under ``seen`` that have data (or have none), in level px; ``x, y`` is the page's own corner."""
    width, height = part.tile
    first_row, first_column = (seen.y - y) // height, (seen.x - x) // width
    last_row, last_column = -(-(seen.bottom - y) // height), -(-(seen.right - x) // width)
    for row, column in np.argwhere(part.present[first_row:last_row, first_column:last_column] == wanted):
        yield Region(x + (first_column + int(column)) * width, y + (first_row + int(row)) * height, width, height)


@dataclass(frozen=True, slots=True)
class LevelPixels:
    """All pieces of a level.

    Attributes:
        width, height: of the level.
        pieces: those that it is made of.
    """

    width: int
    height: int
    pieces: tuple[Piece, ...]

    def read(self, region: Region) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Read px of a region inside the level as stored, and where the file has none (None where it has all)."""
        first = self.pieces[0]
        if len(self.pieces) == 1 and first.place.encloses(region):
            return self._with_holes(_stored(first, region), region)
        out: NDArray[Any] | None = None
        for piece in self.pieces:
            seen = piece.place.intersection(region)
            if seen is None:
                continue
            stored = _stored(piece, seen)
            if out is None:
                out = np.zeros((region.height, region.width, stored.shape[2]), stored.dtype)
            out[_within(seen, region)] = stored
        if out is None:
            samples = sum(part.samples for part in first.parts)
            out = np.zeros((region.height, region.width, samples), first.parts[0].dtype)
        return self._with_holes(out, region)

    def _with_holes(self, pixels: NDArray[Any], region: Region) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        gaps = not any(piece.place.encloses(region) for piece in self.pieces)
        holes = list(self.holes(region))
        if not gaps and not holes:
            return pixels, None
        empty = np.full(pixels.shape[:2], gaps)
        if gaps:
            for piece in self.pieces:
                seen = piece.place.intersection(region)
                if seen is not None:
                    empty[_within(seen, region)] = False
        for hole in holes:
            empty[_within(hole, region)] = True
        return pixels, empty

    def holes(self, region: Region) -> Iterator[Region]:
        """Yield the part of each missing tile that lies in ``region``, in level px."""
        for piece in self.pieces:
            yield from piece.holes(region)

    def has_data(self, region: Region) -> bool:
        """Return whether any tile under ``region`` has data."""
        return any(piece.has_data(region) for piece in self.pieces)

    @property
    def bounds(self) -> Region | None:
        """The box around all pieces, as OpenSlide reports Leica's in ``bounds-*``."""
        places = [piece.place for piece in self.pieces]
        left, top = min(place.x for place in places), min(place.y for place in places)
        right, bottom = max(place.right for place in places), max(place.bottom for place in places)
        return Region(left, top, right - left, bottom - top).intersection(Region(0, 0, self.width, self.height))


def _stored(piece: Piece, region: Region) -> NDArray[Any]:
    inside = Region(region.x - piece.x, region.y - piece.y, region.width, region.height)
    read = [part.read(inside) for part in piece.parts]
    return read[0] if len(read) == 1 else np.concatenate(read, axis=2)


def _within(part: Region, region: Region) -> tuple[slice, slice]:
    return slice(part.y - region.y, part.bottom - region.y), slice(part.x - region.x, part.right - region.x)
