"""A click in the middle of every object, and what share of that finding them without clicks has."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.datasets.simulated_clicks import next_click
from qupath_sam.evaluation.automatic_report import build_automatic_report, clicks_table
from qupath_sam.evaluation.clicked import ClickedEvaluation, middles_of
from qupath_sam.models.load import load_segmenter
from tests.evaluation.pictures import two_discs
from tests.evaluation.test_automatic import model, tile
from tests.evaluation.test_automatic_formats import scene, write_index
from tests.evaluation.test_automatic_report import FOUND, TRUTH, result


def test_the_middle_is_the_first_click_of_the_protocol() -> None:
    labels = np.where(two_discs() == 2, -7, two_discs())  # numbers may have gaps, and be negative
    labels[:9, :30] = 5  # at the image's edge
    nothing = np.zeros(labels.shape, bool)
    expected = [next_click(nothing, labels == value, nothing).point for value in (-7, 1, 5)]
    assert middles_of(labels) == expected
    assert middles_of(np.zeros((4, 4), int)) == []


def test_every_object_is_clicked_once() -> None:
    pixels, labels = scene()
    with closing(ClickedEvaluation(load_segmenter("fake"))) as evaluation:
        scored = evaluation.score(tile(pixels))
    assert scored.true_objects == len(np.unique(labels)) - 1
    assert 0 < scored.found_objects <= scored.true_objects, "discs round the clicks; one may hide another"
    assert scored.processor_seconds > 0


def test_shares_of_clicks() -> None:
    rows = {"m, fast": [result(FOUND, TRUTH)], "m, clicks": [result(TRUTH, TRUTH)]}
    report = build_automatic_report(
        rows, kinds={"set": "nucleus"}, settings={}, machine={}, clicked={"m, fast": "m, clicks"}
    )
    shares = report["of_clicks"]["m, fast"]["nucleus"]
    assert shares["f1"] == pytest.approx(2 / 3)
    assert shares["aji"] == pytest.approx(4 / 7)
    assert shares["processor_seconds"] is None, "nothing was measured"
    assert clicks_table(report).splitlines()[2] == "| nucleus | m, fast | 0.67 | 0.57 | 0.67 | - |"


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_index(tmp_path / "own")
    monkeypatch.setattr("qupath_sam.models.load.load_segmenter", lambda name, **_: model())
    report = tmp_path / "report.json"
    words = ["evaluate", str(tmp_path / "own"), "--model", "fake", "--automatic", "--device", "cpu"]
    ended = CliRunner().invoke(app, [*words, "--effort", "fast", "--clicks-in-the-middle", "--json", str(report)])
    assert ended.exit_code == 0, ended.output
    content = json.loads(report.read_text())
    assert list(content["results"]) == ["fake, fast", "fake, a click in the middle"]
    assert content["of_clicks"]["fake, fast"]["nucleus"]["aji"] > 1, "a disc is no outline, the head's objects are"
    assert content["of_clicks"]["fake, fast"]["nucleus"]["processor_seconds"] > 0
    assert "as a share of clicks" in ended.output
    refused = CliRunner().invoke(app, [word for word in words if word != "--automatic"] + ["--clicks-in-the-middle"])
    assert "--clicks-in-the-middle: add --automatic" in str(refused.exception)
