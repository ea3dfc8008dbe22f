"""A run from tiles to a checkpoint that the rest of the package takes."""

from __future__ import annotations

import csv
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from qupath_sam.datasets import open_dataset
from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.options import WindowChoice
from qupath_sam.datasets.seen import check_unseen, groups_seen
from qupath_sam.errors import InvalidRequest
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.spec import Family
from qupath_sam.models.weights.checkpoints import METADATA_KEY, expected_shapes, read_entry
from qupath_sam.models.weights.manage import add
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.network import DecoderKind, Parts
from qupath_sam.training.build import build_training_network
from qupath_sam.training.checkpoint import load_origin, write_checkpoint
from qupath_sam.training.curves import CurveRow, append_row, cut_back, row_of
from qupath_sam.training.data import TrainingData, training_data
from qupath_sam.training.embeddings import EmbeddedCrops
from qupath_sam.training.loop import StepReport
from qupath_sam.training.resume import RESUME_FILE, load_state
from qupath_sam.training.run import CHECKPOINT_FILE, Places, TrainingRun, prepare_run
from qupath_sam.training.scenarios import Scenario, Trainable
from qupath_sam.training.schedule import Schedule
from qupath_sam.training.settings import Length, TrainingSettings
from tests.contracts.segmenters import clicks
from tests.evaluation.pictures import disc, save
from tests.training.networks import ONE_CLICK

SETTINGS = TrainingSettings(
    trainable=frozenset({Trainable.PROMPT, Trainable.DECODER}),
    parts=Parts(refinement_head=True),
    length=Length(steps=4),
    schedule=Schedule.COSINE,
    accumulate=2,
    crops=3,
)


def labels(radius: float) -> np.ndarray:
    return disc(96, 48, 48, radius).astype(np.int32)


def pixels(radius: float) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 20, (96, 96, 3))
    return (np.where(labels(radius)[..., None] > 0, (120, 60, 140), (225, 190, 215)) + noise).astype(np.uint8)


def tiles() -> TrainingData:
    """Purple discs on pink, of two cases; a third is for validation."""
    return training_data(
        [
            Dataset(
                "discs",
                tuple(
                    Tile(
                        "discs",
                        f"{radius}",
                        f"case{radius}",
                        "train" if radius < 30 else "validation",
                        None,
                        lambda radius=radius: pixels(radius),
                        lambda radius=radius: labels(radius),
                    )
                    for radius in (18, 26, 34)
                ),
            )
        ]
    )


def run(folder: Path, settings: TrainingSettings = SETTINGS, *, resume: bool = False) -> TrainingRun:
    places = Places(folder, cache=folder.parent / "embeddings", device="cpu", home=folder.parent / "home")
    return prepare_run(tiles(), "lite_medsam", settings, places, resume=resume)


def test_a_few_steps_on_the_packaged_weights_lower_the_loss(tmp_path: Path) -> None:
    """The same first clicks on the same two crops, before and after two steps on them."""
    settings = replace(
        SETTINGS, mix=ONE_CLICK, crops=2, augment=False, warm_up=0, schedule=Schedule.CONSTANT, length=Length(steps=3)
    )
    losses = []
    run(tmp_path / "run", settings).train(lambda report: losses.append(report.loss))
    assert losses[2] < losses[0]


