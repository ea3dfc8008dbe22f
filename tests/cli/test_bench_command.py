"""``bench``: what it prints and where it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.cli.benchmarks import click
from qupath_sam.errors import InvalidRequest

RESULT = {
    "schema": "qupath-sam/bench-click/1",
    "machine": {"cpu": "a", "cores": 2, "torch": "2", "threads": 2, "instructions": "AVX2", "load": 0.1},
    "models": {"fake": {"ours_ms": 1.5, "warm_click_ms": {"p50": 2.5}}, "other": {"ours_ms": 3.5}},
}


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    # The measurement has a test of its own; here it is about what becomes of it.
    monkeypatch.setattr(click, "run", lambda **_: RESULT)


def test_json_is_printed_or_written(tmp_path) -> None:
    printed = CliRunner().invoke(app, ["bench", "click", "--json"])
    assert json.loads(printed.stdout) == RESULT
    file = tmp_path / "click.json"
    written = CliRunner().invoke(app, ["bench", "click", "--json", str(file)])
    assert (written.exit_code, written.stdout) == (0, "")
    assert json.loads(file.read_text("utf-8")) == RESULT


def test_people_get_a_table() -> None:
    shown = CliRunner().invoke(app, ["bench", "click"]).stdout
    for word in ("fake", "other", "ours_ms", "warm_click_ms.p50", "2.5"):
        assert word in shown


def test_a_file_without_json_is_a_mistake(tmp_path) -> None:
    assert CliRunner().invoke(app, ["bench", "click", str(tmp_path / "x")]).exit_code == 2


def test_the_summary_of_a_document_gets_the_milliseconds(tmp_path) -> None:
    document = tmp_path / "README.md"
    table = "| model | ms a click |\n| --- | --- |\n| `fake` | - |\n| `b` | - |\n"
    document.write_text(f"<!-- begin: qupath-sam evaluate, summary -->\n{table}<!-- end -->\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["bench", "click", "--model", "fake", "--markdown", str(document)])
    assert done.exit_code == 0, done.output
    assert "| `fake` | 2 |\n| `b` | - |" in document.read_text(encoding="utf-8")
    refused = CliRunner().invoke(app, ["bench", "click", "--model", "c", "--markdown", str(document)])
    assert isinstance(refused.exception, InvalidRequest)


def test_costs_of_models_are_written_between_their_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"encode_ms": {"p50": 300.4}, "first_click_ms": 340.0, "warm_click_ms": {"p50": 52.0}}
    found = {"weights": "random", "runtime": "torch", "precision": "fp32", "device": "cpu", "network_ms": {"p50": 40.0}}
    monkeypatch.setattr(click, "run", lambda **_: {**RESULT, "models": {"edgetam": {**times, **found}}})
    document = tmp_path / "models.md"
    document.write_text("Before\n\n<!-- begin: qupath-sam bench click, costs -->\n<!-- end -->\n\nAfter\n")
    result = CliRunner().invoke(app, ["bench", "click", "--model", "edgetam", "--costs", str(document)])
    assert result.exit_code == 0, result.output
    text = document.read_text()
    assert "| `edgetam` | random | torch, fp32, cpu | 300 | 340 | 52 | 40 |" in text
    assert "2 threads on a (AVX2), load 0.1" in text
    assert text.startswith("Before\n")
    assert text.endswith("After\n")


def test_costs_go_nowhere_without_their_markers(tmp_path: Path) -> None:
    document = tmp_path / "models.md"
    document.write_text("Text\n")
    result = CliRunner().invoke(app, ["bench", "click", "--costs", str(document)])
    assert isinstance(result.exception, InvalidRequest)
