"""Slides made for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image


def write_tiff(path: Path, pixels: NDArray[Any], *, downsamples: tuple[int, ...] = (), **options: Any) -> Path:
    """A lossless RGB TIFF, its levels averages of level 0; ``options`` go to tifffile."""
    options = {"photometric": "rgb", "compression": "zlib", "metadata": None, **options}
    kind = {key: options.pop(key) for key in ("bigtiff", "byteorder") if key in options}
    with tifffile.TiffWriter(path, **kind) as writer:
        writer.write(pixels, subfiletype=0, **options)
        for downsample in downsamples:
            writer.write(np.array(Image.fromarray(pixels).reduce(downsample)), subfiletype=1, **options)
    return path


def drop_tiles(path: Path, tiles: list[int], *, page: int = 0) -> None:
    """Make tiles of a little-endian TIFF missing: no offset, no bytes."""
    with tifffile.TiffFile(path) as tiff:
        tags = [tiff.pages[page].tags["TileOffsets"], tiff.pages[page].tags["TileByteCounts"]]
        places = [(tag.valueoffset, {16: 8, 13: 4, 4: 4, 3: 2}[int(tag.dtype)]) for tag in tags]
    data = bytearray(path.read_bytes())
    for offset, size in places:
        for tile in tiles:
            data[offset + tile * size : offset + (tile + 1) * size] = bytes(size)
    path.write_bytes(data)


def write_trestle(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """A Trestle slide of tiles of 64 px that overlap by 16 px across and 8 px down."""
    return write_tiff(
        path,
        pixels,
        tile=(64, 64),
        compression="jpeg",
        compressionargs={"level": 95},
        resolution=(0.25, 0.25),  # um, against the standard
        software="MedScan 1.0",
        description="Background Color=E6E6E6;White Balance=0;Objective Power=20;JPEG Quality=70;OverlapsXY= 16 8",
    )


NM_PER_PX = 500
SCN_SIZE = (400, 300)
SCN_AREAS = {(80, 60): (160, 96), (260, 180): (96, 64)}
"""Scanned areas of `write_leica`: position to size, in level-0 px."""


def write_leica(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """A Leica SCN of `SCN_SIZE` px: a macro image and two scanned areas, cut from ``pixels``, with levels 1 and 4."""
    pages, images = [np.full((38, 50, 3), 200, np.uint8)], [_leica_image((0, 0), SCN_SIZE, [(50, 38, 0)])]
    for (x, y), (width, height) in SCN_AREAS.items():
        area = pixels[y : y + height, x : x + width]
        dimensions = []
        for downsample in (1, 4):
            dimensions.append((width // downsample, height // downsample, len(pages)))
            pages.append(np.array(Image.fromarray(area).reduce(downsample)))
        images.append(_leica_image((x, y), (width, height), dimensions))
    across, down = (side * NM_PER_PX for side in SCN_SIZE)
    description = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection sizeX="{across}" sizeY="{down}">{"".join(images)}</collection></scn>'
    )
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for index, page in enumerate(pages):
            writer.write(
                page,
                tile=(32, 32),
                photometric="rgb",
                compression="zlib",
                description=description if index == 0 else None,
                metadata=None,
            )
    return path


def _leica_image(place: tuple[int, int], size: tuple[int, int], dimensions: list[tuple[int, int, int]]) -> str:
    x, y, width, height = (side * NM_PER_PX for side in (*place, *size))
    pixels = "".join(
        f'<dimension sizeX="{w}" sizeY="{h}" r="{r}" ifd="{ifd}"/>' for r, (w, h, ifd) in enumerate(dimensions)
    )
    return (
        f'<image name="a"><creationDate>2020-01-01</creationDate><device model="m" version="v"/>'
        f'<pixels sizeX="{dimensions[0][0]}" sizeY="{dimensions[0][1]}">{pixels}</pixels>'
        f'<view sizeX="{width}" sizeY="{height}" offsetX="{x}" offsetY="{y}"/>'
        "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
        "<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image>"
    )
