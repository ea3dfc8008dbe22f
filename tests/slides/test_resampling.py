"""Windows from rasters: exact, and in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qupath_sam.errors import InvalidRegion
from qupath_sam.slides import resampling
from qupath_sam.slides.resampling import Raster, read_window
from qupath_sam.types.regions import Region, Window


class Recorder:
    """A raster of any size whose red says the column in steps, and which notes what is read from it."""

    def __init__(self, width: int, height: int, scale: float = 1.0) -> None:
        self.reads: list[Region] = []
        self.raster = Raster(0, 0, (scale, scale), width, height, self.read)

    def read(self, region: Region) -> NDArray[np.uint8]:
        assert Region(0, 0, self.raster.width, self.raster.height).encloses(region)
        self.reads.append(region)
        red = (np.arange(region.x, region.right) * 250 // self.raster.width).astype(np.uint8)
        pixels = np.full((region.height, region.width, 3), 7, np.uint8)
        pixels[:, :, 0] = red
        return pixels


def raster_of(pixels: NDArray[np.uint8]) -> Raster:
    return Raster(0, 0, (1, 1), pixels.shape[1], pixels.shape[0], lambda r: pixels[r.y : r.bottom, r.x : r.right])


NOISE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
EXTENT = Region(0, 0, 120, 90)


@given(st.integers(1, 12), st.integers(0, 60), st.integers(0, 40), st.integers(1, 9), st.integers(1, 9))
def test_whole_downsamples_are_averages(factor: int, x: int, y: int, width: int, height: int) -> None:
    assume(x + width * factor <= 120)
    assume(y + height * factor <= 90)
    window = Window(Region(x, y, width * factor, height * factor), width, height)
    source = NOISE[y : y + height * factor, x : x + width * factor].astype(float)
    average = source.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
    assert (
        np.abs(read_window(window, [raster_of(NOISE)], EXTENT) - average).max() <= 0.6
    )  # Pillow rounds in fixed point


@given(
    st.integers(-40, 119),
    st.integers(-30, 89),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 80),
    st.integers(1, 80),
)
def test_any_window_has_its_shape_and_stays_in_range(x: int, y: int, w: int, h: int, width: int, height: int) -> None:
    assume(x + w > 0)
    assume(y + h > 0)
    assume(max(w / width, h / height) <= resampling.LARGEST_RATIO)  # else an edge px is mixed with white
    grey = np.clip(NOISE, 100, 140)
    read = read_window(Window(Region(x, y, w, h), width, height), [raster_of(grey)], EXTENT)
    assert read.shape == (height, width, 3)
    assert read.flags.c_contiguous
    assert (((read >= 100) & (read <= 140)) | (read == 255)).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 3.0, 2.7])
def test_blocks_do_not_show(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window.of(Region(-10, -20, 140, 130), scale)
    whole = read_window(window, [raster_of(NOISE)], EXTENT)
    monkeypatch.setattr(resampling, "BLOCK_SIDE", 23)
    assert np.abs(read_window(window, [raster_of(NOISE)], EXTENT).astype(int) - whole).max() <= 1


def test_memory_stays_bounded_whatever_the_downsample(monkeypatch: pytest.MonkeyPatch) -> None:
    """A one-level slide at downsample 64 or 640 is read in blocks, nearly each px once."""
    monkeypatch.setattr(resampling, "BLOCK_SIDE", 1024)
    for downsample in (64, 61.3, 640):
        slide = Recorder(12_000, 12_000)
        window = Window.of(Region(0, 0, 12_000, 12_000), downsample)
        read = read_window(window, [slide.raster], Region(0, 0, 12_000, 12_000))
        assert max(region.width * region.height for region in slide.reads) <= 1.3 * resampling.BLOCK_SIDE**2
        assert sum(region.width * region.height for region in slide.reads) <= 1.3 * 12_000**2
        centres = (np.arange(window.width) + 0.5) / window.width * 250
        assert np.abs(read[:, :, 0] - centres).max() <= 2


def test_one_px_of_a_whole_slide() -> None:
    slide = Recorder(9_000, 9_000)
    read = read_window(Window(Region(0, 0, 9_000, 9_000), 1, 1), [slide.raster], Region(0, 0, 9_000, 9_000))
    assert abs(int(read[0, 0, 0]) - 125) <= 1
    assert max(region.width * region.height for region in slide.reads) <= 1.1 * resampling.BLOCK_SIDE**2


def test_too_much_work_is_refused_before_it_starts() -> None:
    slide = Recorder(200_000, 200_000)
    with pytest.raises(InvalidRegion, match=r"40\.0 gigapixels.*pyramid"):
        read_window(Window.of(Region(0, 0, 200_000, 200_000), 256), [slide.raster], Region(0, 0, 200_000, 200_000))
    assert not slide.reads


@pytest.mark.parametrize(("downsample", "used"), [(0.5, 0), (1, 0), (3.9, 0), (3.97, 1), (4, 1), (100, 1)])
def test_the_coarsest_level_that_is_fine_enough(downsample: float, used: int) -> None:
    levels = [Recorder(4000, 4000), Recorder(1000, 1000, 4.0)]
    read_window(
        Window.of(Region(400, 400, 800, 800), downsample), [level.raster for level in levels], Region(0, 0, 4000, 4000)
    )
    assert [bool(level.reads) for level in levels] == [used == 0, used == 1]


def test_a_level_rounded_down_is_continued_at_its_edge() -> None:
    """250 px make a level of 62 at downsample 4: the last window px is inside the slide and outside the level."""
    level = np.full((62, 75, 3), 50, np.uint8)
    raster = Raster(0, 0, (4, 4), 75, 62, lambda r: level[r.y : r.bottom, r.x : r.right])
    read = read_window(Window(Region(0, 0, 304, 256), 76, 64), [raster], Region(0, 0, 300, 250))
    assert (read[:62, :75] == 50).all()  # row 62 has its centre exactly on the slide's edge, 250
    assert (read[62:] == 255).all()
    finer = read_window(Window(Region(0, 0, 300, 250), 150, 125), [raster], Region(0, 0, 300, 250))
    assert (finer == 50).all()


@pytest.mark.parametrize("downsample", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("x", [980, 996, 1000, 1003, 1005])
def test_beyond_a_level_that_is_too_short(downsample: int, x: int) -> None:
    """1007 px should make 252 at downsample 4; this file has 250, which QuPath takes for 4 as well."""
    level = np.full((20, 250, 3), 50, np.uint8)
    raster = Raster(0, 0, (4, 4), 250, 20, lambda r: level[r.y : r.bottom, r.x : r.right])
    read = read_window(Window(Region(x, 0, 10 * downsample, 10 * downsample), 10, 10), [raster], Region(0, 0, 1007, 80))
    centres = x + (np.arange(10) + 0.5) * downsample
    assert (read[:, centres < 1007] == 50).all()
    assert (read[:, centres >= 1007] == 255).all()


def test_shifts_of_half_a_px_interpolate() -> None:
    step = np.zeros((8, 8, 3), np.uint8)
    step[:, 4:] = 200
    raster = Raster(0, 0, (2, 2), 8, 8, lambda r: step[r.y : r.bottom, r.x : r.right])
    read = read_window(Window(Region(1, 0, 12, 12), 6, 6), [raster], Region(0, 0, 16, 16))
    np.testing.assert_array_equal(read[0, :, 0], [0, 0, 0, 100, 200, 200])
