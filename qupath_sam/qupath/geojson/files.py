"""The contents of a GeoJSON file, compressed or not: QuPath's export dialog offers none, GZIP and ZIP."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from qupath_sam.errors import InvalidRequest

#: How the name of a GeoJSON file can end.
SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz", ".geojson.zip", ".json.zip", ".zip")
#: Most bytes that a compressed file may unfold to; more is no list of outlines.
MAX_BYTES = 4 << 30
#: How often a file may be packed into another one.
_MOST_LAYERS = 3


def read_content(path: Path) -> list[tuple[str, bytes]]:
    """Read the GeoJSON texts of a file, each with its name for messages; a ZIP archive may hold several.

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
        return list(_unfolded(data, str(path), path, _MOST_LAYERS))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InvalidRequest(f"{path} cannot be unpacked ({error}); export it from QuPath again") from error


def _unfolded(data: bytes, name: str, path: Path, layers: int) -> Iterator[tuple[str, bytes]]:
    """Yield the texts in ``data``, each with its name; what is unpacked may be packed again."""
    if layers and data[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            yield from _unfolded(_limited(file, path), name, path, layers - 1)
    elif layers and data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in _members(archive, name):
                with archive.open(info) as file:
                    content = _limited(file, path)
                yield from _unfolded(content, f"{name}, {info.filename}", path, layers - 1)
    else:
        yield name, data


def _members(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """Return the GeoJSON files of an archive; what macOS puts beside them is none."""
    found = [
        info
        for info in archive.infolist()
        if info.filename.lower().endswith(SUFFIXES)
        and "__MACOSX" not in info.filename
        and not info.filename.rpartition("/")[2].startswith("._")
    ]
    if not found:
        raise InvalidRequest(f"{name} is a ZIP archive without a .geojson file; export it from QuPath again")
    return found


def _limited(file: IO[bytes] | gzip.GzipFile, path: Path) -> bytes:
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InvalidRequest(f"{path} unfolds to more than {MAX_BYTES >> 30} GiB; export fewer objects at once")
    return content
