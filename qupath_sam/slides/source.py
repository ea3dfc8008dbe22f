"""The file or URL behind a slide: opening it, what it is at this moment, and errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from qupath_sam.errors import SlideError, SlideNotFound, SlideUnreadable, SlideUnsupported
from qupath_sam.slides.location import Location


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file is at one moment; another stamp means other pixels.

    Attributes:
        resolved: the real path, symbolic links followed, or the URL.
        size_bytes: of the file; -1 where a URL does not tell.
        version: modification time in ns, or a URL's ETag, checksum or date.
    """

    resolved: str
    size_bytes: int
    version: str


def stamp(location: Location) -> Stamp:
    """What is at a location now.

    Raises:
        SlideNotFound: nothing, or nothing that this process may see.
        SlideUnreadable: a folder or an empty file.
        SlideUnsupported: a URL of a kind that no installed package opens.
    """
    with file_errors(location):
        found = _stamp_of_url(location.target) if location.is_url else _stamp_of_path(location)
    if found.size_bytes == 0:
        raise SlideUnreadable(f"{location.given} is empty; copy the slide again")
    return found


def open_binary(location: Location) -> IO[bytes]:
    """Open for reading; errors as `stamp`."""
    with file_errors(location):
        if not location.is_url:
            return open(location.target, "rb")
        file_system, path = _file_system(location.target)
        return cast("IO[bytes]", file_system.open(path, "rb"))


@contextmanager
def file_errors(location: Location) -> Iterator[None]:
    """Map what the operating system and fsspec raise when a file cannot be had."""
    try:
        yield
    except SlideError:
        raise
    except FileNotFoundError as error:
        raise SlideNotFound(_not_found(location)) from error
    except PermissionError as error:
        raise SlideNotFound(
            f"{location.given} may not be read by the account this process runs under; change its permissions"
        ) from error
    except ImportError as error:
        raise SlideUnsupported(f"{location.given} needs a package that is not installed: {error}") from error
    except (OSError, ValueError, TypeError) as error:
        # ValueError: fsspec's unknown protocol, or a name the operating system cannot take; TypeError: a file system
        # of fsspec that needs more than a URL (reference://)
        raise SlideNotFound(f"{location.given} cannot be opened: {error}; check the path or push the pixels") from error


def _stamp_of_path(location: Location) -> Stamp:
    if location.is_foreign:
        raise SlideNotFound(_not_found(location))
    status = os.stat(location.target)
    resolved = os.path.realpath(location.target)
    if os.path.isdir(resolved):
        raise SlideUnreadable(f"{location.given} is a folder; name the slide's file in it")
    return Stamp(resolved, status.st_size, str(status.st_mtime_ns))


def _stamp_of_url(url: str) -> Stamp:
    file_system, path = _file_system(url)
    info = file_system.info(path)
    if info.get("type") == "directory":
        raise SlideUnreadable(f"{url} is a folder; name the slide's file in it")
    size = info.get("size")
    known = ("ETag", "etag", "md5Hash", "checksum", "LastModified", "last_modified", "mtime", "modified", "created")
    version = next((str(info[key]) for key in known if info.get(key)), "")
    return Stamp(url, -1 if size is None else int(size), version)


def _file_system(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    file_system, path = url_to_fs(url)
    return file_system, path


def _not_found(location: Location) -> str:
    if location.is_foreign:
        return (
            f"{location.given} is a Windows path, and the server runs elsewhere; map its folder "
            r"(for example 'D:\slides=/mnt/slides') or push the pixels"
        )
    mapped = "" if location.target == location.given else f" (looked for {location.target})"
    return (
        f"{location.given} is not on this machine{mapped}; check the path, map the client's folder to the server's, "
        "or push the pixels"
    )
