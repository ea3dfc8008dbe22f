"""A run of RITM from tiles to a model that `evaluate` takes, and refuses to score on what it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.datasets.seen import groups_seen
from qupath_sam.errors import InvalidRequest
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.spec import Family
from qupath_sam.models.weights.manage import add
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.interactive.clicks import PixelClicks
from qupath_sam.networks.interactive.models import Coarse, RitmNetwork
from qupath_sam.training.ritm.run import RitmRun, prepare_ritm_run
from qupath_sam.training.ritm.trainer import CLICKS, RitmSettings, RitmTrainer
from qupath_sam.training.run import CHECKPOINT_FILE, Places
from qupath_sam.training.schedule import Schedule
from qupath_sam.training.settings import Length
from tests.contracts.segmenters import clicks, picture
from tests.evaluation.pictures import disc, save
from tests.models.click_files import small_network
from tests.training.dense.test_dense_crops import data
from tests.training.networks import DiscCrops

SETTINGS = RitmSettings(Length(steps=3), batch=2, crops=3)


def run(folder: Path, settings: RitmSettings = SETTINGS, *, resume: bool = False) -> RitmRun:
    tiles = data(sizes={"discs": (2, 256, 30)})
    return prepare_ritm_run(tiles, settings, Places(folder, device="cpu"), resume=resume)


def test_steps_teach_the_network() -> None:
    network = small_network("ritm_hrnet18s")
    assert isinstance(network, RitmNetwork)
    settings = RitmSettings(
        Length(steps=16), learning_rate=1e-2, schedule=Schedule.CONSTANT, batch=2, mix=replace(CLICKS, unions=0)
    )
    reports = list(RitmTrainer(network, DiscCrops(), settings).run())
    assert sum(each.answers for each in reports) == 32
    assert np.mean([each.loss for each in reports[-4:]]) < 0.7 * np.mean([each.loss for each in reports[:4]])


def test_the_first_part_of_a_run_sees_crops_at_half_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_network("ritm_hrnet18s")
    assert isinstance(network, RitmNetwork)
    seen: list[tuple[int, float]] = []
    answer = network.answer

    def spied(image: torch.Tensor, previous: torch.Tensor, clicks: Sequence[PixelClicks]) -> Coarse:
        seen.append((image.shape[-1], float(clicks[0].places[0, 0])))
        assert previous.shape[-2:] == image.shape[-2:]
        return answer(image, previous, clicks)

    monkeypatch.setattr(network, "answer", spied)
    settings = RitmSettings(Length(steps=4), batch=2, half_size=0.5, mix=replace(CLICKS, exact=1, single=1))
    trainer = RitmTrainer(network, DiscCrops(), settings)
    for step in range(4):
        trainer.pool.fill()
        row = trainer.pool.sessions[0].clicks[0].y
        trainer.step()
        assert seen[step] == ((128, (row - 0.5) / 2) if step < 2 else (256, row))


def test_a_random_network_sees_clicks_from_the_first_step_on(tmp_path: Path) -> None:
    network = run(tmp_path).trainer.network.eval()
    image, previous = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    places = torch.tensor([[20.0, 20.0], [44.0, 44.0]])
    here, there = (PixelClicks(place[None], torch.tensor([True])) for place in places)

    def moved_by_a_click(factor: float) -> float:
        network.weigh_clicks(factor)
        with torch.inference_mode():
            answers = [network.answer(image, previous, [click]).logits for click in (here, there)]
        return float((answers[0] - answers[1]).std() / answers[0].std())

    at_start = network.maps_transform[-1].scale.item()
    assert moved_by_a_click(at_start) > 5 * moved_by_a_click(0.05)


def test_killed_and_resumed_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole").train()
    first = run(tmp_path / "killed")
    steps = first.trainer.run()
    next(steps)
    first.save(None)
    next(steps)  # lost with the process
    with pytest.raises(InvalidRequest, match="--resume"):
        run(tmp_path / "killed")
    with pytest.raises(InvalidRequest, match="other settings"):
        run(tmp_path / "killed", replace(SETTINGS, seed=1), resume=True)
    second = run(tmp_path / "killed", resume=True)
    assert second.trainer.progress.step == 1
    one, other = load_file(whole), load_file(second.train())
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_checkpoint_is_a_model_that_knows_what_it_has_seen(tmp_path: Path) -> None:
    path = run(tmp_path / "run", replace(SETTINGS, length=Length(steps=1))).train()
    store = ModelStore(tmp_path / "home")
    add("ritm_trained_here", path, store)
    loaded = load_segmenter("ritm_trained_here", device="cpu", home=store.home)
    assert loaded.spec.family is Family.RITM
    assert groups_seen(loaded.spec, store) == {("discs", "case0"), ("discs", "case1")}
    (answer,) = loaded.segmenter.decode(loaded.segmenter.embed(picture(64, 64)), [clicks((20, 20))])
    assert answer.masks.shape == (1, 64, 64)


def test_the_command_trains_and_refuses_what_ritm_has_not(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(np.full((96, 96, 3), 200, np.uint8), tmp_path / "set" / "images" / f"{name}.png")
        save(disc(96, 48, 48, 20).astype(np.uint8), tmp_path / "set" / "instances" / f"{name}.png")
    words = ["train", str(tmp_path / "set"), "--method", "ritm", "--device", "cpu"]
    words += ["--out", str(tmp_path / "run"), "--steps", "1", "--batch", "2"]
    result = CliRunner().invoke(app, [*words, "--masks", "3"])
    assert isinstance(result.exception, InvalidRequest)
    assert "--masks: not for --method ritm" in str(result.exception)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / CHECKPOINT_FILE).is_file()
