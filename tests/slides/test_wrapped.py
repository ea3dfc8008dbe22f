"""Turned, flipped and cropped images, compared with arrays turned, flipped and cropped by numpy."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qupath_sam.errors import InvalidRegion, SlideMismatch
from qupath_sam.slides import PixelFormat, PushedReader, open_slide
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.wrapped import CalibratedReader, CroppedReader, Orientation, OrientedReader
from qupath_sam.types.regions import Region, Window
from tests.contracts.readers import ReaderContract, coordinate_pixels
from tests.slides.written import write_tiff

# How numpy makes the image beneath from the image shown.
BENEATH = {
    Orientation.ROTATE_90: lambda shown: np.rot90(shown, 1),
    Orientation.ROTATE_180: lambda shown: np.rot90(shown, 2),
    Orientation.ROTATE_270: lambda shown: np.rot90(shown, -1),
    Orientation.FLIP_HORIZONTAL: np.fliplr,
    Orientation.FLIP_VERTICAL: np.flipud,
}


class OrientedContract(ReaderContract):
    orientation: ClassVar[Orientation]

    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> Path:
        beneath = np.ascontiguousarray(BENEATH[cls.orientation](pixels))
        return write_tiff(folder / "a.tif", beneath, tile=(32, 48), downsamples=(2, 4))

    @classmethod
    def open(cls, written: Path) -> SlideReader:
        return OrientedReader(open_slide(written), cls.orientation)


class TestRotated90(OrientedContract):
    orientation = Orientation.ROTATE_90


class TestRotated180(OrientedContract):
    orientation = Orientation.ROTATE_180


class TestRotated270(OrientedContract):
    orientation = Orientation.ROTATE_270


class TestFlippedHorizontally(OrientedContract):
    orientation = Orientation.FLIP_HORIZONTAL


class TestFlippedVertically(OrientedContract):
    orientation = Orientation.FLIP_VERTICAL


class TestCropped(ReaderContract):
    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> Path:
        # Beneath, the picture goes on around the crop as the ramp would, but is not to be seen.
        beneath = np.pad(pixels, ((9, 23), (14, 31), (0, 0)), mode="reflect", reflect_type="odd")
        return write_tiff(folder / "a.tif", beneath, tile=(32, 48))

    @classmethod
    def open(cls, written: Path) -> SlideReader:
        return CroppedReader(open_slide(written), Region(14, 9, 208, 152))


class TestCalibrated(ReaderContract):
    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> Path:
        return write_tiff(folder / "a.tif", pixels)

    @classmethod
    def open(cls, written: Path) -> SlideReader:
        return CalibratedReader(open_slide(written), 0.25)

    def test_mpp(self, reader: SlideReader) -> None:
        assert reader.info.mpp == 0.25


@given(
    st.sampled_from(Orientation),
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.integers(1, 80),
    st.integers(1, 80),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_turning_back_and_forth_is_nothing(
    orientation: Orientation, x: int, y: int, width: int, height: int, size: tuple[int, int]
) -> None:
    region = Region(x, y, width, height)
    beneath_size = size[::-1] if orientation.swaps_sides else size
    below = orientation.region_beneath(region, size)
    assert orientation.inverse.region_beneath(below, beneath_size) == region


def test_the_extent_of_pushed_pixels_turns_with_them() -> None:
    pixels = coordinate_pixels(40, 20)
    pushed = PushedReader(
        pixels.tobytes(),
        pixel_format=PixelFormat.RGB,
        size=(40, 20),
        region=Region(100, 50, 40, 20),
        image_size=(300, 200),
    )
    turned = OrientedReader(pushed, Orientation.ROTATE_90)
    assert (turned.info.width, turned.info.height) == (200, 300)
    assert turned.info.extent == Region(200 - 50 - 20, 100, 20, 40)
    np.testing.assert_array_equal(turned.read(Window(turned.info.extent, 20, 40)), np.rot90(pixels, -1))
    with pytest.raises(InvalidRegion):
        turned.read(Window(Region(0, 0, 50, 50), 50, 50))


def test_a_crop_outside_the_image_is_refused(tmp_path: Path) -> None:
    with closing(open_slide(write_tiff(tmp_path / "a.tif", coordinate_pixels()))) as reader:
        for crop in (Region(100, 0, 109, 10), Region(-1, 0, 10, 10), Region(1000, 1000, 5, 5)):
            with pytest.raises(SlideMismatch, match="not inside"):
                CroppedReader(reader, crop)


def test_every_wrapper_has_its_own_fingerprint(tmp_path: Path) -> None:
    with closing(open_slide(write_tiff(tmp_path / "a.tif", coordinate_pixels()))) as reader:
        wrapped: list[SlideReader] = [
            reader,
            CroppedReader(reader, Region(0, 0, 9, 9)),
            CroppedReader(reader, Region(0, 0, 9, 8)),
        ]
        wrapped += [OrientedReader(reader, orientation) for orientation in Orientation]
        assert len({each.info.fingerprint for each in wrapped}) == len(wrapped)
