"""Which image of a TIFF is the slide, and what stands in where it has none."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.errors import SlideUnreadable, SlideUnsupported
from qupath_sam.slides import open_slide
from qupath_sam.slides.base import SlideReader
from qupath_sam.types.regions import Region, Window
from tests.contracts.readers import HEIGHT, WIDTH, coordinate_pixels
from tests.slides.written import drop_tiles, write_tiff


def whole(reader: SlideReader, downsample: float = 1.0) -> NDArray[np.uint8]:
    return reader.read(Window.of(Region(0, 0, reader.info.width, reader.info.height), downsample))


def test_an_overview_before_the_slide(tmp_path: Path) -> None:
    """As Olympus exports it: the first image is a picture of the whole glass."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.full((76, 104, 3), 9, np.uint8), photometric="rgb")
        writer.write(coordinate_pixels(), photometric="rgb", tile=(32, 32))
    with closing(open_slide(tmp_path / "a.tif")) as reader:
        np.testing.assert_array_equal(whole(reader), coordinate_pixels())
        assert "number 2, the largest" in reader.info.remarks[0]


def test_a_label_beside_the_slide_is_no_remark(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(coordinate_pixels(), photometric="rgb", tile=(32, 32))
        writer.write(np.full((40, 50, 3), 9, np.uint8), photometric="rgb")
    with closing(open_slide(tmp_path / "a.tif")) as reader:
        assert reader.info.remarks == ()


@pytest.mark.parametrize("levels", [(4,), (2, 4), (16,)])
def test_a_tile_that_a_lower_level_lacks_comes_from_the_level_above(tmp_path: Path, levels: tuple[int, ...]) -> None:
    path = write_tiff(tmp_path / "a.tif", coordinate_pixels(), tile=(16, 16), downsamples=levels)
    with closing(open_slide(path)) as reader:
        expected = whole(reader, levels[-1])
    drop_tiles(path, [0], page=len(levels))
    with closing(open_slide(path)) as reader:
        np.testing.assert_array_equal(whole(reader, levels[-1]), expected)


def test_a_tile_that_several_levels_lack_comes_from_the_one_that_has_it(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", coordinate_pixels(), tile=(16, 16), downsamples=(2, 4))
    with closing(open_slide(path)) as reader:
        expected = whole(reader, 4)
    drop_tiles(path, [0, 1, 7, 8], page=1)  # 7 tiles a row
    drop_tiles(path, [0], page=2)
    with closing(open_slide(path)) as reader:
        assert np.abs(whole(reader, 4).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("order", [(1, 2, 4), (4, 2, 1), (2, 1, 4)])
def test_levels_in_any_order(tmp_path: Path, order: tuple[int, ...]) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for downsample in order:
            pixels = np.array(Image.fromarray(coordinate_pixels()).reduce(downsample))
            writer.write(pixels, photometric="rgb", tile=(16, 16), metadata=None, subfiletype=int(downsample > 1))
    with closing(open_slide(tmp_path / "a.tif")) as reader:
        np.testing.assert_array_equal(whole(reader), coordinate_pixels())


def test_a_tile_that_every_level_lacks_is_white(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", coordinate_pixels(), tile=(16, 16), downsamples=(2,))
    drop_tiles(path, [0, 1, 13, 14], page=0)  # 13 tiles a row
    drop_tiles(path, [0], page=1)
    with closing(open_slide(path)) as reader:
        read = whole(reader, 2)
        assert (read[:16, :16] == 255).all()
        assert (read[16:, 16:] != 255).any(axis=-1).all()


def test_philips_whose_manufacturer_was_removed(tmp_path: Path) -> None:
    spacing = '<Attribute Name="DICOM_PIXEL_SPACING">&quot;0.00025&quot; &quot;0.00025&quot;</Attribute>'
    levels = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation">{spacing.replace("0.00025", str(0.00025 * d))}</DataObject>'
        for d in (1, 2)
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array><DataObject ObjectType="DPScannedImage">'
        f'<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>{spacing}'
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{levels}</Array></Attribute>'
        "</DataObject></Array></Attribute></DataObject>"
    )
    path = write_tiff(
        tmp_path / "a.tiff",
        coordinate_pixels(),
        tile=(32, 32),
        downsamples=(2,),
        software="Philips DP v1.0",
        description=xml,
    )
    with closing(open_slide(path)) as reader:
        assert len(reader.info.levels) == 2
        assert reader.info.mpp == pytest.approx(0.25)
        np.testing.assert_array_equal(whole(reader), coordinate_pixels())


@pytest.mark.parametrize("offsets", [(-1000, 0, 1000), (0, 500, -500), (1000, -1000, 0)])
def test_hamamatsus_plane_in_focus_comes_first(tmp_path: Path, offsets: tuple[int, ...]) -> None:
    """As OpenSlide, which shows it alone."""
    path = _write_focal_planes(tmp_path / "a.tif", offsets)
    with closing(open_slide(path)) as reader:
        assert reader.info.depth == 3
        assert (whole(reader) == 40 * offsets.index(0)).all()
    with closing(open_slide(path, z=2)) as reader:
        assert (whole(reader) != 40 * offsets.index(0)).all()


def test_focal_planes_that_do_not_say_which_is_in_focus_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SlideUnsupported, match="in focus"):
        open_slide(_write_focal_planes(tmp_path / "a.tif", (-1000, 500, 1000)))


def _write_focal_planes(path: Path, offsets: tuple[int, ...]) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for index, offset in enumerate(offsets):
            writer.write(
                np.full((64, 64, 3), 40 * index, np.uint8),
                photometric="rgb",
                metadata=None,
                extratags=[(65420, "I", 1, 1, True), (271, "s", 0, "Hamamatsu", True), (65424, "i", 1, offset, True)],
            )
    return path


PICTURE = np.full((64, 64, 3), (200, 60, 120), np.uint8)


def _jpeg_2000(stored: NDArray[np.uint8], **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(stored, level=0, reversible=True, **options))


def _chroma_subsampled(rgb: NDArray[np.uint8]) -> bytes:
    rasterio = pytest.importorskip("rasterio")
    with rasterio.io.MemoryFile(ext=".j2k") as memory:
        size = {"width": rgb.shape[1], "height": rgb.shape[0], "count": 3, "dtype": "uint8"}
        with memory.open(driver="JP2OpenJPEG", QUALITY="100", CODEC="J2K", YCBCR420="YES", **size) as dataset:
            dataset.write(rgb.transpose(2, 0, 1))
        return bytes(memory.read())


YCBCR = np.array(Image.fromarray(PICTURE).convert("YCbCr"))


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize(
    ("compression", "photometric", "stream"),
    [
        pytest.param(34712, "ycbcr", lambda: _jpeg_2000(YCBCR, codecformat="j2k", mct=False), id="as stored"),
        pytest.param(34712, "ycbcr", lambda: _jpeg_2000(PICTURE, codecformat="j2k", mct=True), id="transformed"),
        pytest.param(34712, "rgb", lambda: _jpeg_2000(PICTURE, codecformat="j2k", mct=False), id="rgb"),
        pytest.param(34712, "rgb", lambda: _jpeg_2000(PICTURE, codecformat="jp2", mct=True), id="rgb in boxes"),
        pytest.param(
            34712,
            "ycbcr",
            lambda: _jpeg_2000(YCBCR, codecformat="jp2", colorspace="SYCC", mct=False),
            id="sYCC in boxes",
        ),
        pytest.param(34712, "ycbcr", lambda: _chroma_subsampled(PICTURE), id="subsampled"),
        pytest.param(33003, "ycbcr", lambda: _jpeg_2000(YCBCR, codecformat="j2k", mct=False), id="aperio ycbcr"),
        pytest.param(33003, "rgb", lambda: _jpeg_2000(YCBCR, codecformat="j2k", mct=False), id="aperio tagged rgb"),
        pytest.param(33003, "ycbcr", lambda: _chroma_subsampled(PICTURE), id="aperio subsampled"),
        pytest.param(33005, "rgb", lambda: _jpeg_2000(PICTURE, codecformat="j2k", mct=False), id="aperio rgb"),
    ],
)
def test_colours_of_jpeg_2000(tmp_path: Path, compression: int, photometric: str, stream: Any) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        iter([stream()] * 4),
        shape=(128, 128, 3),
        dtype=np.uint8,
        tile=(64, 64),
        photometric=photometric,
        compression=compression,
        subsampling=(1, 1) if photometric == "ycbcr" else None,
        metadata=None,
    )
    with closing(open_slide(tmp_path / "a.tif")) as reader:
        assert np.abs(whole(reader).astype(int) - (200, 60, 120)).max() <= 3


def test_colours_of_ycbcr_in_planes_of_jpeg(tmp_path: Path) -> None:
    """JPEG's decoder sees one plane at a time, and cannot make RGB of it."""
    tifffile.imwrite(
        tmp_path / "a.tif",
        iter([bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(YCBCR[:, :, plane]))) for plane in range(3)]),
        shape=(3, 64, 64),
        dtype=np.uint8,
        tile=(64, 64),
        photometric="ycbcr",
        planarconfig="separate",
        compression="jpeg",
        subsampling=(1, 1),
        metadata=None,
    )
    with closing(open_slide(tmp_path / "a.tif")) as reader:
        assert np.abs(whole(reader).astype(int) - (200, 60, 120)).max() <= 3


