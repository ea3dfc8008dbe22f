"""TIFF slides: real ones, generated ones, broken ones."""

from __future__ import annotations

import struct
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile
import tiffslide
from numpy.typing import NDArray

from qupath_sam.errors import SlideUnreadable, SlideUnsupported
from qupath_sam.slides import Permissions, UrlRules, open_slide
from qupath_sam.slides.base import SlideReader
from qupath_sam.types.regions import Region, Window
from tests.contracts.readers import ReaderContract, coordinate_pixels
from tests.slides.written import drop_tiles, write_tiff


class TiffContract(ReaderContract):
    options: ClassVar[dict[str, Any]]

    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> Path:
        return write_tiff(folder / "Schnitt ü.tif", pixels, **cls.options)

    @classmethod
    def open(cls, written: Path) -> SlideReader:
        return open_slide(written)


class TestPyramid(TiffContract):
    options: ClassVar[dict[str, Any]] = {"tile": (32, 48), "downsamples": (2, 4)}


class TestOneLevel(TiffContract):
    options: ClassVar[dict[str, Any]] = {"tile": (16, 16)}


class TestStrips(TiffContract):
    options: ClassVar[dict[str, Any]] = {"rowsperstrip": 7}


class TestBigTiffUncompressed(TiffContract):
    options: ClassVar[dict[str, Any]] = {
        "tile": (64, 64),
        "downsamples": (4,),
        "bigtiff": True,
        "compression": None,
        "byteorder": ">",
    }


class TestInMemoryUrl(TiffContract):
    """Through fsspec, as any URL."""

    options: ClassVar[dict[str, Any]] = {"tile": (32, 32), "downsamples": (2,)}

    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> str:  # type: ignore[override]
        import fsspec

        url = f"memory://{folder.name}/slide.tif"
        with fsspec.open(url, "wb") as file:
            file.write(super().write(pixels, folder).read_bytes())
        return url

    @classmethod
    def open(cls, written: str) -> SlideReader:  # type: ignore[override]
        return open_slide(written, permissions=Permissions(urls=UrlRules(frozenset({"memory"}))))


@pytest.mark.filterwarnings("ignore:hamamatsu-format metadata")  # of the TiffSlide compared with; ours is silent
@pytest.mark.parametrize(("name", "levels"), [("CMU-1-Small-Region.svs", 1), ("test3-DAPI-2-387.ndpi", 4)])
def test_real_slides_give_tiffslides_own_bytes(shared_data: Path, name: str, levels: int) -> None:
    path = shared_data / "slides" / name
    with closing(open_slide(path)) as reader, tiffslide.TiffSlide(path) as slide:
        assert len(reader.info.levels) == levels
        for level, downsample in enumerate([1, 2, 4, 8][:levels]):
            window = Window.of(Region(512, 768, 640, 480), downsample)
            expected = slide.read_region((512, 768), level, (window.width, window.height), as_array=True)
            np.testing.assert_array_equal(reader.read(window), expected)


