"""A run from tiles to a head that the rest of the package takes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.datasets.seen import groups_seen_in
from qupath_sam.errors import InvalidRequest, WrongWeights
from qupath_sam.models.dense import DenseMaps, encoder_digest, read_dense_head, write_dense_head
from qupath_sam.models.devices import choose_execution
from qupath_sam.models.load import load_segmenter, load_weights
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.dense_head import DenseHead
from qupath_sam.training.dense.run import DENSE_FILE, DenseRun, prepare_dense_run
from qupath_sam.training.dense.trainer import DenseSettings
from qupath_sam.training.run import Places
from qupath_sam.training.schedule import Schedule
from qupath_sam.training.settings import Length
from tests.training.dense.test_dense_crops import data

SETTINGS = DenseSettings(Length(steps=3), batch=1, crops=2)


def run(
    folder: Path, settings: DenseSettings = SETTINGS, *, resume: bool = False, init: str = "lite_medsam"
) -> DenseRun:
    places = Places(folder, cache=folder.parent / "embeddings", device="cpu", home=folder.parent / "home")
    return prepare_dense_run(data(sizes={"discs": (2, 256, 30)}), init, settings, places, resume=resume)


def test_a_few_steps_lower_the_loss(tmp_path: Path) -> None:
    settings = replace(SETTINGS, length=Length(steps=12), schedule=Schedule.CONSTANT, augment=False, learning_rate=5e-3)
    trainer = run(tmp_path / "run", settings).trainer
    losses = [report.loss for report in trainer.run()]
    assert np.mean(losses[-2:]) < 0.8 * np.mean(losses[:2])


def test_killed_and_resumed_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole").train()
    first = run(tmp_path / "killed")
    steps = first.trainer.run()
    next(steps)
    next(steps)
    first.save(None)
    next(steps)  # lost with the process
    second = run(tmp_path / "killed", resume=True)
    assert second.trainer.progress.step == 2
    resumed = second.train()
    one, other = load_file(whole), load_file(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_is_not_started_over_nor_resumed_as_another(tmp_path: Path) -> None:
    first = run(tmp_path / "run")
    first.save(None)
    with pytest.raises(InvalidRequest, match="--resume"):
        run(tmp_path / "run")
    with pytest.raises(InvalidRequest, match="batch"):
        run(tmp_path / "run", replace(SETTINGS, batch=2), resume=True)
    with pytest.raises(InvalidRequest, match="no run to resume"):
        run(tmp_path / "elsewhere", resume=True)
    longer = replace(SETTINGS, length=Length(steps=9), schedule=Schedule.CONSTANT)
    assert run(tmp_path / "run", longer, resume=True).trainer.progress.step == 0


def test_the_file_says_what_was_seen_and_which_encoder_it_belongs_to(tmp_path: Path) -> None:
    path = run(tmp_path / "run").train()
    assert path == tmp_path / "run" / DENSE_FILE
    store = ModelStore(tmp_path / "home")
    weights = read_dense_head(path)
    assert weights.encoder_sha256 == encoder_digest(load_weights(store.find("lite_medsam"), store).tensors)
    assert groups_seen_in(path, store) == {("discs", "case0"), ("discs", "case1")}
    assert path.stat().st_size < 2_000_000


def test_the_head_answers_over_a_window_of_any_size(tmp_path: Path) -> None:
    loaded = load_segmenter("lite_medsam", device="cpu")
    maps = DenseMaps(read_dense_head(run(tmp_path / "run").train()), choose_execution("cpu"))
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    found = maps(pixels, loaded.segmenter.embed(pixels))
    assert found.shape == (3, 256, 256)
    assert found.min() >= 0
    assert found.max() <= 1
    with pytest.raises(ValueError, match="squares"):
        maps(pixels[:200], loaded.segmenter.embed(pixels[:200]))


def test_crops_without_embedding_are_not_encoded(tmp_path: Path) -> None:
    made = run(tmp_path / "run", replace(SETTINGS, length=Length(steps=4), without_embedding=1.0))
    made.train()
    assert not (tmp_path / "embeddings").exists()


def test_rows_of_the_curves_are_means_of_ten_steps(tmp_path: Path) -> None:
    settings = replace(SETTINGS, length=Length(steps=20))
    losses: list[float] = []
    made = run(tmp_path / "run", settings)
    step = made.trainer._step

    def noted():
        report = step()
        losses.append(report.loss)
        return report

    made.trainer._step = noted  # type: ignore[method-assign]
    made.train()
    with (tmp_path / "run" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [10, 20]
    assert float(rows[1]["loss"]) == pytest.approx(np.mean(losses[10:]), rel=1e-4)


def test_models_whose_encoder_sees_more_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="fake"):
        run(tmp_path / "run", init="fake")


def test_files_that_are_no_dense_head_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    write_dense_head(other, {"a": torch.zeros(1)}, {"encoder_sha256": "0" * 64})
    with pytest.raises(WrongWeights, match="another version"):
        read_dense_head(other)
    (tmp_path / "torn.safetensors").write_bytes(other.read_bytes()[:40])
    with pytest.raises(WrongWeights):
        read_dense_head(tmp_path / "torn.safetensors")
    broken = DenseHead().state_dict()
    broken["out.0.bias"] = torch.full_like(broken["out.0.bias"], float("nan"))
    write_dense_head(other, broken, {"encoder_sha256": "0" * 64})
    with pytest.raises(WrongWeights, match="not finite"):
        read_dense_head(other)


def test_options_of_clicks_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    words = ["train", "nowhere", "--method", "dense", "--out", str(tmp_path / "run"), "--head", "refinement"]
    result = CliRunner().invoke(app, [*words, "--masks", "3"])
    assert result.exit_code != 0
    assert "--head, --masks" in str(result.exception or result.output)
