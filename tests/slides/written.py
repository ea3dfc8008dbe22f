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
