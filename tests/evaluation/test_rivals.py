"""RITM, FocalClick and SimpleClick in one comparison, from files as their authors write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.options import WindowChoice
from qupath_sam.evaluation.compare import compare_models
from qupath_sam.evaluation.protocol import Protocol
from qupath_sam.evaluation.run import Choices
from qupath_sam.models.weights.manage import add
from qupath_sam.models.weights.store import HOME_VARIABLE, ModelStore
from tests.evaluation.pictures import tile, two_discs
from tests.models.click_files import checkpoint

NAMES = {
    "ritm": "ritm_hrnet18s",
    "focalclick": "focalclick_hrnet18s_s1",
    "simpleclick": "simpleclick_vit_b",
}


@pytest.mark.parametrize("window", [WindowChoice.IMAGE, WindowChoice.AUTO])
def test_all_three_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: WindowChoice) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    for name, published in NAMES.items():
        torch.save(checkpoint(published), tmp_path / f"{name}.pth")
        add(name, tmp_path / f"{name}.pth", ModelStore())
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
