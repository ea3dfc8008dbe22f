"""Plain images."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.errors import SlideUnreadable, SlideUnsupported
from qupath_sam.slides import PixelFormat, PushedReader, open_slide
from qupath_sam.slides import image as image_module
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.rendering import ChannelDisplay, Rendering
from qupath_sam.types.regions import Region, Window
from tests.contracts.readers import ReaderContract, coordinate_pixels


class TestPng(ReaderContract):
    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> Path:
        Image.fromarray(pixels).save(folder / "a.png")
        return folder / "a.png"

    @classmethod
    def open(cls, written: Path) -> SlideReader:
        return open_slide(written)


class TestBmp(TestPng):
    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> Path:
        Image.fromarray(pixels).save(folder / "a.bmp")
        return folder / "a.bmp"


def _whole(path: Path) -> NDArray[np.uint8]:
    reader = open_slide(path)
    pixels = reader.read(Window(Region(0, 0, reader.info.width, reader.info.height), 40, 30))
    reader.close()
    return pixels


def test_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (200, 100, 50)).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(_whole(tmp_path / "a.jpg").astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        pytest.param(Image.new("L", (40, 30), 90), (90, 90, 90), id="grey"),
        pytest.param(Image.new("1", (40, 30), 1), (255, 255, 255), id="bits"),
        pytest.param(Image.new("RGBA", (40, 30), (10, 20, 30, 255)), (10, 20, 30), id="opaque"),
        pytest.param(Image.new("RGBA", (40, 30), (10, 20, 30, 0)), (255, 255, 255), id="transparent"),
        pytest.param(Image.new("LA", (40, 30), (10, 0)), (255, 255, 255), id="grey-transparent"),
        pytest.param(
            Image.new("RGB", (40, 30), (9, 8, 7)).convert("P", palette=Image.Palette.ADAPTIVE), (9, 8, 7), id="palette"
        ),
    ],
)
def test_what_becomes_rgb(tmp_path: Path, picture: Image.Image, expected: tuple[int, int, int]) -> None:
    picture.save(tmp_path / "a.png")
    assert (_whole(tmp_path / "a.png") == expected).all()


def test_orientation_tags_are_ignored_as_in_qupath(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    reader = open_slide(tmp_path / "a.jpg")
    assert (reader.info.width, reader.info.height) == (40, 30)


def test_cmyk_is_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (40, 30)).save(tmp_path / "a.jpg")
    with pytest.raises(SlideUnsupported, match="push the pixels"):
        open_slide(tmp_path / "a.jpg")


TWELVE_BITS = np.linspace(0, 4095, 1200).astype(np.uint16).reshape(30, 40)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_twelve_of_sixteen_bits_are_scaled_with_a_remark(tmp_path: Path, samples: int) -> None:
    """As cameras write them; Pillow would drop the lower byte and show an all but black picture."""
    colours = samples - (samples in (2, 4))
    pixels = np.repeat(TWELVE_BITS[:, :, None], samples, axis=2)
    if colours < samples:
        pixels[:, :, -1] = 4095
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels[:, :, 0] if samples == 1 else pixels))
    expected = np.repeat((TWELVE_BITS / 4095 * 255)[:, :, None], 3, axis=2)
    assert np.abs(_whole(tmp_path / "a.png") - expected).max() <= 1
    with closing(open_slide(tmp_path / "a.png")) as reader:
        assert "to 409" in reader.info.reader
        assert "give a range" in reader.info.remarks[0]


def test_a_range_and_channels_are_as_the_caller_says(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(TWELVE_BITS))
    with closing(open_slide(tmp_path / "a.png", rendering=Rendering(low=0, high=8190))) as reader:
        read = reader.read(Window(Region(0, 0, 40, 30), 40, 30))
        assert np.abs(read[:, :, 1] - TWELVE_BITS / 8190 * 255).max() <= 1
        assert reader.info.remarks == ()
    Image.fromarray(coordinate_pixels()).save(tmp_path / "b.png")
    with closing(open_slide(tmp_path / "b.png", rendering=Rendering((ChannelDisplay("Green", 0, 255),)))) as reader:
        read = reader.read(Window(Region(0, 0, 208, 152), 208, 152))
        np.testing.assert_array_equal(read, np.repeat(coordinate_pixels()[:, :, 1:2], 3, axis=2))


def test_sixteen_bits_are_not_pushed(tmp_path: Path) -> None:
    """A client pushes what it shows; nobody here can know how it shows 16 bits."""
    data = imagecodecs.png_encode(np.repeat(TWELVE_BITS[:, :, None], 3, axis=2))
    with pytest.raises(SlideUnsupported, match="push the pixels as QuPath"):
        PushedReader(
            data, pixel_format=PixelFormat.PNG, size=(40, 30), region=Region(0, 0, 40, 30), image_size=(40, 30)
        )


def test_a_large_image_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes()[:100])  # no pixels to decode at all
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setattr(image_module, "MAX_IMAGE_PX", 1199)
    with pytest.raises(SlideUnsupported, match="tiled TIFF"):
        open_slide(tmp_path / "a.png")


@pytest.mark.parametrize("side", [10_000, 20_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(_png_header(side))
    with pytest.raises((SlideUnsupported, SlideUnreadable)):
        open_slide(tmp_path / "a.png")


def _png_header(side: int) -> bytes:
    import struct
    import zlib

    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (chunk, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9])
def test_truncated_images_are_told(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(coordinate_pixels()).save(path)
    path.write_bytes(path.read_bytes()[: max(9, int(path.stat().st_size * kept))])
    with pytest.raises(SlideUnreadable):
        open_slide(path)


def test_damaged_images_never_crash(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    for suffix in (".png", ".jpg", ".bmp"):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(coordinate_pixels()).save(path)
        whole = path.read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            for place in random.integers(3, min(len(whole), 400), size=4):
                damaged[place] = random.integers(256)
            path.write_bytes(damaged)
            _open_or_our_error(path)


def _open_or_our_error(path: Path) -> Any:
    try:
        return open_slide(path).info
    except (SlideUnreadable, SlideUnsupported) as error:
        return error
