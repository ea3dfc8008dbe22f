"""Python, platform and disk."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from qupath_sam import __version__
from qupath_sam.cli.checks.findings import Finding, State
from qupath_sam.models.weights.store import default_home

_GIB = 2**30


def python() -> Iterator[Finding]:
    """Check versions, and whether this Python is a 64-bit one, which torch needs."""
    said = f"qupath-sam {__version__}, Python {platform.python_version()}, {platform.platform()}"
    if sys.maxsize < 2**32:
        yield Finding("python", State.PROBLEM, f"{said}, 32 bit", "install a 64-bit Python 3.11 or newer")
    else:
        yield Finding("python", State.OK, said)


def disk() -> Iterator[Finding]:
    """Check the room for models, where they are kept."""
    home = default_home()
    free = psutil.disk_usage(str(_nearest_folder(home))).free / _GIB
    said = f"{free:.1f} GiB free for {home}"
    remedy = "make room, or set QUPATH_SAM_HOME to a folder on a larger disk"
    if free < 0.5:
        yield Finding("disk", State.PROBLEM, said, remedy)
    elif free < 5:
        yield Finding("disk", State.WARNING, f"{said}: the largest models take 2.6 GB each", remedy)
    else:
        yield Finding("disk", State.OK, said)


def _nearest_folder(path: Path) -> Path:
    """Return the folder itself or the nearest one above it that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
