"""The command on a few objects of the real sets, with the fake that ships and with LiteMedSAM."""

from __future__ import annotations

import json
import shutil

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from qupath_sam.cli.evaluate import evaluate
from qupath_sam.datasets import open_dataset
from qupath_sam.datasets.seen import check_unseen, groups_seen
from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.protocol import Protocol
from qupath_sam.evaluation.run import Choices, Evaluation
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.models.weights.manage import add
from qupath_sam.models.weights.store import ModelStore

SETS = ("ebhi_seg", "tnbc", "dsb2018_stained")


@pytest.mark.parametrize(
    ("name", "tiles", "groups"), [("ebhi_seg", 314, 39), ("tnbc", 9, 2), ("dsb2018_stained", 37, 1)]
)
def test_validation_splits_are_read(shared_data, name, tiles, groups) -> None:
    dataset = open_dataset(str(shared_data / name)).of_split("validation")
    assert (len(dataset.tiles), len(dataset.groups)) == (tiles, groups)
    selection = Choices().selection(dataset)
    view = selection.view(dataset.tiles[0])
    assert max(view.pixels.shape[:2]) <= 256
    assert view.objects
    assert all(o.mask.shape == view.pixels.shape[:2] and o.mask.sum() >= dataset.min_area for o in view.objects)


def invoke(*arguments: str):
    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def few_tiles(shared_data, folder, name: str, count: int = 2, split: str = "validation") -> str:
    """A data set of the first tiles of a split of a real one."""
    root = folder / name
    lines = (shared_data / name / "index.csv").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines[1:] if line.endswith(f",{split}")][:count]
    root.mkdir(parents=True)
    (root / "index.csv").write_text("\n".join([lines[0], *rows]), encoding="utf-8")
    for sub in ("images", "instances"):
        (root / sub).mkdir()
    for row in rows:
        for file in row.split(",")[:2]:
            (root / file).write_bytes((shared_data / name / file).read_bytes())
    return str(root)


def test_the_command(shared_data, tmp_path) -> None:
    data = [few_tiles(shared_data, tmp_path, name) for name in SETS]
    outputs = {name: tmp_path / "out" / f"{name}.x" for name in ("json", "plot", "cases")}
    options = ["--model", "fake", "--max-clicks", "6", "--objects-per-image", "2"]
    files = [part for name, path in outputs.items() for part in (f"--{name}", str(path))]
    result = invoke(*data, *options, *files, "--resume-dir", str(tmp_path / "kept"))
    assert result.exit_code == 0, result.output
    report = json.loads(outputs["json"].read_text(encoding="utf-8"))
    assert set(report["results"]["fake"]) == {*SETS, "pooled"}
    assert report["results"]["fake"]["pooled"]["n"] == 12
    assert report["protocol"]["max_clicks"] == 6
    assert report["protocol"]["datasets"]["ebhi_seg"]["min_area"] == 400
    assert (report["protocol"]["images"], report["protocol"]["device"]) == (None, "auto")
    assert report["machine"]["cores"] >= 1
    for set_name in SETS:
        assert f"| {set_name} | 4 (" in result.stdout
    assert "generalisation" not in report, "there is nothing to compare with"
    for name in ("plot", "cases"):
        with Image.open(outputs[name]) as image:
            assert image.format == "PNG"
            assert min(image.size) > 200
    kept = (tmp_path / "kept" / "objects.jsonl").read_text(encoding="utf-8")
    assert len(kept.splitlines()) == 12


def test_the_engines_own_windows_on_a_real_tile(shared_data, tmp_path) -> None:
    data = few_tiles(shared_data, tmp_path, "tnbc", count=1)
    report = tmp_path / "report.json"
    options = ["--model", "fake", "--max-clicks", "4", "--objects-per-image", "2", "--window", "auto"]
    result = invoke(data, *options, "--json", str(report))
    assert result.exit_code == 0, result.output
    read = json.loads(report.read_text(encoding="utf-8"))
    assert read["protocol"]["datasets"]["tnbc"]["crop"] is None
    assert read["results"]["fake"]["tnbc"]["miou"][0] > 0


