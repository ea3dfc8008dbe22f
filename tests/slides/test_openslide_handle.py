"""A broken tile, and everybody else who reads the slide."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import tifffile

from qupath_sam.errors import SlideUnreadable
from qupath_sam.slides import parse_location
from qupath_sam.slides.openslide import OpenSlideReader
from qupath_sam.types.regions import Region, Window
from tests.contracts.readers import coordinate_pixels
from tests.slides.written import write_tiff

pytest.importorskip("openslide")

BROKEN = Window(Region(0, 0, 16, 16), 16, 16)
GOOD = Window(Region(64, 64, 96, 64), 96, 64)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[OpenSlideReader]:
    path = write_tiff(tmp_path / "a.tif", coordinate_pixels(), tile=(32, 32), compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    with closing(OpenSlideReader(parse_location(path))) as reader:
        yield reader


def test_only_the_broken_place_fails(reader: OpenSlideReader) -> None:
    expected = reader.read(GOOD).tobytes()
    for _ in range(3):
        with pytest.raises(SlideUnreadable, match="copy the slide again"):
            reader.read(BROKEN)
        assert reader.read(GOOD).tobytes() == expected


def test_others_who_read_at_the_same_time_are_not_told(reader: OpenSlideReader) -> None:
    expected = reader.read(GOOD).tobytes()

    def read(i: int) -> bool:
        if i % 3 == 0:
            with pytest.raises(SlideUnreadable):
                reader.read(BROKEN)
            return True
        return reader.read(GOOD).tobytes() == expected

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(120)))
