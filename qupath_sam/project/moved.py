"""Slides of a project that was moved together with them: found by their place relative to the project.

QuPath writes whole URIs into a project, and where the project itself was when it was saved. It offers the relative
place when it opens such a project; so does this, without asking, and only where the URI itself leads to nothing.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any

from qupath_sam.errors import QupathSamError
from qupath_sam.slides.location import parse_location


def moved_with(builder: dict[str, Any], folder: Path, saved_at: object) -> dict[str, Any] | None:
    """Return a server builder with the present places of its files; None where nothing has moved.

    Args:
        builder: QuPath's description of how to open an image.
        folder: where the project is.
        saved_at: URI of the project file when QuPath saved it, as project.qpproj states it.
    """
    if not isinstance(saved_at, str):
        return None
    former = _path(saved_at)
    if former is None:
        return None
    former_folder = posixpath.dirname(former)
    if former_folder == _posix(str(folder)):
        return None
    moved = _moved(builder, former_folder, folder)
    return moved if isinstance(moved, dict) and moved != builder else None


def _moved(value: Any, former_folder: str, folder: Path) -> Any:
    """Return the value with every URI in it moved that leads to nothing here, and to something beside the project."""
    if isinstance(value, list):
        return [_moved(item, former_folder, folder) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _moved_uri(item, former_folder, folder)
        if key == "uri" and isinstance(item, str)
        else _moved(item, former_folder, folder)
        for key, item in value.items()
    }


def _moved_uri(uri: str, former_folder: str, folder: Path) -> str:
    place = _path(uri)
    if place is None or os.path.exists(place):
        return uri
    relative = _relative(place, former_folder)
    if relative is None:
        return uri
    found = Path(os.path.normpath(folder.joinpath(*relative)))
    return found.as_uri() if found.exists() else uri


def _relative(place: str, folder: str) -> list[str] | None:
    """Return the way from a folder to a place; None where they are on different drives or shares."""
    drive = _drive(place)
    if drive != _drive(folder):
        return None
    way, start = ([part for part in path.split("/") if part] for path in (place, folder))
    shared = 0
    for here, there in zip(way, start, strict=False):
        if here != there and not (drive and here.casefold() == there.casefold()):  # Windows minds no case
            break
        shared += 1
    return [".."] * (len(start) - shared) + way[shared:]


def _path(uri: str) -> str | None:
    """Return the path of a file's URI with forward slashes; None where it is no file's."""
    try:
        location = parse_location(uri)
    except QupathSamError:
        return None
    return None if location.is_url else _posix(location.target)


def _posix(path: str) -> str:
    return path.replace("\\", "/") if os.name == "nt" or path[1:2] == ":" or path.startswith("\\\\") else path


def _drive(path: str) -> str:
    """Return ``C:`` of a Windows path, the share of a UNC path; empty for others."""
    if path[1:2] == ":":
        return path[:2].casefold()
    return "/".join(path.split("/")[:4]).casefold() if path.startswith("//") else ""
