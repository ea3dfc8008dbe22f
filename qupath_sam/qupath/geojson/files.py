"""The contents of a GeoJSON file, compressed or not: QuPath's export dialog offers none, GZIP and ZIP."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from pathlib import Path
from typing import IO

from qupath_sam.errors import InvalidRequest

#: How the name of a GeoJSON file can end.
SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz", ".geojson.zip", ".json.zip", ".zip")
#: Most bytes that a compressed file may unfold to; more is no list of outlines.
MAX_BYTES = 4 << 30


def read_content(path: Path) -> list[tuple[str, bytes]]:
    """The GeoJSON texts of a file, each with what to call it in a message; of a ZIP archive there may be several.

    What a file is, its content tells, not its name.

    Raises:
        InvalidRequest: it cannot be opened, is broken, or is an archive without GeoJSON.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InvalidRequest(f"there is no file {path}; check the path") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read as GeoJSON ({error}); export it from QuPath again") from error
    try:
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                return [(str(path), _limited(file, path))]
        if data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return _members(archive, path)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InvalidRequest(f"{path} cannot be unpacked ({error}); export it from QuPath again") from error
    return [(str(path), data)]


def _members(archive: zipfile.ZipFile, path: Path) -> list[tuple[str, bytes]]:
    """The GeoJSON files of an archive; what macOS puts beside them is none."""
    names = [
        info
        for info in archive.infolist()
        if info.filename.lower().endswith((".geojson", ".json")) and "__MACOSX" not in info.filename
    ]
    if not names:
        raise InvalidRequest(f"{path} is a ZIP archive without a .geojson file; export it from QuPath again")
    contents = []
    for info in names:
        with archive.open(info) as file:
            contents.append((f"{path}, {info.filename}", _limited(file, path)))
    return contents


def _limited(file: IO[bytes] | gzip.GzipFile, path: Path) -> bytes:
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InvalidRequest(f"{path} unfolds to more than {MAX_BYTES >> 30} GiB; export fewer objects at once")
    return content
