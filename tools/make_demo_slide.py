"""Make the demo slide: a tiled pyramid with pixel size, from the one-level CMU-1-Small-Region.svs of OpenSlide.

Usage: python tools/make_demo_slide.py CMU-1-Small-Region.svs qupath_sam/assets/CMU-1-Small-Region.tif

Level 0 keeps the scanner's own JPEG tiles, byte for byte, so that its pixels are exactly the source's; coarser levels
are averages of it. Label and macro image are left behind.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

DOWNSAMPLES = (2, 4, 8)
JPEG_QUALITY = 87


def main(source: Path, target: Path) -> None:
    """Write the demo slide with its smaller levels; ``source`` is the Aperio file that it is made of."""
    with tifffile.TiffFile(source) as slide, tifffile.TiffWriter(target) as writer:
        page = slide.series[0].keyframe
        height, width = page.shape[:2]
        mpp = float(tifffile.tifffile.svs_description_metadata(page.description)["MPP"])
        writer.write(
            _stored_tiles(page),
            shape=page.shape,
            dtype=page.dtype,
            tile=page.chunks[:2],
            photometric=page.photometric,
            compression=page.compression,
            compressionargs={
                "outcolorspace": page.photometric
            },  # keeps the tag as it was: the tiles are not encoded again
            jpegtables=page.jpegtables,
            subsampling=None,
            subfiletype=0,
            description="CMU-1-Small-Region.svs of the OpenSlide test data (CC0 1.0)",
            software="qupath-sam tools/make_demo_slide.py",
            metadata=None,
            resolution=_pixels_per_cm(mpp),
            resolutionunit="CENTIMETER",
        )
        full = page.asarray()
        for downsample in DOWNSAMPLES:
            writer.write(
                _averaged(full, downsample),
                tile=page.chunks[:2],
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": JPEG_QUALITY},
                subfiletype=1,
                metadata=None,
                resolution=_pixels_per_cm(mpp * downsample),
                resolutionunit="CENTIMETER",
            )
    sys.stdout.write(f"{target}: {width} x {height} px, {mpp} um per px, {target.stat().st_size / 1e6:.2f} MB\n")


def _stored_tiles(page: tifffile.TiffPage) -> Iterator[bytes]:
    file = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        yield file.read(count)


def _averaged(pixels: NDArray[np.uint8], downsample: int) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(pixels).reduce(downsample))


def _pixels_per_cm(mpp: float) -> tuple[float, float]:
    return 10_000 / mpp, 10_000 / mpp


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
