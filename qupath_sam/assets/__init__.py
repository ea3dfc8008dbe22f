"""The slide that comes with the package; its source and licence are in the README beside it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from qupath_sam.errors import SlideNotFound

_NAME = "CMU-1-Small-Region.tif"


def demo_slide_path() -> Path:
    """Return the demo slide: H&E, 2220 x 2967 px at 0.499 um, levels at 1, 2, 4 and 8.

    Raises:
        SlideNotFound: the package was installed without its data, or as an archive.
    """
    path = Path(str(files(__name__) / _NAME))
    if not path.is_file():
        raise SlideNotFound(f"{path} is not there; install qupath-sam again as an unpacked wheel")
    return path