def test_what_is_known_of_real_slides(shared_data: Path) -> None:
    with closing(open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs")) as reader:
        assert (reader.info.width, reader.info.height, reader.info.mpp) == (2220, 2967, 0.499)
        assert reader.info.mpp_remark == ""
        assert reader.info.reader.startswith("tifffile ")
    with closing(open_slide(shared_data / "slides" / "test3-DAPI-2-387.ndpi")) as reader:
        assert reader.info.mpp == pytest.approx(0.22818, abs=1e-5)
    with closing(open_slide(shared_data / "slides" / "openslide-py-boxes.tiff")) as reader:
        assert [level.downsample for level in reader.info.levels] == [1, 2, 4, 8]
        assert reader.info.mpp is None
        assert "352.8 um" in reader.info.mpp_remark


def test_a_slide_that_opens_but_cannot_be_read(shared_data: Path) -> None:
    with (
        closing(open_slide(shared_data / "slides" / "openslide-py-unreadable.svs")) as reader,
        pytest.raises(SlideUnreadable, match="Jpeg8Error"),
    ):
        reader.read(Window(Region(0, 0, 16, 16), 16, 16))


def test_missing_tiles_are_white(tmp_path: Path) -> None:
    pixels = coordinate_pixels(200, 120)
    path = write_tiff(tmp_path / "sparse.tif", pixels, tile=(32, 48), bigtiff=True)
    drop_tiles(path, [1, 7])  # of five in a row: row 0, column 1 and row 1, column 2
    expected = pixels.copy()
    expected[0:32, 48:96] = 255
    expected[32:64, 96:144] = 255
    with closing(open_slide(path)) as reader:
        np.testing.assert_array_equal(reader.read(Window(Region(0, 0, 200, 120), 200, 120)), expected)
        np.testing.assert_array_equal(reader.read(Window(Region(60, 20, 50, 30), 50, 30)), expected[20:50, 60:110])
        assert (reader.read(Window(Region(48, 0, 48, 32), 3, 2)) == 255).all()


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("compression", ["zlib", "jpeg", None])
@pytest.mark.parametrize("tile", [(32, 32), None])
def test_truncated_files_are_told(tmp_path: Path, kept: float, compression: str | None, tile: Any) -> None:
    path = write_tiff(tmp_path / "cut.tif", coordinate_pixels(), downsamples=(2,), compression=compression, tile=tile)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(SlideUnreadable, match="copy it again"), closing(open_slide(path)) as reader:
        _read_everything(reader)


def test_pixels_cut_off_at_the_end_are_told(tmp_path: Path) -> None:
    """Directories first and pixels last, as some writers have it: the file opens, and its last tile is half there."""
    path = write_tiff(tmp_path / "cut.tif", coordinate_pixels(), tile=(32, 32), compression=None)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SlideUnreadable, match="truncated"):
        open_slide(path)


def test_garbage_never_crashes(tmp_path: Path) -> None:
    """Whatever is damaged, the answer is pixels or one of our errors."""
    path = write_tiff(tmp_path / "x.tif", coordinate_pixels(), downsamples=(2,), compression="jpeg", tile=(32, 32))
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), size=8):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        with suppress(SlideUnreadable, SlideUnsupported), closing(open_slide(path)) as reader:
            _read_everything(reader)


def _read_everything(reader: SlideReader) -> None:
    info = reader.info
    if info.width * info.height > 10**7:
        return
    for downsample in (1.0, 2.0):
        reader.read(Window.of(Region(0, 0, info.width, info.height), downsample))


RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
"""Values 0 to 4095: 12 bits of 16."""
SHARES = (RAMP // 16).astype(np.uint8)


def grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.repeat(values.astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize(
    ("pixels", "options", "expected"),
    [
        pytest.param(SHARES, {"photometric": "minisblack"}, grey(SHARES), id="grey"),
        pytest.param(SHARES, {"photometric": "miniswhite"}, grey(255 - SHARES), id="grey inverted"),
        pytest.param(SHARES > 100, {"photometric": "minisblack"}, grey(255 * (SHARES > 100)), id="bits"),
        pytest.param(RAMP, {"photometric": "minisblack"}, grey(RAMP / 4095 * 255 + 0.5), id="grey16"),
        pytest.param(np.stack([RAMP] * 3, -1), {}, grey(RAMP / 4095 * 255 + 0.5), id="rgb16"),
        pytest.param(np.stack([RAMP] * 3, -1) // 16, {"compression": None}, grey(RAMP // 16), id="8 of 16 bits"),
        pytest.param(np.stack([RAMP] * 3, -1) / np.float32(4095), {}, grey(RAMP / 4095 * 255 + 0.5), id="float"),
        pytest.param(
            np.stack([SHARES, SHARES, SHARES, 255 * (SHARES > 100)], -1).astype(np.uint8),
            {"extrasamples": ["unassalpha"]},
            grey(np.where(SHARES > 100, SHARES, 255)),
            id="rgba",
        ),
        pytest.param(
            np.stack([SHARES, 255 * (SHARES > 100)], -1).astype(np.uint8),
            {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"},
            grey(np.where(SHARES > 100, SHARES, 255)),
            id="grey and alpha",
        ),
        pytest.param(
            np.stack([RAMP, np.full_like(RAMP, 65535)], -1),
            {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"},
            grey(RAMP / 4095 * 255 + 0.5),
            id="grey of 12 bits and alpha of 16",
        ),
        pytest.param(
            np.stack([SHARES // 2] * 3 + [SHARES // 2 + 128], -1),
            {"extrasamples": ["assocalpha"]},
            grey(np.minimum(SHARES // 2 + 255 - (SHARES // 2 + 128), 255)),
            id="premultiplied",
        ),
        pytest.param(
            np.stack([SHARES, SHARES, SHARES, SHARES], -1), {"extrasamples": ["unspecified"]}, grey(SHARES), id="rgbx"
        ),
        pytest.param(
            np.stack([SHARES, SHARES // 2, 255 - SHARES]),
            {"planarconfig": "separate"},
            np.stack([SHARES, SHARES // 2, 255 - SHARES], -1),
            id="planar",
        ),
        pytest.param(
            SHARES // 64,
            {"photometric": "palette", "colormap": np.repeat(np.arange(256, dtype=np.uint16)[None] * 85 * 256, 3, 0)},
            grey(SHARES // 64 * 85),
            id="palette",
        ),
    ],
)
def test_what_becomes_rgb(
    tmp_path: Path, pixels: NDArray[Any], options: dict[str, Any], expected: NDArray[np.uint8]
) -> None:
    path = write_tiff(tmp_path / "x.tif", pixels, tile=(32, 32), **options)
    with closing(open_slide(path)) as reader:
        read = reader.read(Window(Region(0, 0, 64, 64), 64, 64))
        assert np.abs(read.astype(int) - expected).max() <= (1 if pixels.dtype.itemsize > 1 else 0)
        scaled = pixels.dtype.itemsize > 1
        assert bool(reader.info.remarks) == scaled
        assert ("(" in reader.info.reader) == scaled


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        pytest.param(np.zeros((64, 64, 4), np.uint8), {"photometric": "separated"}, id="cmyk"),
        pytest.param(np.zeros((64, 64, 3), np.uint8), {"photometric": "cielab"}, id="lab"),
        pytest.param(np.zeros((64, 64), np.complex64), {"photometric": "minisblack"}, id="complex"),
    ],
)
def test_what_is_neither_colour_nor_channels_is_refused(
    tmp_path: Path, pixels: NDArray[Any], options: dict[str, Any]
) -> None:
    path = write_tiff(tmp_path / "x.tif", pixels, tile=(32, 32), **options)
    with pytest.raises(SlideUnsupported, match="push the pixels"):
        open_slide(path)


def test_one_huge_piece_is_refused(tmp_path: Path) -> None:
    """A header is enough to claim anything; nothing of that size may be allocated."""
    path = write_tiff(tmp_path / "x.tif", coordinate_pixels(), rowsperstrip=152)
    with tifffile.TiffFile(path) as tiff:
        places = [tiff.pages[0].tags[name].valueoffset for name in ("ImageWidth", "ImageLength", "RowsPerStrip")]
        formats = [tiff.pages[0].tags[name].dtype for name in ("ImageWidth", "ImageLength", "RowsPerStrip")]
    data = bytearray(path.read_bytes())
    for place, kind in zip(places, formats, strict=True):
        struct.pack_into("<H" if int(kind) == 3 else "<I", data, place, 60_000)
    path.write_bytes(data)
    with pytest.raises(SlideUnsupported, match="tiled pyramid"):
        open_slide(path)


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "test3-DAPI-2-387.ndpi", "openslide-py-boxes.tiff"])
@pytest.mark.parametrize("kept", [0.01, 0.2, 0.5, 0.7, 0.9, 0.99])
def test_truncated_real_slides_give_an_error_or_the_right_pixels(
    shared_data: Path, tmp_path: Path, name: str, kept: float
) -> None:
    whole = (shared_data / "slides" / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(whole[: int(len(whole) * kept)])
    with closing(open_slide(shared_data / "slides" / name)) as reader:
        window = Window.of(reader.info.extent, 8)
        expected = reader.read(window)
    with suppress(SlideUnreadable, SlideUnsupported), closing(open_slide(cut)) as reader:
        assert reader.info.extent == window.region
        np.testing.assert_array_equal(reader.read(window), expected)
