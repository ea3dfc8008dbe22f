"""`qupath-sam evaluate` from end to end, with the discs of the fake model."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from qupath_sam.cli.evaluate import FULL_TABLE, KINDS_SUMMARY_TABLE, KINDS_TABLE, SUMMARY_TABLE, evaluate
from qupath_sam.cli.marked_tables import begin
from qupath_sam.errors import InvalidRequest
from tests.evaluation.pictures import painted, save, two_discs


def written(root: Path, *, scale: int = 1) -> str:
    """A data set of one picture, each ``scale``-th pixel of it."""
    labels = two_discs()[::scale, ::scale]
    save(painted(labels), root / "images" / "0.png")
    save(labels.astype(np.uint16), root / "masks" / "0.png")
    return str(root)


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, [*map(str, arguments), "--model", "fake", "--max-clicks", "2"])


def test_what_is_wrong_with_an_index_is_said_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("image,instances,group\n", "utf-8")
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from qupath_sam.cli import main\n"
        f"sys.argv = ['qupath-sam', 'evaluate', {str(tmp_path)!r}, '--model', 'fake']\n"
        "main()"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "lacks the column(s) split; add them" in ended.stderr


def test_a_data_set_without_an_object_that_is_large_enough_is_named(tmp_path: Path) -> None:
    large, small = written(tmp_path / "large"), written(tmp_path / "small", scale=8)
    result = run(large, small, "--json", tmp_path / "a.json", "--markdown", tmp_path / "a.md")
    assert result.exit_code == 0, result.output
    assert "small: --window image shows no object that is large enough; lower --min-area" in result.stderr
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert report["protocol"]["without_objects"] == ["small"]
    assert report["protocol"]["times_with_workers"] == [1]
    assert set(report["results"]["fake"]) == {"large", "pooled"}
    page = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert "Of small `--window image` shows no object that is large enough." in page
    assert shlex.join(["qupath-sam", "evaluate", large, small, "--model", "fake"]) in page


def test_kept_results_of_others_are_counted_on_the_page(tmp_path: Path) -> None:
    given, kept = written(tmp_path / "set"), tmp_path / "kept"
    assert run(given, "--resume-dir", kept).exit_code == 0
    lines = (kept / "objects.jsonl").read_text(encoding="utf-8").splitlines()
    other = [json.dumps({**json.loads(line), "made_by": "another machine"}) for line in lines]
    (kept / "objects.jsonl").write_text("\n".join(other) + "\n", encoding="utf-8")
    page = tmp_path / "a.md"
    assert run(given, "--resume-dir", kept, "--any-version", "--namesakes", "--markdown", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert "2 results were kept from other versions or machines." in text
    assert text.rstrip().endswith("--max-clicks 2 --namesakes\n<!-- end -->")


def test_documents_take_their_tables_between_markers(tmp_path: Path) -> None:
    given, full, short = written(tmp_path / "set"), tmp_path / "results.md", tmp_path / "README.md"
    kinds = tmp_path / "kinds.md"
    kinds.write_text(f"{begin(KINDS_TABLE)}\n<!-- end -->\n", encoding="utf-8")
    full.write_text(f"# Results\n\n{begin(FULL_TABLE)}\n<!-- end -->\n", encoding="utf-8")
    short.write_text(f"{begin(SUMMARY_TABLE)}\n| old |\n<!-- end -->\n\nText.\n", encoding="utf-8")
    by_kind = tmp_path / "by_kind.md"
    by_kind.write_text(f"{begin(KINDS_SUMMARY_TABLE)}\n<!-- end -->\n", encoding="utf-8")
    outputs = [word for path in (full, short, kinds, by_kind) for word in ("--markdown", path)]
    result = run(given, "--window", "image", "--window", "auto", *outputs)
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"^\| (region|gland|nucleus) \| \d+ \(1\) \| fake \|", kinds.read_text("utf-8"), re.M)) == 2
    head, _, *kind_rows = by_kind.read_text(encoding="utf-8").splitlines()[1:-1]
    assert head == "| clicks to IoU .85 (IoU after the first) | `fake` |"
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"{begin(KINDS_SUMMARY_TABLE)}\n{head.split('`')[0]}" in readme, "the README's table is of this form"
    assert len(kind_rows) == 1
    assert re.fullmatch(r"\| (region|gland|nucleus) \| (>=? )?\d+(\.\d)? \(\d\.\d\d\) \|", kind_rows[0])
    table, summary = full.read_text(encoding="utf-8"), short.read_text(encoding="utf-8")
    assert table.startswith("# Results\n\n<!-- begin")
    assert table.count("| Model | NoC@80 |") == 2
    header, rule, row, *rest = summary.splitlines()[1:]
    committed = (Path(__file__).parents[2] / "docs/science/results.md").read_text(encoding="utf-8")
    assert f"{begin(SUMMARY_TABLE)}\n{header}\n{rule}\n" in committed, "the committed table is of this form"
    assert re.fullmatch(r"\| `fake` \| (>= )?\d+\.\d \| \d\.\d\d \| - \|", row), "bench click fills the last column"
    assert rest == ["<!-- end -->", "", "Text."]
    assert columns(table)[:4] == columns(committed)[:4], "so is that of the results"


def columns(page: str) -> list[str]:
    return next(line for line in page.splitlines() if "NoC@80" in line).split(" | ")


def test_a_document_without_a_place_for_the_table_is_told_before_the_work(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("# Mine\n", encoding="utf-8")
    result = run(tmp_path / "absent", "--markdown", document)
    assert isinstance(result.exception, InvalidRequest)
    assert "has no place for a table" in str(result.exception)
    assert document.read_text(encoding="utf-8") == "# Mine\n"


@pytest.mark.parametrize("option", ["--json", "--markdown", "--plot", "--cases"])
def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path, option: str) -> None:
    """The data set does not exist: had it been looked for first, that would be the complaint."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path, complaint in [
        (tmp_path, "cannot be written"),
        (Path("."), "cannot be written"),
        (tmp_path / "file" / "a", "cannot be made"),
    ]:
        result = run(tmp_path / "absent", option, path)
        assert isinstance(result.exception, InvalidRequest)
        assert complaint in str(result.exception)
    (tmp_path / "a-auto.out").mkdir()
    if option != "--markdown":
        result = run(tmp_path / "absent", option, tmp_path / "a.out", "--window", "image", "--window", "auto")
        assert "a-auto.out cannot be written" in str(result.exception)


def test_the_first_prompt_and_kept_parts_are_said_in_the_command_and_the_report(tmp_path: Path) -> None:
    given, page, report = written(tmp_path / "set"), tmp_path / "a.md", tmp_path / "a.json"
    done = run(given, "--first", "stroke", "--keep-parts", "--markdown", page, "--json", report)
    assert done.exit_code == 0, done.output
    text = page.read_text(encoding="utf-8").rstrip()
    assert text.endswith("--max-clicks 2 --first stroke --keep-parts\n<!-- end -->")
    protocol = json.loads(report.read_text(encoding="utf-8"))["protocol"]
    assert (protocol["first"], protocol["keep_parts"], protocol["without"]) == ("stroke", True, [])


def test_parts_that_a_model_has_not_are_named(tmp_path: Path) -> None:
    done = run(written(tmp_path / "set"), "--without", "refinement-head", "--without", "white-rule")
    assert done.exit_code != 0
    assert "--without refinement-head, white-rule: 'fake' has no such part; leave that out" in str(done.exception)
