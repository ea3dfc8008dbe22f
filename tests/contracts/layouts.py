"""Every layout of slides and images that is read, made small: who writes it, and what must come out of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.slides.rendering import ChannelDisplay, Rendering
from tests.contracts.dicom import write_dicom
from tests.slides.test_ome_zarr import rgb_levels, write_zarr
from tests.slides.written import SCN_AREAS, SCN_SIZE, drop_tiles, write_leica, write_tiff, write_trestle

WIDTH, HEIGHT = 256, 192
PER_CM = (40_000, 40_000)
"""Resolution tags of 0.25 um."""


def picture(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A smooth picture, so that what JPEG loses is little: stained tissue's colours, and no two px far apart alike."""
    y, x = np.mgrid[:height, :width]
    red = 140 + 100 * x / width
    green = 60 + 120 * y / height
    blue = 150 + 60 * np.sin(x / 40) * np.cos(y / 30)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


@dataclass(frozen=True)
class Layout:
    """One layout.

    Attributes:
        name: of the layout.
        written_by: programs and scanners that write it.
        write: makes a file in a folder.
        expected: level 0 as it must be shown, uint8 ``(H, W, 3)``.
        mpp: pixel size that must come out, um.
        tolerance: how far a px may be off, for what compression loses.
        rendering: how channels are to be shown.
        differs_from_openslide: why OpenSlide's answer is not the one wanted, "" where it is.
    """

    name: str
    written_by: str
    write: Callable[[Path], Path]
    expected: Callable[[], NDArray[np.uint8]] = picture
    mpp: float | None = 0.25
    tolerance: int = 0
    rendering: Rendering | None = None
    differs_from_openslide: str = ""


def _svs(folder: Path, *, mpp: str = "0.25", hole: bool = False) -> Path:
    path = folder / "a.svs"
    options: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    options["compressionargs"] = {"level": 95}
    text = f"Aperio Image Library v10.2.24\n{WIDTH}x{HEIGHT} (64x64) JPEG/RGB Q=95|AppMag = 40|MPP = {mpp}"
    with tifffile.TiffWriter(path) as writer:
        writer.write(picture(), description=text, **options)
        writer.write(np.array(Image.fromarray(picture()).reduce(4)), photometric="rgb", metadata=None, rowsperstrip=16)
        writer.write(np.array(Image.fromarray(picture()).reduce(4)), description=text, **options)
    if hole:
        drop_tiles(path, [0], page=2)
    return path


def _jpeg_2000_svs(folder: Path, *, compression: int) -> Path:
    ycbcr = compression == 33003
    stored = np.array(Image.fromarray(picture()).convert("YCbCr")) if ycbcr else picture()
    return _jpeg_2000(
        folder / "a.svs",
        stored,
        compression=compression,
        photometric="rgb",
        description=f"Aperio Image Library v1\n{WIDTH}x{HEIGHT} J2K|AppMag = 40|MPP = 0.25",
    )


def _jpeg_2000(path: Path, stored: NDArray[np.uint8], *, mct: bool = False, **options: Any) -> Path:
    tiles = [
        imagecodecs.jpeg2k_encode(
            np.ascontiguousarray(stored[y : y + 64, x : x + 64]), level=0, codecformat="j2k", mct=mct, reversible=True
        )
        for y in range(0, HEIGHT, 64)
        for x in range(0, WIDTH, 64)
    ]
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=stored.shape,
        dtype=np.uint8,
        tile=(64, 64),
        metadata=None,
        subsampling=(1, 1),
        **options,
    )
    return path


def _ycbcr_in_jpeg_2000(folder: Path) -> Path:
    stored = np.array(Image.fromarray(picture()).convert("YCbCr"))
    size = {"resolution": PER_CM, "resolutionunit": "CENTIMETER"}
    return _jpeg_2000(folder / "a.tif", stored, compression=34712, photometric="ycbcr", **size)


def _scn(folder: Path) -> Path:
    return write_leica(folder / "a.scn", picture(*SCN_SIZE))


def _scn_expected() -> NDArray[np.uint8]:
    whole = np.full((SCN_SIZE[1], SCN_SIZE[0], 3), 255, np.uint8)
    for (x, y), (width, height) in SCN_AREAS.items():
        whole[y : y + height, x : x + width] = picture(*SCN_SIZE)[y : y + height, x : x + width]
    return whole[60:244, 80:356]  # QuPath crops to the box round the scanned areas


