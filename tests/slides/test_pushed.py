"""Pixels pushed by a client."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.errors import InvalidRegion, InvalidRequest, RequestTooLarge, SlideUnreadable, SlideUnsupported
from qupath_sam.slides import PixelFormat, PushedReader
from qupath_sam.types.regions import Region, Window
from tests.contracts.readers import ReaderContract, coordinate_pixels

REGION = Region(100, 200, 128, 96)


def encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=95)
    return buffer.getvalue()


def pushed(
    data: bytes,
    *,
    pixel_format: PixelFormat = PixelFormat.RGB,
    size: tuple[int, int] = (64, 48),
    region: Region = REGION,
    image_size: tuple[int, int] = (1000, 900),
    mpp: float | None = 0.25,
) -> PushedReader:
    return PushedReader(data, pixel_format=pixel_format, size=size, region=region, image_size=image_size, mpp=mpp)


class TestWholeImage(ReaderContract):
    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> NDArray[np.uint8]:
        return pixels

    @classmethod
    def open(cls, written: NDArray[np.uint8]) -> PushedReader:
        height, width = written.shape[:2]
        return pushed(
            written.tobytes(), size=(width, height), region=Region(0, 0, width, height), image_size=(width, height)
        )


class TestWholeImageAsPng(TestWholeImage):
    @classmethod
    def open(cls, written: NDArray[np.uint8]) -> PushedReader:
        size = written.shape[1], written.shape[0]
        data = encoded(written, "PNG")
        return pushed(data, pixel_format=PixelFormat.PNG, size=size, region=Region(0, 0, *size), image_size=size)


PIXELS = coordinate_pixels(64, 48)


def test_a_region_at_downsample_2() -> None:
    reader = pushed(PIXELS.tobytes())
    info = reader.info
    assert (info.width, info.height, info.mpp) == (1000, 900, 0.25)
    assert info.extent == REGION
    assert info.finest_downsample == 2.0
    np.testing.assert_array_equal(reader.read(Window.of(REGION, 2)), PIXELS)
    around = reader.read(Window.of(Region(90, 190, 148, 116), 2))
    np.testing.assert_array_equal(around[5:-5, 5:-5], PIXELS)
    assert (around[:5] == 255).all()
    assert (around[:, -5:] == 255).all()
    with pytest.raises(InvalidRegion, match="outside"):
        reader.read(Window.of(Region(0, 0, 100, 900), 2))


def test_a_finer_window_is_interpolated() -> None:
    read = pushed(PIXELS.tobytes()).read(Window.of(Region(120, 220, 64, 64), 1)).astype(float)
    expected = (np.arange(64) + 0.5 + 20) / 2 - 0.5
    assert np.abs(read[0, :, 0] - expected).max() <= 0.51


def test_jpeg() -> None:
    reader = pushed(encoded(np.full((48, 64, 3), 130, np.uint8), "JPEG"), pixel_format=PixelFormat.JPEG)
    assert np.abs(reader.read(Window.of(REGION, 2)).astype(int) - 130).max() <= 2


def test_rounded_sides_are_in_proportion() -> None:
    """QuPath rounds the picture's sides: 1001 px at downsample 3 are 334."""
    pushed(bytes(334 * 100 * 3), size=(334, 100), region=Region(0, 0, 1001, 299), image_size=(2000, 2000))


def test_the_fingerprint_is_of_bytes_and_place() -> None:
    first = pushed(PIXELS.tobytes()).info.fingerprint
    assert pushed(PIXELS.tobytes()).info.fingerprint == first
    assert pushed(PIXELS[::-1].tobytes()).info.fingerprint != first
    assert pushed(PIXELS.tobytes(), region=Region(101, 200, 128, 96)).info.fingerprint != first
    assert pushed(PIXELS.tobytes(), image_size=(1001, 900)).info.fingerprint != first


def test_provenance_names_the_rendering() -> None:
    reader = PushedReader(
        PIXELS.tobytes(),
        pixel_format=PixelFormat.RGB,
        size=(64, 48),
        region=Region(0, 0, 64, 48),
        image_size=(64, 48),
        rendering="QuPath 0.7.0, DAPI only",
    )
    assert reader.info.reader == "pushed (QuPath 0.7.0, DAPI only)"
    assert reader.info.mpp is None


@pytest.mark.parametrize("size", [(63, 48), (64, 47), (0, 48), (-64, -48)])
@pytest.mark.parametrize("pixel_format", [PixelFormat.RGB, PixelFormat.PNG])
def test_a_wrong_size_is_refused(size: tuple[int, int], pixel_format: PixelFormat) -> None:
    data = PIXELS.tobytes() if pixel_format is PixelFormat.RGB else encoded(PIXELS, "PNG")
    with pytest.raises(InvalidRequest, match="state"):
        pushed(data, size=size, pixel_format=pixel_format)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InvalidRequest, match="5000 x 5000"):
        pushed(encoded(np.zeros((5000, 5000), np.uint8), "PNG"), pixel_format=PixelFormat.PNG)


@pytest.mark.parametrize(
    "region", [Region(-1, 0, 128, 96), Region(900, 0, 128, 96), Region(0, 850, 128, 96), Region(5000, 5000, 128, 96)]
)
def test_a_region_outside_the_image_is_refused(region: Region) -> None:
    with pytest.raises(InvalidRegion, match="not inside"):
        pushed(PIXELS.tobytes(), region=region)


def test_another_shape_than_the_regions_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="proportion"):
        pushed(PIXELS.tobytes(), region=Region(0, 0, 128, 128))


def test_too_much_is_refused() -> None:
    with pytest.raises(RequestTooLarge, match="smaller region"):
        pushed(b"", size=(10_000, 10_000), region=Region(0, 0, 10_000, 10_000), image_size=(10_000, 10_000))


def test_an_image_at_hand_may_be_larger_than_what_is_taken_from_a_client() -> None:
    pixels = np.zeros((2**13, 2**12 + 1, 3), np.uint8)
    pixels[-1, -1] = 200
    slide = PushedReader.of_image(pixels, mpp=None)
    assert (slide.info.width, slide.info.height) == (2**12 + 1, 2**13)
    assert slide.read(Window.of(Region(2**12, 2**13 - 1, 1, 1), 1)).tolist() == [[[200] * 3]]


@pytest.mark.parametrize("pixel_format", [PixelFormat.PNG, PixelFormat.JPEG])
@pytest.mark.parametrize("data", [b"", b"hello", encoded(PIXELS, "PNG")[:200], encoded(PIXELS, "JPEG")[:400]])
def test_broken_pictures_are_told(pixel_format: PixelFormat, data: bytes) -> None:
    with pytest.raises(SlideUnreadable):
        pushed(data, pixel_format=pixel_format)


def test_a_jpeg_said_to_be_png_is_refused() -> None:
    with pytest.raises(SlideUnreadable, match="PNG"):
        pushed(encoded(PIXELS, "JPEG"), pixel_format=PixelFormat.PNG)


def test_16_bits_are_refused() -> None:
    data = encoded(np.zeros((48, 64), np.uint16), "PNG")
    with pytest.raises(SlideUnsupported, match="push the pixels as QuPath renders"):
        pushed(data, pixel_format=PixelFormat.PNG)
