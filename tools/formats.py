"""Write the table of docs/formats.md from the contract suite over layouts (tests/contracts/layouts.py).

Usage: python -m tools.formats
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from qupath_sam.cli.marked_tables import write_tables
from qupath_sam.errors import QupathSamError
from tests.contracts.agreement import Agreement, agreement
from tests.contracts.layouts import LAYOUTS, Layout

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
#: Name of the table in its markers.
TABLE = "python -m tools.formats"


def table() -> str:
    """Make the table by reading every layout."""
    lines = ["| layout | who writes it | read by | size | pixel size | colour |", "|---|---|---|---|---|---|"]
    notes: list[str] = []
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            found = agreement(layout, Path(folder))
        lines.append(_row(layout, found, notes))
    remarks = [f"{index}. {note[0].upper()}{note[1:]}." for index, note in enumerate(notes, 1)]
    return "\n".join([*lines, "", "Not compared with OpenSlide:", "", *remarks])


def _row(layout: Layout, found: Agreement, notes: list[str]) -> str:
    mark = ""
    if layout.differs_from_openslide:
        if layout.differs_from_openslide not in notes:
            notes.append(layout.differs_from_openslide)
        mark = f" ({notes.index(layout.differs_from_openslide) + 1})"
    mpp = "none, as" if layout.mpp is None else f"{layout.mpp:g} µm, as"
    cells = [
        layout.name + mark,
        layout.written_by,
        found.read_by,
        "as " + _names(found, "size"),
        f"{mpp} {_names(found, 'pixel_size')}",
        "as " + _names(found, "colour"),
    ]
    return "| " + " | ".join(cells) + " |"


def _names(found: Agreement, thing: str) -> str:
    wrong = [text for text in found.disagrees if text.startswith(thing)]
    if wrong:
        return f"NOT {', '.join(wrong)}"
    return ", ".join(getattr(found, thing))


if __name__ == "__main__":
    try:
        write_tables(DOCUMENT, {TABLE: table()})
    except QupathSamError as error:
        sys.exit(str(error))
