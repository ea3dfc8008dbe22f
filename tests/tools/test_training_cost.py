"""What training scenarios cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qupath_sam.datasets import open_dataset
from qupath_sam.models.spec import Family
from qupath_sam.models.weights.checkpoints import build_network
from qupath_sam.models.weights.manage import add
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.network import DecoderKind, Parts
from qupath_sam.training.checkpoint import write_checkpoint
from qupath_sam.training.data import training_data
from qupath_sam.training.run import Places
from qupath_sam.training.settings import TrainingSettings
from tests.evaluation.pictures import disc, painted, save
from tools.training_cost import costs_table, measure_row


@pytest.mark.parametrize("init", ["lite_medsam", "lite_medsam_histology", "modified"])
def test_a_row_of_the_cost_table(tmp_path: Path, init: str) -> None:
    """From a model with a head or a modified decoder of its own too."""
    modified = build_network(Family.LITE_MEDSAM, Parts(DecoderKind.HISTOLOGY)).state_dict()
    write_checkpoint(tmp_path / "modified.safetensors", modified, {"family": "lite_medsam"}, base=None)
    add("modified", tmp_path / "modified.safetensors", ModelStore(tmp_path / "home"))
    labels = disc(96, 48, 48, 18)
    save(painted(labels), tmp_path / "data" / "images" / "a.png")
    save(labels.astype(np.uint8), tmp_path / "data" / "labels" / "a.png")
    places = Places(tmp_path / "out", device="cpu", home=tmp_path / "home")
    settings = TrainingSettings(accumulate=1, crops=1)
    cost = measure_row("SAM^MD", training_data([open_dataset(str(tmp_path / "data"))]), init, settings, places, steps=1)
    assert (cost.trained, cost.parameters) == (4_058_340, 9_791_300)
    assert min(cost.answer_seconds, cost.epoch_seconds, cost.memory_bytes) > 0
    assert "| SAM^MD | 4,058,340 | 41.4% |" in costs_table([cost])