def test_two_models_with_both_choices_of_windows_and_again_from_kept_results(shared_data, tmp_path) -> None:
    data = few_tiles(shared_data, tmp_path, "tnbc", count=1)
    options = ["--model", "lite_medsam", "--model", "fake", "--max-clicks", "3", "--objects-per-image", "1"]
    options += ["--window", "image", "--window", "auto", "--resume-dir", str(tmp_path / "kept")]
    outputs = ["--json", str(tmp_path / "report.json"), "--markdown", str(tmp_path / "table.md")]
    first = invoke(data, *options, *outputs)
    assert first.exit_code == 0, first.output
    assert "| tnbc | fake | untuned |" in first.stdout
    reports = [json.loads((tmp_path / f"report-{w}.json").read_text(encoding="utf-8")) for w in ("image", "auto")]
    assert [r["protocol"]["window"] for r in reports] == ["image", "auto"]
    assert all(r["generalisation"]["zero_shot"] == "lite_medsam" for r in reports)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| **tnbc**, 1 objects, 1 group | lite_medsam |" in text
    assert "--model lite_medsam --model fake --window image --window auto --objects-per-image 1" in text
    (tmp_path / "table.md").unlink()
    kept = (tmp_path / "kept" / "objects.jsonl").read_bytes()
    second = invoke(data, *options, *outputs, "--zero-shot", "fake")
    assert second.exit_code == 0, second.output
    assert "| tnbc | lite_medsam | untuned |" in second.stdout
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text
    assert (tmp_path / "kept" / "objects.jsonl").read_bytes() == kept, "nothing was computed again"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "fake"], "no data are named"),
        (["index:.", "--model", "fake", "--class", "Tumor"], "--class"),
        (["index:.", "--model", "fake", "--image", "20"], "--project"),
        (["index:.", "--model", "fake", "--zero-shot", "other"], "--zero-shot other"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message) -> None:
    with pytest.raises(InvalidRequest, match=message):
        invoke(*arguments)


@pytest.mark.parametrize("split", ["train", "all"])
def test_the_default_is_not_measured_on_what_it_was_trained_on(shared_data, tmp_path, monkeypatch, split) -> None:
    """Whatever it is called, whatever the data are called, and before anything has run."""
    monkeypatch.setenv("QUPATH_SAM_HOME", str(tmp_path / "home"))
    store = ModelStore()
    renamed = tmp_path / "weights of a friend.pth"
    shutil.copyfile(store.weights_path(store.find(DEFAULT_MODEL)), renamed)
    add("friend", renamed, store)
    data = few_tiles(shared_data, tmp_path, "tnbc", count=1, split="train")
    copied = shutil.copytree(data, tmp_path / "my nuclei")
    for model in (DEFAULT_MODEL, "friend"):
        for folder in (data, str(copied)):
            with pytest.raises(InvalidRequest, match=f"'{model}' was trained on 1 group.*patient"):
                invoke(
                    folder, "--model", "fake", "--model", model, "--split", split, "--json", str(tmp_path / "r.json")
                )
    assert not (tmp_path / "r.json").exists()


def test_the_default_has_seen_every_training_group_and_no_validation_group(shared_data) -> None:
    store = ModelStore()
    seen = groups_seen(store.find(DEFAULT_MODEL), store)
    for name in SETS:
        dataset = open_dataset(str(shared_data / name))
        assert {group for of, group in seen if of == name} == dataset.of_split("train").groups
        check_unseen(DEFAULT_MODEL, seen, [dataset.of_split("validation")])
    path = store.weights_path(store.find(DEFAULT_MODEL))
    assert path.stat().st_size < 25e6


def test_lite_medsam_finds_a_gland_from_its_box(shared_data, tmp_path) -> None:
    dataset = open_dataset(few_tiles(shared_data, tmp_path, "ebhi_seg", count=1))
    model = load_segmenter("lite_medsam", device="cpu")
    protocol = Protocol(max_clicks=2, jitter_runs=0)
    with Evaluation(model, protocol=protocol, choices=Choices(per_tile=1)) as evaluation:
        (result,) = evaluation.run([dataset])
    assert result.box_iou is not None
    assert result.box_iou > 0.7
    assert result.area >= 400
