"""``bench``: what it prints and where it writes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.cli.benchmarks import click

RESULT = {
    "schema": "qupath-sam/bench-click/1",
    "machine": {"cpu": "a", "cores": 2, "torch": "2", "threads": 2, "load": 0.1},
    "models": {"fake": {"ours_ms": 1.5, "nested": {"p50": 2.5}}, "other": {"ours_ms": 3.5}},
}


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    # The measurement has a test of its own; here it is about what becomes of it.
    monkeypatch.setattr(click, "run", lambda device: RESULT)


def test_json_is_printed_or_written(tmp_path) -> None:
    printed = CliRunner().invoke(app, ["bench", "click", "--json"])
    assert json.loads(printed.stdout) == RESULT
    file = tmp_path / "click.json"
    written = CliRunner().invoke(app, ["bench", "click", "--json", str(file)])
    assert (written.exit_code, written.stdout) == (0, "")
    assert json.loads(file.read_text("utf-8")) == RESULT


def test_people_get_a_table() -> None:
    shown = CliRunner().invoke(app, ["bench", "click"]).stdout
    for word in ("fake", "other", "ours_ms", "nested.p50", "2.5"):
        assert word in shown


def test_a_file_without_json_is_a_mistake(tmp_path) -> None:
    assert CliRunner().invoke(app, ["bench", "click", str(tmp_path / "x")]).exit_code == 2
