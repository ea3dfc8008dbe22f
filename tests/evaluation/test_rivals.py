"""RITM, FocalClick and SimpleClick in one comparison, from files as their authors write them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from qupath_sam.cli.evaluate import evaluate
from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.options import WindowChoice
from qupath_sam.evaluation.compare import compare_models
from qupath_sam.evaluation.protocol import Protocol
from qupath_sam.evaluation.run import Choices
from qupath_sam.evaluation.tables import results_table
from qupath_sam.models.weights.manage import add
from qupath_sam.models.weights.store import HOME_VARIABLE, ModelStore
from tests.evaluation.pictures import painted, save, tile, two_discs
from tests.models.click_files import checkpoint

NAMES = {
    "ritm": "ritm_hrnet18s",
    "focalclick": "focalclick_hrnet18s_s1",
    "simpleclick": "simpleclick_vit_b",
}


@pytest.fixture
def rivals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the three, added by the names of `NAMES`."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    for name, published in NAMES.items():
        torch.save(checkpoint(published), tmp_path / f"{name}.pth")
        add(name, tmp_path / f"{name}.pth", ModelStore())


@pytest.mark.usefixtures("rivals")
def test_one_run_has_a_row_for_each_with_the_seconds_per_click_of_the_papers(tmp_path: Path) -> None:
    labels = two_discs()
    save(painted(labels), tmp_path / "set" / "images" / "0.png")
    save(labels.astype(np.uint16), tmp_path / "set" / "masks" / "0.png")
    limits = "--objects-per-image", "1", "--max-clicks", "2"
    words = [str(tmp_path / "set"), *(f"--model={name}" for name in NAMES), *limits]
    app = typer.Typer()
    app.command()(evaluate)
    ended = CliRunner().invoke(app, [*words, "--device", "cpu", "--json", str(tmp_path / "found.json")])
    assert ended.exit_code == 0, ended.output
    report = json.loads((tmp_path / "found.json").read_text("utf-8"))
    rows = [row for row in results_table(report).splitlines() if row.startswith("| set")]
    assert [row.split("|")[3].strip() for row in rows] == list(NAMES)
    for row, name in zip(rows, NAMES, strict=True):
        summary = report["results"][name]["set"]
        assert float(row.split("|")[-2]) == pytest.approx(summary["spc_s"], abs=1e-3)
        assert 1e3 * summary["spc_s"] >= summary["click_ms"]["p50"] > 0, "everything included, not the model alone"


@pytest.mark.parametrize("window", [WindowChoice.IMAGE, WindowChoice.AUTO])
@pytest.mark.usefixtures("rivals")
def test_all_three_are_compared(window: WindowChoice) -> None:
    data = [Dataset("set", (tile(two_discs(), image_id="0"),))]
    protocol = Protocol(max_clicks=2, jitter_runs=0)
    comparison = compare_models(
        list(NAMES), data, protocol=protocol, choices=Choices(window=window, per_tile=1), device="cpu"
    )
    assert set(comparison.results) == set(NAMES)
    for results in comparison.results.values():
        (result,) = results
        assert len(result.iou) == 2
        assert np.isfinite(result.iou).all()
        assert result.box_iou is None
        assert result.refine_gain is None
