"""The optional OpenSlide, and where it and tiffslide must agree."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.errors import SlideNotFound, SlideUnreadable, SlideUnsupported
from qupath_sam.slides import UrlRules, open_slide, parse_location
from qupath_sam.slides.openslide import SUFFIXES, OpenSlideReader, depth_remarks
from qupath_sam.slides.rendering import Rendering
from qupath_sam.slides.tiff import TiffReader
from qupath_sam.types.regions import Region, Window
from tests.contracts.dicom import write_dicom
from tests.contracts.readers import HEIGHT, WIDTH, ReaderContract, coordinate_pixels
from tests.slides.written import SCN_AREAS, SCN_SIZE, write_leica, write_tiff, write_trestle

pytest.importorskip("openslide")


class TestOpenSlide(ReaderContract):
    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> Path:
        return write_tiff(folder / "ä b.tif", pixels, tile=(32, 32), downsamples=(2, 4))

    @classmethod
    def open(cls, written: Path) -> OpenSlideReader:
        return OpenSlideReader(parse_location(written))


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "test3-DAPI-2-387.ndpi", "openslide-py-boxes.tiff"])
def test_both_libraries_give_the_same_pixels(shared_data: Path, name: str) -> None:
    location = parse_location(shared_data / "slides" / name)
    with closing(TiffReader(location)) as ours, closing(OpenSlideReader(location)) as theirs:
        size = ours.info.width, ours.info.height
        assert size == (theirs.info.width, theirs.info.height)
        if ours.info.mpp is not None and theirs.info.mpp is not None:
            assert ours.info.mpp == pytest.approx(theirs.info.mpp, rel=1e-6)
        for downsample in (1, 2, 8):
            window = Window.of(Region(-40, 16, min(900, size[0]), min(600, size[1])), downsample)
            difference = np.abs(ours.read(window).astype(int) - theirs.read(window))
            # OpenSlide places level px by way of level-0 px, which is not exact where 300 px became 37.
            assert difference.max() <= (1 if "boxes" in name else 0)


def test_leica_scanned_areas(tmp_path: Path) -> None:
    """Gaps between scanned areas are white, and both libraries find the same bounds for QuPath's crop."""
    pixels = coordinate_pixels(*SCN_SIZE)
    location = parse_location(write_leica(tmp_path / "a.scn", pixels))
    expected = np.full_like(pixels, 255)
    for (x, y), (width, height) in SCN_AREAS.items():
        expected[y : y + height, x : x + width] = pixels[y : y + height, x : x + width]
    with closing(TiffReader(location)) as ours, closing(OpenSlideReader(location)) as theirs:
        assert ours.bounds == theirs.bounds == Region(80, 60, 276, 184)
        assert ours.info.mpp == 0.5
        np.testing.assert_array_equal(ours.read(Window(Region(0, 0, 400, 300), 400, 300)), expected)
        for downsample in (1, 2, 4, 8):
            window = Window.of(Region(0, 0, 400, 300), downsample)
            np.testing.assert_array_equal(ours.read(window), theirs.read(window))
    with closing(open_slide(location)) as cropped:
        assert (cropped.info.width, cropped.info.height) == (276, 184)
        np.testing.assert_array_equal(cropped.read(Window(Region(0, 0, 276, 184), 276, 184)), expected[60:244, 80:356])


@pytest.mark.parametrize("compression", [33003, 33005])
def test_aperio_jpeg_2000_has_the_right_colours(tmp_path: Path, compression: int) -> None:
    """33003 is stored as YCbCr; tiffslide 3.0 returns it as if it were RGB."""
    rgb = np.full((64, 64, 3), (200, 60, 120), np.uint8)
    rgb[20:40, 20:40] = (30, 90, 220)
    stored = np.array(Image.fromarray(rgb).convert("YCbCr")) if compression == 33003 else rgb
    tile = imagecodecs.jpeg2k_encode(stored, level=0, codecformat="j2k", mct=False, reversible=True)
    tifffile.imwrite(
        tmp_path / "a.svs",
        iter([tile] * 4),
        shape=(128, 128, 3),
        dtype=np.uint8,
        tile=(64, 64),
        photometric="rgb",
        compression=compression,
        metadata=None,
        description="Aperio Image Library v1\n128x128|AppMag = 20|MPP = 0.5",
    )
    location = parse_location(tmp_path / "a.svs")
    window = Window(Region(0, 0, 64, 64), 64, 64)
    with closing(TiffReader(location)) as ours, closing(OpenSlideReader(location)) as theirs:
        assert np.abs(ours.read(window).astype(int) - rgb).max() <= 2
        assert np.abs(ours.read(window).astype(int) - theirs.read(window)).max() <= 2


