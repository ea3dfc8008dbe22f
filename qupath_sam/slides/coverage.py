"""Which pixels of a level a TIFF has at all: tiffslide gives the rest black, and it is to be white."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qupath_sam.regions import Region
from qupath_sam.slides.resampling import WHITE


def chunk_table(page: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each tile or strip of a page of tifffile lies in the file: offsets and sizes in bytes; 0 where missing."""
    listed = min(len(page.dataoffsets), len(page.databytecounts))
    return np.array(page.dataoffsets[:listed], np.int64), np.array(page.databytecounts[:listed], np.int64)


@dataclass(frozen=True, slots=True)
class Piece:
    """One image of the file on a level; most levels are one piece, Leica's have one for each scanned area.

    Attributes:
        place: where it lies, in level px.
        missing: tiles without data, bool ``(rows, columns)``; None where all are there.
        tile: width and height of a tile in px.
    """

    place: Region
    missing: NDArray[np.bool_] | None
    tile: tuple[int, int]

    @classmethod
    def of_page(cls, page: Any, x: int, y: int) -> Piece:
        """The piece that a page of tifffile is, with its top-left corner at ``(x, y)``."""
        height, width = int(page.chunks[0]), int(page.chunks[1])
        columns, rows = -(-page.imagewidth // width), -(-page.imagelength // height)
        offsets, counts = chunk_table(page)
        filled = ((offsets > 0) & (counts > 0))[: rows * columns]
        present = np.zeros(rows * columns, bool)  # some writers leave the last row of tiles out of the table
        present[: len(filled)] = filled
        place = Region(x, y, int(page.imagewidth), int(page.imagelength))
        return cls(place, None if present.all() else ~present.reshape(rows, columns), (width, height))

    def holes(self, region: Region) -> Iterator[Region]:
        """The part of each missing tile that lies in ``region``, in level px."""
        seen = self.place.intersection(region)
        if self.missing is None or seen is None:
            return
        width, height = self.tile
        first_row, first_column = (seen.y - self.place.y) // height, (seen.x - self.place.x) // width
        last_row, last_column = -(-(seen.bottom - self.place.y) // height), -(-(seen.right - self.place.x) // width)
        for row, column in np.argwhere(self.missing[first_row:last_row, first_column:last_column]):
            x = self.place.x + (first_column + int(column)) * width
            y = self.place.y + (first_row + int(row)) * height
            hole = Region(x, y, width, height).intersection(seen)
            if hole is not None:
                yield hole


def paint_missing(pixels: NDArray[np.uint8], region: Region, pieces: Sequence[Piece]) -> NDArray[np.uint8]:
    """``pixels`` of ``region`` (level px) with everything that no piece has in white; the same array where none is."""
    gaps = not any(piece.place.encloses(region) for piece in pieces)
    holes = [hole for piece in pieces for hole in piece.holes(region)]
    if not gaps and not holes:
        return pixels
    empty = np.full(pixels.shape[:2], gaps)
    if gaps:
        for piece in pieces:
            seen = piece.place.intersection(region)
            if seen is not None:
                empty[_within(seen, region)] = False
    for hole in holes:
        empty[_within(hole, region)] = True
    painted = pixels.copy()
    painted[empty] = WHITE
    return painted


def bounds_of(pieces: Sequence[Piece], extent: Region) -> Region | None:
    """The box around all pieces, as OpenSlide reports Leica's in ``bounds-*``."""
    left, top = min(piece.place.x for piece in pieces), min(piece.place.y for piece in pieces)
    right, bottom = max(piece.place.right for piece in pieces), max(piece.place.bottom for piece in pieces)
    return Region(left, top, right - left, bottom - top).intersection(extent)


def _within(part: Region, region: Region) -> tuple[slice, slice]:
    return slice(part.y - region.y, part.bottom - region.y), slice(part.x - region.x, part.right - region.x)
