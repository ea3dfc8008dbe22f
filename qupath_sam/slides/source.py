"""The file or URL behind a slide: opening it, what it is at this moment, and errors that say what to do."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, cast

from qupath_sam.errors import QupathSamError, SlideNotFound, SlideUnreadable, SlideUnsupported
from qupath_sam.slides.location import Location

ZARR_METADATA = ("zarr.json", ".zattrs")
"""Where the attributes of a group are: Zarr 3 and Zarr 2."""

log = logging.getLogger(__name__)


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
    """Return what is at a location now.

    Raises:
        SlideNotFound: nothing, or nothing that this process may see.
        SlideUnreadable: a folder or an empty file.
        SlideUnsupported: a URL of a kind that no installed package opens.
    """
    with file_errors(location):
        if not location.is_url:
            found = _stamp_of_path(location)
        else:
            found = _stamp_of_zarr_url(location) if is_zarr(location) else _stamp_of_url(location)
    if found.size_bytes == 0:
        raise SlideUnreadable(f"{location.given} is empty; copy the slide again")
    return found


def open_binary(location: Location) -> IO[bytes]:
    """Open for reading; errors as `stamp`."""
    with file_errors(location):
        if not location.is_url:
            return open(location.path, "rb")
        if _is_web(location):
            from qupath_sam.slides.web import open_web

            return open_web(location.target, location.urls, given=location.given)
        file_system, path = _file_system(location)
        return cast("IO[bytes]", file_system.open(path, "rb"))


@contextmanager
def file_errors(location: Location) -> Iterator[None]:
    """Map what the operating system and fsspec raise when a file cannot be had."""
    try:
        yield
    except QupathSamError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SlideNotFound(_not_found(location)) from error
    except PermissionError as error:
        raise SlideNotFound(
            f"{location.given} may not be read by the account this process runs under; change its permissions"
        ) from error
    except ImportError as error:
        raise SlideUnsupported(f"{location.given} needs a package that is not installed: {error}") from error
    except OSError as error:
        # Its own text has the path that was looked at.
        reason = error.strerror or type(error).__name__
        raise SlideNotFound(
            f"{location.given} cannot be opened ({reason}); check the path or push the pixels"
        ) from error
    except ValueError as error:
        # a name that the operating system cannot take
        raise SlideNotFound(f"{location.given} cannot be opened; check the path or push the pixels") from error
    except Exception as error:
        # What the packages behind fsspec raise has no common base: botocore's, aiohttp's, BadZipFile and more.
        if not location.is_url or isinstance(error, MemoryError):
            raise
        raise SlideNotFound(
            f"{location.given} cannot be opened ({type(error).__name__}); check the URL or push the pixels"
        ) from error


def _stamp_of_path(location: Location) -> Stamp:
    if location.is_foreign:
        raise SlideNotFound(_not_found(location))
    status = os.stat(location.path)
    resolved = os.path.realpath(location.path)
    if is_zarr(location):
        status = os.stat(_zarr_metadata(resolved))
    elif os.path.isdir(resolved):
        raise SlideUnreadable(f"{location.given} is a folder; name the slide's file in it")
    return Stamp(resolved, status.st_size, str(status.st_mtime_ns))


def is_zarr(location: Location) -> bool:
    """Return whether a location is a Zarr: a folder with its metadata, or a URL that says so by its name."""
    if location.is_url:
        return location.target.rstrip("/").lower().endswith(".zarr")
    return not location.is_foreign and os.path.isdir(location.path) and bool(_zarr_metadata(location.path))


def _zarr_metadata(folder: str) -> str:
    """Return the file that holds the attributes of a Zarr folder; "" where there is none."""
    paths = (os.path.join(folder, name) for name in ZARR_METADATA)
    return next((path for path in paths if os.path.isfile(path)), "")


def _stamp_of_zarr_url(location: Location) -> Stamp:
    for name in ZARR_METADATA:
        try:
            found = _stamp_of_url(replace(location, target=f"{location.target.rstrip('/')}/{name}"))
        except (FileNotFoundError, SlideNotFound):
            continue
        return replace(found, resolved=location.target)
    raise SlideNotFound(_not_found(location))


def _stamp_of_url(location: Location) -> Stamp:
    if _is_web(location):
        from qupath_sam.slides.web import WebFile

        with closing(WebFile(location.target, location.urls, given=location.given)) as file:
            return Stamp(location.target, file.size, file.version)
    file_system, path = _file_system(location)
    info = file_system.info(path)
    if info.get("type") == "directory":
        raise SlideUnreadable(f"{location.given} is a folder; name the slide's file in it")
    size = info.get("size")
    known = ("ETag", "etag", "md5Hash", "checksum", "LastModified", "last_modified", "mtime", "modified", "created")
    version = next((str(info[key]) for key in known if info.get(key)), "")
    return Stamp(location.target, -1 if size is None else int(size), version)


def _is_web(location: Location) -> bool:
    return location.target.lower().startswith(("http://", "https://"))


def _file_system(location: Location) -> tuple[Any, str]:
    """Open a URL with fsspec. No other place gives a text to fsspec, which runs what some URLs say."""
    location.urls.check(location.target, given=location.given)
    from fsspec.core import url_to_fs

    file_system, path = url_to_fs(location.target)
    return file_system, path


def _not_found(location: Location) -> str:
    log.debug("%s is not at %s", location.given, location.target)
    if location.is_foreign:
        return (
            f"{location.given} is a Windows path, and the server runs elsewhere; map its folder "
            r"(for example 'D:\slides=/mnt/slides') or push the pixels"
        )
    return not_here(location.given)


def not_here(given: str) -> str:
    """Return what is said of a slide that is absent, and in the same words of one that may not be opened."""
    return (
        f"{given} is not on this machine, or not among the slides that may be opened; check the path, map the client's "
        "folder to the server's, or push the pixels"
    )
