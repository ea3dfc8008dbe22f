"""Tables between markers: what is around them stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from qupath_sam.cli.marked_tables import begin, check_markers, fill_column, write_tables
from qupath_sam.errors import InvalidRequest

DOCUMENT = f"""# Title

{begin("one")}
old
<!-- end -->

between

{begin("two")}
older
<!-- end -->
after
"""


def test_each_table_replaces_its_own_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "document.md"
    file.write_text(DOCUMENT, encoding="utf-8")
    write_tables(file, {"two": "| ü |\n", "three": "not there"})
    assert file.read_text(encoding="utf-8") == DOCUMENT.replace("older", "| ü |")
    write_tables(file, {"one": "a\n\nb\n"})
    assert file.read_text(encoding="utf-8") == DOCUMENT.replace("older", "| ü |").replace("old\n", "a\n\nb\n")


def test_a_new_file_can_be_written_twice(tmp_path: Path) -> None:
    file = tmp_path / "new.md"
    for table in ("first", "second"):
        write_tables(file, {"one": table, "two": "not asked for"})
        assert file.read_text(encoding="utf-8") == f"{begin('one')}\n{table}\n<!-- end -->\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# A document without a table\n", "add the lines <!-- begin: one --> and <!-- end -->"),
        (f"{begin('other')}\n<!-- end -->\n", "has no place for a table"),
        (f"{begin('one')}\ntable\n", "has no end"),
        (f"{begin('one')}\n{begin('two')}\n<!-- end -->\n", "has no end"),
    ],
)
def test_a_document_that_takes_no_table_is_refused_and_kept(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "document.md"
    file.write_text(text, encoding="utf-8")
    for action in (lambda: check_markers(file, ["one"]), lambda: write_tables(file, {"one": "new"})):
        with pytest.raises(InvalidRequest, match=complaint):
            action()
    assert file.read_text(encoding="utf-8") == text


TABLE = f"""# Title

{begin("one")}
| model | IoU | ms |
| --- | --- | --- |
| `a` | 0.5 | - |
| `b` | 0.6 | 7 |
<!-- end -->
| `a` | another table | - |
"""


def test_a_column_is_filled_row_by_row(tmp_path: Path) -> None:
    file = tmp_path / "document.md"
    file.write_text(TABLE, encoding="utf-8")
    fill_column(file, "one", "ms", {"a": "12"})
    assert file.read_text(encoding="utf-8") == TABLE.replace("| `a` | 0.5 | - |", "| `a` | 0.5 | 12 |")


@pytest.mark.parametrize(
    ("name", "column", "row", "complaint"),
    [("two", "ms", "a", "no table 'two'"), ("one", "s", "a", "no column 's'"), ("one", "ms", "c", "no row of c")],
)
def test_a_column_that_is_not_there_is_refused(
    tmp_path: Path, name: str, column: str, row: str, complaint: str
) -> None:
    file = tmp_path / "document.md"
    file.write_text(TABLE, encoding="utf-8")
    with pytest.raises(InvalidRequest, match=complaint):
        fill_column(file, name, column, {row: "12"})
    assert file.read_text(encoding="utf-8") == TABLE
