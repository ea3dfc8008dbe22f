"""Tables in a Markdown document, each between two markers, so that the command that makes a table can replace it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from qupath_sam.errors import InvalidRequest
from qupath_sam.machine.files import atomic_write

_END = "<!-- end -->"
_BEGIN = re.compile(r"^<!-- begin: (.+?) -->$", re.MULTILINE)


def begin(name: str) -> str:
    """Return the line that begins the table ``name``."""
    return f"<!-- begin: {name} -->"


def check_markers(path: Path, names: Sequence[str]) -> None:
    """Check that a document can take a table, before the work that makes the table.

    Args:
        path: the Markdown document; it need not exist.
        names: of the tables that the command makes.

    Raises:
        InvalidRequest: the file has text and none of these markers, or a table without an end.
    """
    text = _read(path)
    if text.strip() and not set(names) & set(_BEGIN.findall(text)):
        raise InvalidRequest(f"{path} has no place for a table; add the lines {begin(names[0])} and {_END} to it")
    for name in names:
        _split(path, text, name)


def write_tables(path: Path, tables: Mapping[str, str]) -> None:
    """Replace the tables whose markers the document has; keep the rest of it.

    A file that is absent or empty gets the first table, with its markers.

    Args:
        path: the Markdown document.
        tables: Markdown by the name in the begin marker.

    Raises:
        InvalidRequest: as `check_markers`.
    """
    check_markers(path, list(tables))
    text = _read(path)
    if not text.strip():
        text = f"{begin(next(iter(tables)))}\n{_END}\n"
    for name, table in tables.items():
        if (parts := _split(path, text, name)) is not None:
            text = f"{parts[0]}{table.rstrip()}\n{parts[1]}"
    with atomic_write(path) as file:
        file.write(text.encode())


def _split(path: Path, text: str, name: str) -> tuple[str, str] | None:
    """Return what stands before and behind a table, with its markers; None where the document has no such table."""
    before, marker, rest = text.partition(f"{begin(name)}\n")
    if not marker:
        return None
    old, end, after = rest.partition(_END)
    if not end or _BEGIN.search(old):
        raise InvalidRequest(f"{path}: the table {name!r} has no end; put a line {_END} behind it")
    return before + marker, end + after


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8").replace("\r\n", "\n") if path.exists() else ""
