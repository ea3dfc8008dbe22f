"""What refining makes of crude outlines: models whose answer is known beforehand, and the command."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.cli.benchmarks import refine
from qupath_sam.cli.project import refine as refine_command
from qupath_sam.datasets.objects import Selection, TileView
from qupath_sam.engine.embeddings.memory import MemoryCache
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.engine import Engine
from qupath_sam.engine.lanes import Lane
from qupath_sam.engine.pool import ModelPool
from qupath_sam.engine.refine_options import PromptOptions
from qupath_sam.engine.states import StateStore
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.errors import InvalidRequest
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.project.decisions import Action
from qupath_sam.types.refinements import Refusal
from tests.evaluation.pictures import painted, save, tile, two_discs
from tests.evaluation.segmenters import Answer, AnsweringSegmenter, loaded, nothing, red

IOU = 0.6, 0.8


@contextmanager
def engine_of(segmenter: AnsweringSegmenter) -> Iterator[Engine]:
    engine = Engine(
        lanes=[
            Lane(
                ModelPool("known", lambda _: loaded(segmenter)),
                InferenceWorker(),
                EmbeddingStore(MemoryCache(2**26)),
            )
        ],
        states=StateStore(2**26),
    )
    try:
        yield engine
    finally:
        engine.close()


def view_of_one_disc() -> TileView:
    return Selection().view(tile(np.where(two_discs(128) == 1, 1, 0)))


def trials(answer: Answer, *, seed: int = 0) -> dict[str, list[refine.Trial]]:
    with engine_of(AnsweringSegmenter(answer)) as engine:
        return refine.trials_of(engine, view_of_one_disc(), outline_iou=IOU, seed=seed)


@pytest.fixture(scope="module")
def perfect() -> dict[str, list[refine.Trial]]:
    return trials(red)


def test_a_perfect_model_gains_all_that_was_missing(perfect: dict[str, list[refine.Trial]]) -> None:
    for (trial,) in perfect.values():
        assert 0.55 <= trial.before <= 0.85
        assert trial.after == trial.kept == 1.0
        assert trial.decision.iou == pytest.approx(trial.before, abs=0.05)
    figures = refine.summary("set", perfect)
    for way in figures["ways"].values():
        assert way["iou"] == 1
        assert way["gain"]["mean"] == way["gain_kept"] == pytest.approx(1 - figures["iou_before"], abs=2e-4)
        assert (way["worse"], way["refused"]) == (0, {})


def test_what_the_guards_refuse_costs_nothing() -> None:
    figures = refine.summary("set", trials(nothing))
    for way in figures["ways"].values():
        assert way["gain"]["mean"] == pytest.approx(-figures["iou_before"])
        assert (way["gain_kept"], way["worse"]) == (0, 0)
        assert way["refused"] == {Refusal.EMPTY.value: 1}
        assert way["iou_with_old"] is None


def test_each_way_asks_as_its_name_says() -> None:
    for way, prompts in refine.WAYS.items():
        words = way.split()
        counts = dict.fromkeys(("--interior-points", "--exterior-points"), 0)
        counts |= {word: int(words[place + 1]) for place, word in enumerate(words) if word in counts}
        wanted = PromptOptions(
            outline="--no-mask" not in words,
            box="--no-box" not in words,
            interior=counts["--interior-points"],
            exterior=counts["--exterior-points"],
        )
        assert prompts == wanted
    assert PromptOptions() in refine.WAYS.values(), "the default is one of those that are measured"
    defaults = {name: each.default for name, each in inspect.signature(refine_command).parameters.items()}
    assert PromptOptions() == PromptOptions(
        outline=defaults["mask"],
        box=defaults["box"],
        interior=defaults["interior_points"],
        exterior=defaults["exterior_points"],
    )


def test_the_same_seed_bends_the_same_way(perfect: dict[str, list[refine.Trial]]) -> None:
    again, other = trials(red), trials(red, seed=1)
    for way, (trial,) in perfect.items():
        assert trial.decision.action is Action.REFINED
        assert trial.decision.before == again[way][0].decision.before
        assert trial.decision.before != other[way][0].decision.before


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Four pictures of two patients, one of whom the default model has seen."""
    folder = tmp_path / "Schnitte"
    lines = ["image,instances,group,split"]
    for number in range(4):
        labels = np.roll(two_discs(96), 7 * number, axis=1)
        save(painted(labels), folder / f"{number}.png")
        save(labels.astype(np.uint16), folder / f"{number}-labels.png")
        lines.append(
            f"{number}.png,{number}-labels.png,patient0{number % 2 + 1},{'train' if number < 3 else 'validation'}"
        )
    (folder / "index.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_the_command(dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "refine.json"
    asked = ["bench", "refine", str(dataset), "--model", "fake", "--split", "train", "--objects-per-image", "2"]
    shown = CliRunner().invoke(app, [*asked, "--json", str(file)], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert shown.exit_code == 0
    report = json.loads(file.read_text("utf-8"))
    assert report["schema"] == "qupath-sam/bench-refine/1"
    assert report["settings"]["split"] == "train"
    (figures,) = report["datasets"].values()
    assert (figures["objects"], figures["groups"]) == (6, 2)
    assert figures["ways"].keys() == refine.WAYS.keys()
    for way, found in figures["ways"].items():
        assert way in shown.stdout
        assert found["gain"]["low"] <= found["gain"]["mean"] <= found["gain"]["high"]


def test_groups_that_a_model_has_seen_are_refused_unless_meant(dataset: Path) -> None:
    with pytest.raises(InvalidRequest, match="patient01"):
        refine.run([str(dataset)], model=DEFAULT_MODEL, split="train")


@pytest.mark.parametrize("iou", [(0.0, 0.5), (0.8, 0.6), (0.5, 1.0)])
def test_outlines_that_cannot_be_are_refused(dataset: Path, iou: tuple[float, float]) -> None:
    with pytest.raises(InvalidRequest, match="between 0 and 1"):
        refine.run([str(dataset)], model="fake", outline_iou=iou)