def test_an_ome_tiff_of_several_files_is_refused(tmp_path: Path) -> None:
    """Whatever lies beside it: no file is opened because another one names it."""
    uuid = "urn:uuid:00000000-0000-0000-0000-00000000000"
    xml = (
        f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}1">'
        '<Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" Type="uint8" DimensionOrder="XYCZT" SizeX="{WIDTH}" SizeY="{HEIGHT}" '
        'SizeC="3" SizeZ="2" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="3"/>'
        f'<TiffData FirstZ="0" IFD="0" PlaneCount="1"><UUID FileName="a.ome.tif">{uuid}1</UUID></TiffData>'
        f'<TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="b.ome.tif">{uuid}2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    path = write_tiff(tmp_path / "a.ome.tif", coordinate_pixels(), description=xml)
    with pytest.raises(SlideUnsupported, match=r"b\.ome\.tif"):
        open_slide(path)


def test_only_a_broken_tile_cannot_be_read(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", coordinate_pixels(), tile=(32, 32), compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    with closing(open_slide(path)) as reader:
        with pytest.raises(SlideUnreadable, match="cannot be decoded"):
            reader.read(Window(Region(0, 0, 16, 16), 16, 16))
        reader.read(Window(Region(32, 32, WIDTH - 32, HEIGHT - 32), 44, 30))
