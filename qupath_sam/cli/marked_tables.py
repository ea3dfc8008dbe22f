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
            text = f"{parts[0]}{table.rstrip()}\n{parts[2]}"
    with atomic_write(path) as file:
        file.write(text.encode())


def check_column(path: Path, name: str, column: str, rows: Sequence[str]) -> None:
    """Check that `fill_column` can fill these rows, before the work that makes their cells.

    Raises:
        InvalidRequest: the document has no such table, or the table lacks the column or one of the rows.
    """
    parts = _split(path, _read(path), name)
    if parts is None:
        raise InvalidRequest(f"{path} has no table {name!r}; add the lines {begin(name)} and {_END}, and make it first")
    lines = parts[1].splitlines()
    missing = set(rows) - {_key(line) for line in lines}
    if missing:
        raise InvalidRequest(f"{path}: the table {name!r} has no row of {', '.join(sorted(missing))}; leave it out")
    if column not in _cells(lines[0]):
        raise InvalidRequest(f"{path}: the table {name!r} has no column {column!r}; make the table again")


def fill_column(path: Path, name: str, column: str, cells: Mapping[str, str]) -> None:
    """Put new cells into one column of a table; the rest of the document stays.

    Args:
        path: the Markdown document.
        name: of the table, in its begin marker.
        column: its title.
        cells: by what stands in the row's first cell, without backticks. Other rows stay.

    Raises:
        InvalidRequest: as `check_column`.
    """
    check_column(path, name, column, list(cells))
    text = _read(path)
    parts = _split(path, text, name)
    assert parts is not None
    lines = parts[1].splitlines()
    place = _cells(lines[0]).index(column)
    for number, line in enumerate(lines):
        if (new := cells.get(_key(line))) is not None:
            row = _cells(line)
            lines[number] = f"| {' | '.join([*row[:place], new, *row[place + 1 :]])} |"
    write_tables(path, {name: "\n".join(lines)})


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _key(line: str) -> str:
    """Return what stands in the first cell of a row, such as a model's name."""
    return _cells(line)[0].strip("`")


def _split(path: Path, text: str, name: str) -> tuple[str, str, str] | None:
    """Return what stands before a table, the table, and what stands behind; None where the document has no such table.

    The markers are in the first and the last of them.
    """
    before, marker, rest = text.partition(f"{begin(name)}\n")
    if not marker:
        return None
    old, end, after = rest.partition(_END)
    if not end or _BEGIN.search(old):
        raise InvalidRequest(f"{path}: the table {name!r} has no end; put a line {_END} behind it")
    return before + marker, old, end + after


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8").replace("\r\n", "\n") if path.exists() else ""