SHORT = replace(SETTINGS, parts=Parts(), accumulate=1, crops=2, length=Length(steps=3))


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, length=SHORT.length),
        replace(SHORT, trainable=SETTINGS.trainable | {Trainable.LATE_ENCODER}, parts=SETTINGS.parts),
        replace(SHORT, parts=Parts(DecoderKind.HISTOLOGY)),
        replace(SHORT, trainable=frozenset({Trainable.LORA, Trainable.DECODER})),
        replace(SHORT, trainable=Scenario.SAM_WHOLE.parts),
    ],
    ids=["decoder", "late encoder", "modified decoder", "lora", "whole encoder"],
)
def test_killed_and_resumed_ends_in_the_same_bits(tmp_path: Path, settings: TrainingSettings) -> None:
    whole = run(tmp_path / "whole", settings).train()
    first = run(tmp_path / "killed", settings)
    steps = first.trainer.run()
    for _ in range(2):
        next(steps)
    first.save(None)
    next(steps)  # lost with the process
    second = run(tmp_path / "killed", settings, resume=True)
    assert second.trainer.progress.step == 2
    resumed = second.train()
    one, other = load_file(whole), load_file(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert trained_parts(second) == {name.split(".")[0] for name in second.trainer.trained}


def trained_parts(run: TrainingRun) -> set[str]:
    """Parts of the network in which a run's checkpoint differs from the model that it started from."""
    after, before = load_file(run.checkpoint), run.origin.tensors
    changed = {
        key for key, tensor in after.items() if key not in before or not torch.equal(tensor, before[key].to(tensor))
    }
    return {key.split(".")[0] for key in changed}


def curves(folder: Path) -> list[dict[str, str]]:
    """The rows, less the seconds, which no two runs have in common."""
    with (folder / "curves.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_killed_and_resumed_draws_the_same_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved between two rows, and killed after one that no saved state knows of."""
    monkeypatch.setattr("qupath_sam.training.run.STEPS_A_ROW", 3)
    settings = replace(SETTINGS, parts=Parts(), mix=ONE_CLICK, accumulate=1, crops=2, length=Length(steps=6))
    run(tmp_path / "whole", settings).train()
    killed = run(tmp_path / "killed", settings)

    def kill(report: StepReport) -> None:
        if report.step == 2:
            killed.save(row_of(killed.since_row))
        if report.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.train(kill)
    assert [row["step"] for row in curves(tmp_path / "killed")] == ["3"]
    run(tmp_path / "killed", settings, resume=True).train()
    assert [row["step"] for row in curves(tmp_path / "whole")] == ["3", "6"]
    assert curves(tmp_path / "killed") == curves(tmp_path / "whole")


def test_a_row_of_the_curves_is_the_mean_over_all_answers_since_the_last(tmp_path: Path) -> None:
    def step(number: int, answers: int, loss: float, *ious: float | None, first_answers: int) -> StepReport:
        return StepReport(
            number, number / 4, 3 * number, 0.5 * number, 1e-3 / number, answers, loss, first_answers, *ious
        )

    first = step(1, 1, 4.0, 0.2, None, first_answers=1)
    second = step(2, 3, 2.0, None, 0.6, first_answers=0)
    third = step(3, 4, 1.0, 0.8, 0.4, first_answers=3)
    assert row_of([first, second, third]) == CurveRow(
        step=3,
        epoch=0.75,
        prompts=9,
        seconds=1.5,
        learning_rate=1e-3 / 3,
        loss=pytest.approx((4 + 3 * 2 + 4 * 1) / 8),
        first_iou=pytest.approx((0.2 + 3 * 0.8) / 4),
        later_iou=pytest.approx((3 * 0.6 + 0.4) / 4),
    )
    assert row_of([second]).first_iou is None
    path = tmp_path / "curves.csv"
    append_row(path, row_of([replace(second, prompts=12_345_678)]))
    append_row(path, row_of([third]))
    assert [(r["prompts"], r["first_iou"]) for r in curves(tmp_path)] == [("12345678", ""), ("9", "0.8")]
    cut_back(path, step=2)
    assert [row["step"] for row in curves(tmp_path)] == ["2"]


def test_a_run_is_not_resumed_on_other_data_or_from_other_weights(tmp_path: Path) -> None:
    """Its checkpoint would name the groups of the second data set only."""
    run(tmp_path / "run").save(None)
    other = TrainingData(tuple(replace(t, tile=replace(t.tile, group="other")) for t in tiles().tiles))
    places = Places(tmp_path / "run", cache=tmp_path / "embeddings", device="cpu", home=tmp_path / "home")
    with pytest.raises(InvalidRequest, match="other data"):
        prepare_run(other, "lite_medsam", SETTINGS, places, resume=True)
    with pytest.raises(InvalidRequest, match="--init"):
        prepare_run(tiles(), "lite_medsam_histology", SETTINGS, places, resume=True)


def test_a_run_that_has_ended_is_left_as_it_is(tmp_path: Path) -> None:
    settings = replace(SETTINGS, length=Length(steps=1))
    path = run(tmp_path / "run", settings).train()
    before = path.read_bytes()
    assert run(tmp_path / "run", settings, resume=True).train() == path
    assert path.read_bytes() == before


def test_a_state_half_written_is_not_taken(tmp_path: Path) -> None:
    before = run(tmp_path / "run")
    state = tmp_path / "run" / RESUME_FILE
    before.save(None)
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InvalidRequest, match="cannot be read"):
        load_state(before.trainer, state, source=before.source)


def test_a_run_of_a_version_that_had_a_decoder_for_boxes_goes_on(tmp_path: Path) -> None:
    """Where it did without that decoder."""
    state = tmp_path / "run" / RESUME_FILE
    for boxes, refused in ((False, nullcontext()), (True, pytest.raises(InvalidRequest, match="parts"))):
        first = run(tmp_path / "run", SHORT, resume=boxes)
        first.save(None)
        saved = torch.load(state, weights_only=True)
        settings = json.loads(saved["settings"])
        settings["parts"]["box_decoder"] = boxes
        torch.save({**saved, "settings": json.dumps(settings)}, state)
        with refused:
            load_state(first.trainer, state, source=first.source)


def test_a_run_of_the_version_that_called_crops_views_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "run" / RESUME_FILE
    first = run(tmp_path / "run", SHORT)
    next(iter(first.trainer.run()))
    first.save(None)
    saved = torch.load(state, weights_only=True)
    settings = json.loads(saved["settings"])
    old = {"views": settings.pop("crops"), "sessions_per_view": settings.pop("sessions_per_crop"), **settings}
    sessions = [{"view": session.pop("crop"), **session} for session in saved["sessions"]]
    renamed = {"version": 5, "settings": json.dumps(old), "view": saved.pop("crop"), "sessions": sessions}
    torch.save({**saved, **renamed}, state)
    second = run(tmp_path / "run", SHORT, resume=True)
    assert second.trainer.progress.step == 1
    assert [session.crop for session in second.trainer.pool.sessions] == [
        session.crop for session in first.trainer.pool.sessions
    ]


def test_a_run_is_not_resumed_with_other_settings_or_written_over(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no run to resume"):
        run(tmp_path / "run", resume=True)
    run(tmp_path / "run").save(None)
    with pytest.raises(InvalidRequest, match="--resume"):
        run(tmp_path / "run")
    with pytest.raises(InvalidRequest, match="learning_rate"):
        run(tmp_path / "run", replace(SETTINGS, learning_rate=1e-3), resume=True)
    with pytest.raises(InvalidRequest, match="window"):
        run(tmp_path / "run", replace(SETTINGS, window=WindowChoice.IMAGE), resume=True)


def test_runs_in_other_windows_may_share_a_cache(tmp_path: Path) -> None:
    one, other = (
        run(tmp_path / window.value, replace(SETTINGS, window=window)).trainer.crops for window in WindowChoice
    )
    assert isinstance(one, EmbeddedCrops)
    assert isinstance(other, EmbeddedCrops)
    assert {one.path(i) for i in range(3)}.isdisjoint(other.path(i) for i in range(3))


def test_the_checkpoint_is_a_model(tmp_path: Path) -> None:
    """Small, a delta, added, loaded, clicked; and never evaluated on what it has seen."""
    path = run(tmp_path / "run", replace(SETTINGS, length=Length(steps=1))).train()
    with safe_open(path, framework="pt") as file:
        entry = json.loads(file.metadata()[METADATA_KEY])
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
    assert (entry["format"], entry["base"]) == ("delta", "lite_medsam")
    assert entry["groups_seen"] == {"discs": ["case18", "case26"]}
    assert entry["config"]["parts"] == {"decoder": "sam", "refinement_head": True}
    assert entry["data_digest"] == tiles().digest()
    assert path.stat().st_size < 25e6

    store = ModelStore(tmp_path / "home")
    add("tuned", path, store)
    loaded = load_segmenter("tuned", device="cpu", home=tmp_path / "home")
    (answer,) = loaded.segmenter.decode(loaded.segmenter.embed(pixels(26)), [clicks((48, 48))])
    assert answer.masks.shape == (1, 96, 96)

    seen = groups_seen(store.find("tuned"), store)
    assert seen == {("discs", "case18"), ("discs", "case26")}
    held_out = Dataset("discs", tuple(t.tile for t in tiles().tiles))
    with pytest.raises(InvalidRequest, match="case18"):
        check_unseen("tuned", seen, [held_out])


def test_what_a_model_started_from_counts_as_seen(tmp_path: Path) -> None:
    once = run(tmp_path / "once", replace(SETTINGS, length=Length(steps=1)))
    store = ModelStore(tmp_path / "home")
    add("once", once.train(), store)
    other = TrainingData(tuple(replace(t, tile=replace(t.tile, group="other")) for t in tiles().tiles))
    places = Places(tmp_path / "twice", cache=tmp_path / "embeddings", device="cpu", home=tmp_path / "home")
    twice = prepare_run(other, "once", replace(SETTINGS, length=Length(steps=1)), places)
    with safe_open(twice.train(), framework="pt") as file:
        entry = json.loads(file.metadata()[METADATA_KEY])
    assert entry["groups_seen"] == {"discs": ["case18", "case26", "other"]}
    assert (entry["base"], entry["initial_model"]) == ("lite_medsam", "once")


def test_on_a_model_of_ones_own_everything_is_written(tmp_path: Path) -> None:
    """Another machine has no model of that name."""
    store = ModelStore(tmp_path / "home")
    origin = load_origin("lite_medsam", store)
    # Counters stay: what is no number of fp16 is refused.
    moved = {
        key: t + 0.01 if key.startswith("image_encoder.") and t.is_floating_point() else t
        for key, t in origin.tensors.items()
    }
    write_checkpoint(tmp_path / "own.safetensors", moved, {"family": "lite_medsam"}, base=None)
    add("own", tmp_path / "own.safetensors", store)
    assert load_origin("own", store).base is None
    places = Places(tmp_path / "run", cache=tmp_path / "embeddings", device="cpu", home=tmp_path / "home")
    tuned = prepare_run(tiles(), "own", replace(SETTINGS, length=Length(steps=1)), places).train()
    entry = read_entry(tuned)
    assert (entry["format"], entry.get("base"), entry["initial_model"]) == ("full", None, "own")
    elsewhere = ModelStore(tmp_path / "another home")
    add("tuned", tuned, elsewhere)
    assert load_segmenter("tuned", device="cpu", home=elsewhere.home).spec.name == "tuned"


def test_the_checkpoint_says_what_the_last_steps_were_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the last row of the curves, or what there is of the next one."""
    monkeypatch.setattr("qupath_sam.training.run.STEPS_A_ROW", 2)
    settings = replace(SETTINGS, parts=Parts(), accumulate=1, crops=2)
    for steps, since in ((4, 3), (5, 5)):
        reports: list[StepReport] = []
        entry = read_entry(
            run(tmp_path / f"{steps}", replace(settings, length=Length(steps=steps))).train(reports.append)
        )
        row = row_of([report for report in reports if report.step >= since])
        assert entry["metrics"] == {
            key: getattr(row, key) for key in ("step", "prompts", "loss", "first_iou", "later_iou")
        }


def test_the_fake_has_nothing_to_train(tmp_path: Path) -> None:
    places = Places(tmp_path / "run", device="cpu", home=tmp_path / "home")
    with pytest.raises(InvalidRequest, match="nothing to train"):
        prepare_run(tiles(), "fake", SETTINGS, places)
    assert not places.out.exists()


@pytest.mark.parametrize("half", [False, True])
def test_what_is_read_is_what_was_written(tmp_path: Path, *, half: bool) -> None:
    """Also on a base with a part that the network does without, which a delta would bring back."""
    store = ModelStore(tmp_path / "home")
    origin = load_origin("lite_medsam_histology", store)
    base = origin.base
    assert base is not None
    headless = {key: t for key, t in origin.tensors.items() if not key.startswith("refinement_head.")}
    moved = {key: t + 0.01 if key.startswith("prompt_encoder.") else t for key, t in origin.tensors.items()}
    for name, tensors, form in (("headless", headless, "full"), ("moved", moved, "delta")):
        path = tmp_path / f"{name}.safetensors"
        write_checkpoint(path, tensors, {"family": "lite_medsam"}, base=base, half=half)
        assert read_entry(path)["format"] == form
        add(name, path, store)
        read = load_origin(name, store).tensors
        assert read.keys() == tensors.keys()
        for key, tensor in tensors.items():
            torch.testing.assert_close(read[key], tensor, atol=2e-3 if half else 0, rtol=1e-3 if half else 0)


@pytest.mark.parametrize(
    ("had", "wanted", "option"),
    [
        (Parts(refinement_head=True), Parts(), "--head refinement"),
        (Parts(DecoderKind.HISTOLOGY), Parts(), "--decoder histology"),
    ],
)
def test_no_part_of_a_model_is_dropped_silently(had: Parts, wanted: Parts, option: str) -> None:
    shapes = expected_shapes(Family.LITE_MEDSAM, had)
    tensors = {key: torch.zeros(shape) for key, shape in shapes.items()}
    with pytest.raises(InvalidRequest, match=option):
        build_training_network(tensors, Family.LITE_MEDSAM, wanted, seed=0)


def test_what_lora_begins_with_follows_from_the_seed(tmp_path: Path) -> None:
    def downs(seed: int, state: int) -> list[torch.Tensor]:
        torch.manual_seed(state)
        settings = replace(SETTINGS, trainable=frozenset({Trainable.LORA}), parts=Parts(), seed=seed)
        trained = run(tmp_path / f"{seed} {state}", settings).trainer.trained
        return [parameter for name, parameter in trained.items() if name.endswith(".down")]

    one, same, other = downs(0, 1), downs(0, 2), downs(1, 1)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_whole_network_is_saved_whole(tmp_path: Path) -> None:
    settings = replace(
        SETTINGS, trainable=Scenario.SAM_WHOLE.parts, parts=Parts(), accumulate=1, length=Length(steps=1), mix=ONE_CLICK
    )
    path = run(tmp_path / "run", settings).train()
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()[METADATA_KEY])["format"] == "full"
    add("whole", path, ModelStore(tmp_path / "home"))
    loaded = load_segmenter("whole", device="cpu", home=tmp_path / "home")
    assert loaded.spec.family.value == "lite_medsam"


def test_validation_tiles_are_never_trained_on(shared_data: Path) -> None:
    for name in ("ebhi_seg", "tnbc", "dsb2018_stained"):
        dataset = open_dataset(str(shared_data / name))
        held_out = dataset.of_split("validation").groups
        assert held_out
        assert held_out.isdisjoint(training_data([dataset]).groups[name])


def test_embeddings_are_made_once(tmp_path: Path) -> None:
    settings = replace(SETTINGS, length=Length(steps=1))
    run(tmp_path / "one", settings).train()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "embeddings").iterdir()}
    assert made
    run(tmp_path / "two", settings).train()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "embeddings").iterdir()} == made


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer import Typer

    from qupath_sam.cli.train import train

    monkeypatch.setenv("QUPATH_SAM_HOME", str(tmp_path / "home"))
    for radius in (18, 26):
        save(pixels(radius), tmp_path / "data" / "images" / f"{radius}.png")
        save(labels(radius).astype(np.uint8), tmp_path / "data" / "labels" / f"{radius}.png")
    app = Typer()
    app.command()(train)
    options = ["--crops", "2", "--accumulate", "1", "--device", "cpu", "--out", str(tmp_path / "out"), "--seed", "3"]
    options += ["--clicks-only", "--exact-clicks", "0.25", "--window", "image"]
    result = CliRunner().invoke(app, [str(tmp_path / "data"), "--steps", "1", *options])
    assert result.exit_code == 0, result.output
    config = read_entry(tmp_path / "out" / CHECKPOINT_FILE)["config"]
    mix = config["mix"]
    assert (mix["boxes"], mix["outlines"], mix["exact"], config["window"]) == (0, 0, 0.25, "image")
    again = CliRunner().invoke(app, [str(tmp_path / "data"), "--steps", "10", "--resume", *options])
    assert again.exit_code == 0, again.output
    with (tmp_path / "out" / "curves.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["10"]