def philips_xml(*, manufacturer: bool = True) -> str:
    """The XML of a Philips TIFF with two levels of 0.25 and 0.5 um."""

    def spacing(mm: float) -> str:
        return f'<Attribute Name="DICOM_PIXEL_SPACING">&quot;{mm}&quot; &quot;{mm}&quot;</Attribute>'

    levels = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation">{spacing(mm)}'
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_NUMBER">{index}</Attribute></DataObject>'
        for index, mm in enumerate((0.00025, 0.0005))
    )
    maker = '<Attribute Name="DICOM_MANUFACTURER">PHILIPS</Attribute>' if manufacturer else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">{maker}'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array><DataObject ObjectType="DPScannedImage">'
        f'<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>{spacing(0.00025)}'
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{levels}</Array></Attribute>'
        "</DataObject></Array></Attribute></DataObject>"
    )


def _philips(folder: Path, *, manufacturer: bool = True, comma: bool = False) -> Path:
    xml = philips_xml(manufacturer=manufacturer)
    if comma:
        xml = xml.replace("0.000", "0,000")
    options = {"software": "Philips DP v1.0", "description": xml, "compression": "jpeg"}
    return write_tiff(
        folder / "a.tiff", picture(), tile=(64, 64), downsamples=(2,), compressionargs={"level": 95}, **options
    )


def _tiff(folder: Path, *, pixels: Callable[[], NDArray[Any]] = picture, **options: Any) -> Path:
    sized = {"resolution": PER_CM, "resolutionunit": "CENTIMETER", "tile": (64, 64), **options}
    return write_tiff(folder / "a.tif", pixels(), **sized)


