"""What every `SlideReader` promises. Subclass `ReaderContract` beside the tests of a reader."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qupath_sam.errors import InvalidRegion, SlideUnreadable
from qupath_sam.slides.base import SlideReader
from qupath_sam.types.regions import Region, Window

WIDTH, HEIGHT = 208, 152
SCALES = [0.37, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 7.3]


def coordinate_pixels(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Pixels that say where they are: red is the column, green the row, blue a pattern in which no two rows agree."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, (7 * x + 13 * y * y) % 256], axis=-1).astype(np.uint8)


class ReaderContract:
    """Tests of one reader, on a slide of `coordinate_pixels` that the subclass writes without loss."""

    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> Any:
        """Write ``pixels`` so that a reader shows them as its level 0; always under the same name."""
        raise NotImplementedError

    @classmethod
    def open(cls, written: Any) -> SlideReader:
        """Open what `write` returned."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def reader(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlideReader]:
        with closing(cls.open(cls.write(coordinate_pixels(), tmp_path_factory.mktemp("slide")))) as reader:
            yield reader

    def test_info(self, reader: SlideReader) -> None:
        info = reader.info
        assert (info.width, info.height) == (WIDTH, HEIGHT)
        assert info.extent == Region(0, 0, WIDTH, HEIGHT)
        assert info.finest_downsample == 1.0
        assert (info.levels[0].downsample, info.levels[0].width, info.levels[0].height) == (1.0, WIDTH, HEIGHT)
        downsamples = [level.downsample for level in info.levels]
        assert downsamples == sorted(downsamples)
        assert info.reader
        bytes.fromhex(info.fingerprint)

    def test_level_0_is_what_was_written(self, reader: SlideReader) -> None:
        read = reader.read(Window(Region(0, 0, WIDTH, HEIGHT), WIDTH, HEIGHT))
        assert read.dtype == np.uint8
        assert read.flags.c_contiguous
        np.testing.assert_array_equal(read, coordinate_pixels())

    def test_the_answer_is_the_callers(self, reader: SlideReader) -> None:
        window = Window(Region(0, 0, WIDTH, HEIGHT), WIDTH, HEIGHT)
        reader.read(window).fill(0)
        np.testing.assert_array_equal(reader.read(window), coordinate_pixels())

    def test_any_window_at_downsample_1(self, reader: SlideReader) -> None:
        canvas = np.full((HEIGHT + 400, WIDTH + 400, 3), 255, np.uint8)
        canvas[100 : 100 + HEIGHT, 100 : 100 + WIDTH] = coordinate_pixels()

        @settings(max_examples=60)
        @given(st.integers(-60, WIDTH - 1), st.integers(-60, HEIGHT - 1), st.integers(61, 300), st.integers(61, 300))
        def check(x: int, y: int, width: int, height: int) -> None:
            read = reader.read(Window(Region(x, y, width, height), width, height))
            assert read.flags.c_contiguous
            np.testing.assert_array_equal(read, canvas[100 + y : 100 + y + height, 100 + x : 100 + x + width])

        check()

    @pytest.mark.parametrize("scale", SCALES)
    @pytest.mark.parametrize(("x", "y"), [(0, 0), (5, 3), (17, 20)])
    def test_pixels_lie_where_the_affine_says(self, reader: SlideReader, scale: float, x: int, y: int) -> None:
        """Averages and interpolations of a ramp are the ramp: px ``x`` of level 0 has its value at ``x + 0.5``."""
        window = Window.of(Region(x, y, 160, 120), scale)
        read = reader.read(window).astype(float)
        columns = np.array([window.to_level0(i + 0.5, 0)[0] for i in range(window.width)]) - 0.5
        rows = np.array([window.to_level0(0, j + 0.5)[1] for j in range(window.height)]) - 0.5
        # at the very edge of the slide there is no px on the other side to interpolate with
        inner = slice(1, None) if x == 0 else slice(None)
        assert np.abs(read[:, inner, 0] - columns[inner]).max() <= 1.0
        assert np.abs(read[inner, :, 1] - rows[inner, None]).max() <= 1.0

    @pytest.mark.parametrize("scale", SCALES)
    def test_white_outside(self, reader: SlideReader, scale: float) -> None:
        window = Window.of(Region(-50, -30, 350, 250), scale)
        read = reader.read(window)
        x = np.array([window.to_level0(i + 0.5, 0)[0] for i in range(window.width)])
        y = np.array([window.to_level0(0, j + 0.5)[1] for j in range(window.height)])
        outside = ((y < 0) | (y >= HEIGHT))[:, None] | ((x < 0) | (x >= WIDTH))[None, :]
        assert (read[outside] == 255).all()
        assert (read[~outside] != 255).any(axis=-1).all()

    @pytest.mark.parametrize("scale", [0.5, 1, 2, 4, 8])
    def test_a_window_is_the_sum_of_its_parts(self, reader: SlideReader, scale: float) -> None:
        whole = reader.read(Window.of(Region(-16, -16, 224, 160), scale)).astype(int)
        side = round(32 / scale)
        for y in range(-16, 144, 32):
            for x in range(-16, 208, 32):
                part = reader.read(Window(Region(x, y, 32, 32), side, side))
                row, column = round((y + 16) / scale), round((x + 16) / scale)
                assert np.abs(whole[row : row + side, column : column + side] - part).max() <= 1

    @pytest.mark.parametrize(
        "region",
        [
            Region(-50, 10, 50, 20),
            Region(10, -50, 20, 50),
            Region(WIDTH, 0, 10, 10),
            Region(0, HEIGHT, 10, 10),
            Region(10**12, 10**12, 5, 5),
        ],
    )
    def test_a_window_outside_is_refused(self, reader: SlideReader, region: Region) -> None:
        with pytest.raises(InvalidRegion, match="outside"):
            reader.read(Window(region, 10, 10))

    def test_too_large_a_window_is_refused(self, reader: SlideReader) -> None:
        with pytest.raises(InvalidRegion, match="in parts"):
            reader.read(Window(Region(0, 0, WIDTH, HEIGHT), 10**6, 10**6))

    @pytest.mark.parametrize("side", [1, 2, 3, 64])
    def test_a_huge_region_is_no_harder(self, reader: SlideReader, side: int) -> None:
        read = reader.read(Window(Region(-(10**9), -(10**9), 2 * 10**9, 2 * 10**9), side, side))
        assert read.shape == (side, side, 3)

    def test_eight_threads_read_what_one_reads(self, reader: SlideReader) -> None:
        windows = [Window.of(Region(11 * i % 150, 7 * i % 90, 60, 60), SCALES[i % len(SCALES)]) for i in range(64)]
        alone = [reader.read(window).tobytes() for window in windows]
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(lambda window: reader.read(window).tobytes(), windows * 2))
        assert together == alone * 2

    def test_closing(self, tmp_path: Path) -> None:
        reader = self.open(self.write(coordinate_pixels(), tmp_path))
        window = Window(Region(0, 0, 10, 10), 10, 10)
        reader.read(window)
        reader.close()
        reader.close()
        with pytest.raises(SlideUnreadable, match="closed"):
            reader.read(window)

    def test_closing_under_readers(self, tmp_path: Path) -> None:
        """A read that has begun is finished; one that comes later is told."""
        reader = self.open(self.write(coordinate_pixels(), tmp_path))
        window = Window(Region(0, 0, 100, 100), 100, 100)
        expected = reader.read(window).tobytes()
        begun = threading.Barrier(5)

        def read_until_closed() -> bool:
            begun.wait(timeout=60)
            for _ in range(100_000):
                try:
                    if reader.read(window).tobytes() != expected:
                        return False
                except SlideUnreadable as error:
                    return "closed" in str(error)
            return False

        with ThreadPoolExecutor(4) as threads:
            outcomes = [threads.submit(read_until_closed) for _ in range(4)]
            begun.wait(timeout=60)
            reader.close()
            assert all(outcome.result(timeout=60) for outcome in outcomes)

    def test_the_fingerprint_is_stable(self, tmp_path: Path) -> None:
        written = self.write(coordinate_pixels(), tmp_path)
        with closing(self.open(written)) as first, closing(self.open(written)) as second:
            assert first.info.fingerprint == second.info.fingerprint

    def test_the_fingerprint_changes_with_the_pixels(self, tmp_path: Path) -> None:
        with closing(self.open(self.write(coordinate_pixels(), tmp_path))) as first:
            before = first.info.fingerprint
        with closing(self.open(self.write(coordinate_pixels()[::-1].copy(), tmp_path))) as second:
            assert second.info.fingerprint != before