def test_a_uncompressed_ycbcr_tiff_has_the_right_colours(tmp_path: Path) -> None:
    rgb = np.full((64, 64, 3), (200, 60, 120), np.uint8)
    path = write_tiff(tmp_path / "a.tif", np.array(Image.fromarray(rgb).convert("YCbCr")), photometric="ycbcr")
    with closing(open_slide(path)) as reader:
        assert np.abs(reader.read(Window(Region(0, 0, 64, 64), 8, 8)).astype(int) - (200, 60, 120)).max() <= 2


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_without_openslide_the_message_says_how_to_get_it(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"x" * 100)
    _with_mirax_folder(tmp_path / f"a{suffix}")
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(SlideUnsupported, match=r'pip install "qupath-sam\[openslide\]"'):
        open_slide(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(("bits", "remarks"), [(None, 0), ("8", 0), ("16", 1)])
def test_more_than_8_bits_of_zeiss_are_told(bits: str | None, remarks: int) -> None:
    properties = {} if bits is None else {"zeiss.Information.Image.ComponentBitCount": bits}
    assert len(depth_remarks(properties)) == remarks


def test_twelve_of_sixteen_bits_of_zeiss_are_refused() -> None:
    with pytest.raises(SlideUnsupported, match="all but black"):
        depth_remarks({"zeiss.Information.Image.ComponentBitCount": "12"})


def _with_mirax_folder(path: Path) -> None:
    path.with_suffix("").mkdir()
    (path.with_suffix("") / "Slidedat.ini").touch()


def test_dicom_is_known_by_its_content(tmp_path: Path) -> None:
    """A PACS exports it without an ending."""
    path = write_dicom(tmp_path / "IM000001", coordinate_pixels())
    with closing(open_slide(path)) as reader:
        assert (reader.info.width, reader.info.height, reader.info.mpp) == (WIDTH, HEIGHT, 0.25)
        window = Window(Region(0, 0, WIDTH, HEIGHT), WIDTH, HEIGHT)
        assert np.abs(reader.read(window).astype(int) - coordinate_pixels()).max() <= 8


def test_overlapping_tiles_are_stitched(tmp_path: Path) -> None:
    """Trestle's: tifffile would lay them edge to edge."""
    path = write_trestle(tmp_path / "a.tif", coordinate_pixels(256, 192))
    with closing(open_slide(path)) as reader:
        assert (reader.info.width, reader.info.height) == (208, 176)
        assert reader.info.reader.startswith("openslide ")


def test_overlapping_tiles_without_openslide_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_trestle(tmp_path / "a.tif", coordinate_pixels(256, 192))
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(SlideUnsupported, match="tiles overlap"):
        open_slide(path)


def test_mirax_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.mrxs").write_bytes(b"\xff\xd8\xff" * 100)
    with pytest.raises(SlideUnreadable, match=r"folder a/ .* is missing beside it; copy both"):
        open_slide(tmp_path / "a.mrxs")


@pytest.mark.parametrize("name", ["a.vsi", "A.VSI", "a.ndpis", "a.afi", "a.companion.ome", "frame_t.ets"])
def test_containers_whose_pixels_lie_elsewhere(tmp_path: Path, name: str) -> None:
    """The TIFF inside a .vsi is a thumbnail."""
    write_tiff(tmp_path / name, coordinate_pixels())
    with pytest.raises(SlideUnsupported, match="push the pixels"):
        open_slide(tmp_path / name)


def test_openslide_has_no_channels(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", coordinate_pixels())
    with pytest.raises(SlideUnsupported, match="no channels"):
        open_slide(path, rendering=Rendering(low=0, high=9))


def test_broken_and_unknown_files(tmp_path: Path) -> None:
    (tmp_path / "a.zvi").write_bytes(b"x" * 100)
    with pytest.raises(SlideUnreadable, match="push the pixels"):
        open_slide(tmp_path / "a.zvi")
    with pytest.raises(SlideNotFound):
        open_slide(tmp_path / "b.mrxs")


def test_a_slide_that_opens_but_cannot_be_read(shared_data: Path) -> None:
    location = parse_location(shared_data / "slides" / "openslide-py-unreadable.svs")
    with closing(OpenSlideReader(location)) as reader, pytest.raises(SlideUnreadable, match="copy the slide again"):
        reader.read(Window(Region(0, 0, 16, 16), 16, 16))


def test_a_url_is_refused() -> None:
    with pytest.raises(SlideUnsupported, match="local files"):
        OpenSlideReader(parse_location("memory://a.mrxs", urls=UrlRules(frozenset({"memory"}))))