def _overview_first(folder: Path) -> Path:
    sized: dict[str, Any] = {"resolution": PER_CM, "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    with tifffile.TiffWriter(folder / "a.tif") as writer:
        writer.write(np.array(Image.fromarray(picture()).reduce(2)), metadata=None, photometric="rgb")
        writer.write(picture(), tile=(64, 64), metadata=None, **sized)
    return folder / "a.tif"


def _sparse(folder: Path) -> Path:
    path = _tiff(folder, downsamples=(2,))
    drop_tiles(path, [0, 1], page=0)
    drop_tiles(path, [0], page=1)
    return path


def _sparse_expected() -> NDArray[np.uint8]:
    expected = picture()
    expected[:64, :128] = 255
    return expected


def _ome(folder: Path, pixels: NDArray[Any], axes: str, *, tag_mpp: float | None = None, **options: Any) -> Path:
    sizes = {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 250, "PhysicalSizeYUnit": "nm"}
    if tag_mpp is not None:
        options |= {"resolution": (1e4 / tag_mpp, 1e4 / tag_mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(folder / "a.ome.tif", pixels, tile=(64, 64), metadata={"axes": axes, **sizes}, **options)
    return folder / "a.ome.tif"


def _ome_pyramid(folder: Path) -> Path:
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    options: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "compression": "deflate"}
    with tifffile.TiffWriter(folder / "a.ome.tif") as writer:
        writer.write(picture(), subifds=1, metadata={"axes": "YXS", **sizes}, **options)
        writer.write(np.array(Image.fromarray(picture()).reduce(2)), subfiletype=1, **options)
    return folder / "a.ome.tif"


def channels() -> NDArray[np.uint16]:
    """Three channels of 12 bits in 16."""
    return (picture().transpose(2, 0, 1).astype(np.uint16) * 16 + 5).astype(np.uint16)


CHANNELS_SHOWN = Rendering((ChannelDisplay(2, 0, 4095, 0x00FF00), ChannelDisplay(0, 1000, 4095, 0xFF0000)))


def _channels_expected() -> NDArray[np.uint8]:
    stored = channels().astype(float)
    out = np.zeros((HEIGHT, WIDTH, 3))
    out[:, :, 1] = stored[2] / 4095 * 255
    out[:, :, 0] = np.clip((stored[0] - 1000) / 3095 * 255, 0, 255)
    return (out + 0.5).astype(np.uint8)


def _qptiff(folder: Path) -> Path:
    names = ("DAPI", "Opal 520", "Autofluorescence")
    with tifffile.TiffWriter(folder / "a.qptiff") as writer:
        for reduced in (1, 2):
            for plane, name in zip(channels(), names, strict=True):
                root = "PerkinElmer-QPI-ImageDescription"
                writer.write(
                    plane[::reduced, ::reduced],
                    tile=(64, 64),
                    photometric="minisblack",
                    compression="lzw",
                    software="PerkinElmer-QPI",
                    description=f"<{root}><Name>{name}</Name></{root}>",
                    resolution=(PER_CM[0] / reduced, PER_CM[1] / reduced),
                    resolutionunit="CENTIMETER",
                    metadata=None,
                )
    return folder / "a.qptiff"


def _imagej(folder: Path) -> Path:
    planes = channels()[None, None]
    options: dict[str, Any] = {"imagej": True, "resolution": (4.0, 4.0)}
    tifffile.imwrite(folder / "a.tif", planes, metadata={"axes": "TZCYX", "unit": "micron"}, **options)
    return folder / "a.tif"


def _grey() -> NDArray[np.uint8]:
    return picture()[:, :, 1]


def _grey_expected() -> NDArray[np.uint8]:
    return np.repeat(_grey()[:, :, None], 3, axis=2)


def _rgba() -> NDArray[np.uint8]:
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, : WIDTH // 2] = 255
    return np.concatenate([picture(), alpha], axis=2)


def _rgba_expected() -> NDArray[np.uint8]:
    expected = picture()
    expected[:, WIDTH // 2 :] = 255
    return expected


def _twelve_bits() -> NDArray[np.uint16]:
    stored = (picture().astype(np.uint16) * 16).astype(np.uint16)
    stored[0, 0] = 4095  # a px that uses all twelve
    return stored


def _twelve_bits_expected() -> NDArray[np.uint8]:
    return (_twelve_bits() / 4095 * 255 + 0.5).astype(np.uint8)


def _palette(folder: Path) -> Path:
    colours = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, axis=0)
    return _tiff(folder, pixels=_grey, photometric="palette", colormap=colours)


def _zarr(folder: Path, *, version: str) -> Path:
    return write_zarr(folder / "a.zarr", rgb_levels(picture(), (2,)), version=version)


def _zarr_channels(folder: Path) -> Path:
    return write_zarr(folder / "a.zarr", [channels()], unit="nanometer", scale=250.0)


def _image(folder: Path, *, suffix: str, **options: Any) -> Path:
    Image.fromarray(picture()).save(folder / f"a{suffix}", **options)
    return folder / f"a{suffix}"


def _deep_png(folder: Path) -> Path:
    (folder / "a.png").write_bytes(imagecodecs.png_encode(_twelve_bits()))
    return folder / "a.png"


def _trestle(folder: Path) -> Path:
    return write_trestle(folder / "a.tif", picture())


def _trestle_expected() -> NDArray[np.uint8]:
    """Tiles of 64 px lie 48 px (across) and 56 px (down) apart; OpenSlide shows later ones on top of earlier ones."""
    step_x, step_y = 48, 56
    out = np.zeros((step_y * 2 + 64, step_x * 3 + 64, 3), np.uint8)
    for row in range(3):
        for column in range(4):
            tile = picture()[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
            out[row * step_y : row * step_y + 64, column * step_x : column * step_x + 64] = tile
    return out


def _dicom(folder: Path, *, name: str) -> Path:
    return write_dicom(folder / name, picture())


_OME_SIZE = "it does not read OME-XML's pixel size; QuPath opens OME-TIFF with Bio-Formats, which does"
_NO_COLOUR = "it shows 8 bits of 16; QuPath opens such images with Bio-Formats"
_DEEP = {"compression": "deflate", "pixels": _twelve_bits}

LAYOUTS = [
    Layout("SVS, JPEG", "Aperio, Leica", _svs, tolerance=6),
    Layout("SVS, decimal comma", "Aperio with European settings", partial(_svs, mpp="0,25"), tolerance=6),
    Layout("SVS, tile missing in a lower level", "Aperio", partial(_svs, hole=True), tolerance=6),
    Layout("SVS, JPEG 2000 as YCbCr (33003)", "Aperio", partial(_jpeg_2000_svs, compression=33003), tolerance=3),
    Layout("SVS, JPEG 2000 as RGB (33005)", "Aperio", partial(_jpeg_2000_svs, compression=33005)),
    Layout("SCN, scanned areas", "Leica", _scn, expected=_scn_expected, mpp=0.5),
    Layout("Philips TIFF", "Philips", _philips, tolerance=6),
    Layout(
        "Philips TIFF, no manufacturer", "Philips, de-identified", partial(_philips, manufacturer=False), tolerance=6
    ),
    Layout("Philips TIFF, decimal comma", "Philips with European settings", partial(_philips, comma=True), tolerance=6),
    Layout("Trestle, overlapping tiles", "Trestle MedScan", _trestle, expected=_trestle_expected, tolerance=12),
    Layout("DICOM", "PACS, Leica, 3DHistech, Grundium", partial(_dicom, name="a.dcm"), tolerance=6),
    Layout("DICOM without ending", "PACS exports", partial(_dicom, name="IM000001"), tolerance=6),
    Layout("TIFF pyramid, deflate", "vips, GDAL, Bio-Formats", partial(_tiff, downsamples=(2, 4))),
    Layout("TIFF pyramid, JPEG", "vips, ASAP", partial(_tiff, downsamples=(2,), compression="jpeg"), tolerance=12),
    Layout("TIFF pyramid, LZW, BigTIFF", "vips, QuPath", partial(_tiff, compression="lzw", bigtiff=True)),
    Layout("TIFF, uncompressed, big endian", "ImageJ, Java", partial(_tiff, compression=None, byteorder=">")),
    Layout("TIFF, strips", "cameras, Photoshop", partial(_tiff, tile=None, rowsperstrip=20)),
    Layout("TIFF, Zstandard", "QuPath, GDAL", partial(_tiff, compression="zstd")),
    Layout("TIFF, WebP", "vips", partial(_tiff, compression="webp", compressionargs={"lossless": True})),
    Layout("TIFF, JPEG 2000 as YCbCr (34712)", "Bio-Formats, vips", _ycbcr_in_jpeg_2000, tolerance=3),
    Layout("TIFF with missing tiles", "vips, OpenSlide-based tools", _sparse, expected=_sparse_expected),
    Layout("TIFF, an overview before the slide", "Olympus export", _overview_first),
    Layout("TIFF, RGBA", "GIS, Photoshop", partial(_tiff, pixels=_rgba), expected=_rgba_expected),
    Layout(
        "TIFF, grey of 8 bits",
        "cameras",
        partial(_tiff, pixels=_grey, photometric="minisblack"),
        expected=_grey_expected,
    ),
    Layout("TIFF, palette", "drawing programs", _palette, expected=_grey_expected),
    Layout(
        "TIFF, RGB of 12 bits in 16",
        "cameras",
        partial(_tiff, **_DEEP),
        expected=_twelve_bits_expected,
        tolerance=1,
        differs_from_openslide=_NO_COLOUR,
    ),
    Layout(
        "TIFF, RGB in planes",
        "Bio-Formats, GDAL",
        partial(_tiff, pixels=lambda: picture().transpose(2, 0, 1), planarconfig="separate"),
    ),
    Layout(
        "OME-TIFF, RGB",
        "Bio-Formats, tifffile",
        lambda folder: _ome(folder, picture(), "YXS", photometric="rgb"),
        differs_from_openslide=_OME_SIZE,
    ),
    Layout(
        "OME-TIFF, RGB in planes",
        "Bio-Formats, QuPath",
        lambda folder: _ome(folder, picture().transpose(2, 0, 1), "SYX", photometric="rgb", planarconfig="separate"),
        differs_from_openslide=_OME_SIZE,
    ),
    Layout("OME-TIFF, pyramid", "QuPath, bioformats2raw + raw2ometiff", _ome_pyramid, differs_from_openslide=_OME_SIZE),
    Layout(
        "OME-TIFF, tag says another pixel size",
        "converters",
        lambda folder: _ome(folder, picture(), "YXS", photometric="rgb", tag_mpp=1.0),
        differs_from_openslide=_OME_SIZE,
    ),
    Layout(
        "OME-TIFF, channels of 12 bits in 16",
        "Bio-Formats, MCMICRO",
        lambda folder: _ome(folder, channels(), "CYX", photometric="minisblack"),
        expected=_channels_expected,
        tolerance=1,
        rendering=CHANNELS_SHOWN,
        differs_from_openslide=_NO_COLOUR,
    ),
    Layout(
        "QPTIFF, fluorescence",
        "Akoya, PerkinElmer",
        _qptiff,
        expected=_channels_expected,
        tolerance=1,
        rendering=CHANNELS_SHOWN,
        differs_from_openslide=_NO_COLOUR,
    ),
    Layout(
        "ImageJ hyperstack",
        "ImageJ, Fiji",
        _imagej,
        expected=_channels_expected,
        tolerance=1,
        rendering=CHANNELS_SHOWN,
        differs_from_openslide=_NO_COLOUR,
    ),
    Layout("OME-Zarr 0.4, RGB", "bioformats2raw, ome-zarr-py", partial(_zarr, version="0.4")),
    Layout("OME-Zarr 0.5, RGB", "bioformats2raw, ome-zarr-py", partial(_zarr, version="0.5")),
    Layout(
        "OME-Zarr, channels",
        "bioformats2raw",
        _zarr_channels,
        expected=_channels_expected,
        tolerance=1,
        rendering=CHANNELS_SHOWN,
    ),
    Layout("PNG", "everybody", partial(_image, suffix=".png"), mpp=None),
    Layout("PNG, RGB of 12 bits in 16", "cameras", _deep_png, expected=_twelve_bits_expected, mpp=None, tolerance=1),
    Layout("JPEG", "everybody", partial(_image, suffix=".jpg", quality=95, subsampling=0), mpp=None, tolerance=6),
    Layout("BMP", "Windows", partial(_image, suffix=".bmp"), mpp=None),
]


def close_to(one: float | None, other: float | None) -> bool:
    """Whether two pixel sizes are the same, or both unknown."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-3)
