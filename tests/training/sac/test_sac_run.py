"""A run of Segment Any Cell from tiles to a file that answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.datasets.seen import groups_seen_in
from qupath_sam.errors import InvalidRequest, WeightsMissing, WrongWeights
from qupath_sam.models.devices import choose_execution
from qupath_sam.models.sac.files import GENERATOR, read_sac, write_sac
from qupath_sam.models.sac.prompts import Points, PromptOptions, Selection
from qupath_sam.models.sac.segmenter import SacSegmenter
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.training.run import Places
from qupath_sam.training.sac.run import SAC_FILE, SacRun, prepare_sac_run
from qupath_sam.training.sac.trainer import SacSettings
from qupath_sam.training.schedule import Schedule
from qupath_sam.training.settings import Length
from tests.training.dense.test_dense_crops import data

SETTINGS = SacSettings(Length(steps=2), batch=1, crops=2, lora_rank=0)


def run(
    folder: Path, settings: SacSettings = SETTINGS, *, resume: bool = False, init: str = "lite_medsam_histology"
) -> SacRun:
    places = Places(folder, cache=folder.parent / "embeddings", device="cpu", home=folder.parent / "home")
    return prepare_sac_run(data(sizes={"discs": (2, 256, 30)}), init, settings, places, resume=resume)


def test_steps_teach_decoder_and_generator(tmp_path: Path) -> None:
    settings = replace(SETTINGS, length=Length(steps=14), schedule=Schedule.CONSTANT, augment=False)
    settings = replace(settings, learning_rate=1e-3, generator_learning_rate=5e-3)
    reports = list(run(tmp_path / "run", settings).trainer.run())
    assert reports[-1].loss < 0.6 * reports[0].loss
    assert reports[-1].map_dice > max(0.6, reports[0].map_dice)
    assert reports[-1].points > 4, "a generator that has learnt places prompts"


def test_what_is_trained_is_what_the_paper_trains(tmp_path: Path) -> None:
    made = run(tmp_path / "run", replace(SETTINGS, lora_rank=3))
    trainer = made.trainer
    parts = {name.split(".")[0] for name in trainer.trained}
    assert parts == {"image_encoder", "mask_decoder", "generator"}
    of_encoder = [name for name in trainer.trained if name.startswith("image_encoder")]
    assert len(of_encoder) == 2 * 10, "LoRA in each of TinyViT's ten attention layers"
    assert all(name.endswith((".attn.qkv.up", ".attn.qkv.down")) for name in of_encoder)
    before = {name: each.detach().clone() for name, each in trainer.trained.items()}
    frozen = {n: p.detach().clone() for n, p in trainer.network.named_parameters() if not p.requires_grad}
    for _ in trainer.run():
        pass
    assert not any(torch.equal(before[name], each) for name, each in trainer.trained.items() if name.endswith(".up"))
    now = dict(trainer.network.named_parameters())
    assert all(torch.equal(tensor, now[name]) for name, tensor in frozen.items())
    made.save(None)
    written = {name for name in load_file(made.checkpoint) if name.startswith("image_encoder")}
    assert len(written) == 10
    assert all(name.endswith(".attn.qkv.weight") for name in written), "LoRA is merged, and nothing else has changed"


def test_killed_and_resumed_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole").train()
    first = run(tmp_path / "killed")
    steps = first.trainer.run()
    next(steps)
    first.save(None)
    next(steps)  # lost with the process
    second = run(tmp_path / "killed", resume=True)
    assert second.trainer.progress.step == 1
    one, other = load_file(whole), load_file(second.train())
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_is_not_started_over_nor_resumed_as_another(tmp_path: Path) -> None:
    first = run(tmp_path / "run")
    first.save(None)
    with pytest.raises(InvalidRequest, match="--resume"):
        run(tmp_path / "run")
    with pytest.raises(InvalidRequest, match="prompts"):
        run(tmp_path / "run", replace(SETTINGS, prompts=PromptOptions(Selection.PROBABILITY)), resume=True)
    with pytest.raises(InvalidRequest, match="no run to resume"):
        run(tmp_path / "elsewhere", resume=True)
    assert run(tmp_path / "run", replace(SETTINGS, length=Length(steps=9)), resume=True).trainer.progress.step == 0


def test_models_without_sams_parts_are_refused(tmp_path: Path) -> None:
    for name in ("fake", "ritm_hrnet18s"):
        with pytest.raises(InvalidRequest, match="SAM's parts"):
            run(tmp_path / "run", init=name)


def test_the_file_answers_with_and_without_prompts(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    path = run(tmp_path / "run", replace(SETTINGS, length=Length(steps=3), schedule=Schedule.CONSTANT)).train()
    assert path == tmp_path / "run" / SAC_FILE
    assert {("discs", "case0"), ("discs", "case1")} <= groups_seen_in(path, store)
    assert len(groups_seen_in(path, store)) > 2, "what the backbone has seen counts too"
    pixels = data(sizes={"discs": (1, 256, 30)}).tiles[0].tile.read_pixels()
    model = SacSegmenter(read_sac(path, store), choose_execution("cpu"))
    assert model.generates_prompts
    answer = model.segment(pixels, replace(model.prompts, sure=0.3, ruled_out=0.3))
    assert answer.probability.shape == (256, 256)
    assert len(answer.points)
    expert = Points(np.array([[100, 100]], np.float32), np.array([True]))
    assert len(model.segment(pixels, replace(model.prompts, sure=0.3, ruled_out=0.3), expert=expert).points) == (
        len(answer.points) + 1
    )
    with pytest.raises(ValueError, match="squares"):
        model.segment(pixels[:100])


def test_without_prompts_there_is_no_generator(tmp_path: Path) -> None:
    made = run(tmp_path / "run", replace(SETTINGS, length=Length(steps=1), prompts=None))
    assert not any(name.startswith("generator") for name in made.trainer.trained)
    weights = read_sac(made.train(), ModelStore(tmp_path / "home"))
    assert weights.generator is None
    model = SacSegmenter(weights, choose_execution("cpu"))
    assert not len(model.segment(np.full((64, 64, 3), 200, np.uint8)).points)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    with pytest.raises(WeightsMissing, match="--method sac"):
        read_sac(tmp_path / "nowhere", store)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WrongWeights, match="no model of Segment Any Cell"):
        read_sac(tmp_path / "other.safetensors", store)
    path = run(tmp_path / "run", replace(SETTINGS, length=Length(steps=1))).train()
    tensors, entry = load_file(path), dict(read_sac(path, store).entry)
    generator = {key.removeprefix(GENERATOR): t for key, t in tensors.items() if key.startswith(GENERATOR)}
    other = tmp_path / "other.safetensors"
    write_sac(other, {}, {"stem.0.weight": generator["stem.0.weight"]}, entry)
    with pytest.raises(WrongWeights, match="another version"):
        read_sac(other, store)
    write_sac(other, {}, generator, {**entry, "base_sha256": "0" * 64})
    with pytest.raises(WrongWeights, match="install the version"):
        read_sac(other, store)
    write_sac(other, {"mask_decoder.odd": torch.zeros(1)}, generator, entry)
    with pytest.raises(WrongWeights, match=r"mask_decoder\.odd"):
        read_sac(other, store)


def test_options_of_other_methods_are_refused(tmp_path: Path) -> None:
    words = ["train", "nowhere", "--out", str(tmp_path / "run")]
    for more, says in (
        (["--method", "sac", "--head", "refinement"], "--head: not for --method sac"),
        (["--method", "dense", "--without-prompts"], "--without-prompts: not for --method dense"),
        (["--method", "sac", "--without-prompts", "--prompts", "4"], "leave --prompts out"),
        (["--method", "sac", "--without-prompts", "--selection", "probability"], "leave --selection out"),
        (["--lora-rank", "0"], "--method sac"),
    ):
        result = CliRunner().invoke(app, [*words, *more])
        assert isinstance(result.exception, InvalidRequest)
        assert says in str(result.exception)
