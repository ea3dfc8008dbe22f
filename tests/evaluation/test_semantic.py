"""One mask of all cells of an image: squares, parts, prompts, an expert's points, and the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.cli.evaluate_sac import SacChoices, evaluate_sac, file_names
from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.semantic import SemanticChoices, SemanticEvaluation, parts_of
from qupath_sam.models.sac.prompts import NO_POINTS, Points, PromptOptions
from qupath_sam.models.sac.segmenter import SemanticAnswer
from qupath_sam.training.run import Places
from qupath_sam.training.sac.run import prepare_sac_run
from qupath_sam.training.sac.trainer import SacSettings
from qupath_sam.training.settings import Length
from tests.evaluation.pictures import disc, save, tile, two_discs
from tests.training.dense.test_dense_crops import data


class SeesRed:
    """In the place of `SacSegmenter`: what is red, 256 px a side, and discs round the points that a person adds."""

    def __init__(self, *, blind: bool = False) -> None:
        self.sides: list[int] = []
        self.blind = blind

    def segment(
        self, pixels: np.ndarray, options: PromptOptions | None = None, *, expert: Points | None = None
    ) -> SemanticAnswer:
        self.sides.append(len(pixels))
        at = np.minimum((np.arange(256) + 0.5) * len(pixels) / 256, len(pixels) - 1).astype(int)
        red = (pixels[np.ix_(at, at)][..., 1] < 100) & (not self.blind)
        for (x, y), positive in zip((expert or NO_POINTS).xy, (expert or NO_POINTS).positive, strict=True):
            red = np.where(disc(256, x, y, 40), positive, red)
        return SemanticAnswer(red.astype(np.float32), NO_POINTS)


@pytest.mark.parametrize(("crop", "sides"), [(64, {64}), (None, {200}), (256, {200})])
def test_images_are_seen_in_squares_of_the_right_size(crop: int | None, sides: set[int]) -> None:
    labels = np.zeros((200, 300), np.int32)
    labels[:64, :64] = two_discs()
    labels[180:, 270:] = 3
    model = SeesRed()
    result = SemanticEvaluation(model).score(tile(labels), crop=crop)  # type: ignore[arg-type]
    assert set(model.sides) == sides
    assert result.scores.dice > 0.97
    assert (result.true_objects, result.found_objects) == (3, 3)
    assert result.scores.dq == 1


def test_touching_cells_are_one_part_and_specks_are_none() -> None:
    mask = np.zeros((40, 40), bool)
    mask[:10, :10] = mask[:10, 10:20] = True
    mask[20, 20] = True
    parts = parts_of(mask)
    assert parts.max() == 1
    assert parts[20, 20] == 0


def test_an_expert_clicks_on_the_largest_error() -> None:
    labels = np.zeros((256, 256), np.int32)
    labels[two_discs(256) == 1] = 0
    labels[disc(256, 60, 60, 40)] = 1
    labels[disc(256, 190, 190, 40)] = 2
    blind = SeesRed(blind=True)
    alone, one, two = (
        SemanticEvaluation(blind, SemanticChoices(expert_points=count)).score(tile(labels))  # type: ignore[arg-type]
        for count in (0, 1, 2)
    )
    assert [each.found_objects for each in (alone, one, two)] == [0, 1, 2]
    assert two.scores.dice > 0.95


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = data(sizes={"discs": (2, 256, 30)})
    files = []
    for name, prompts in (("sac", PromptOptions(most=2)), ("none", None)):
        settings = SacSettings(Length(steps=1), batch=1, crops=1, lora_rank=0, prompts=prompts)
        run = prepare_sac_run(tiles, "lite_medsam", settings, Places(tmp_path / name, tmp_path / "cache", "cpu"))
        files.append(str(run.train()))
    for name, group in (("own", "case9"), ("seen", "case1")):
        save(tiles.tiles[0].tile.read_pixels(), tmp_path / name / "a.png")
        save((tiles.tiles[0].tile.read_labels() > 0).astype(np.uint8), tmp_path / name / "labels.png")
        rows = f"image,instances,group,split,organ\na.png,labels.png,{group},validation,skin\n"
        (tmp_path / name / "index.csv").write_text(rows, encoding="utf-8")
    report, document = tmp_path / "report.json", tmp_path / "table.md"
    words = ["evaluate", str(tmp_path / "own"), "--automatic", "--device", "cpu"]
    words += [word for file in files for word in ("--sac", file)]
    more = ["--prompts", "1,all", "--json", str(report), "--markdown", str(document)]
    ended = CliRunner().invoke(app, [*words, *more])
    assert ended.exit_code == 0, ended.output
    content = json.loads(report.read_text())
    rows = ["sac/sac.safetensors, 1 prompt", "sac/sac.safetensors, all prompts", "none/sac.safetensors, no prompts"]
    assert list(content["results"]) == list(content["organs"]) == rows
    assert all("dice" in content["results"][row]["own"] for row in rows)
    assert len(set(content["settings"]["sac_sha256"].values())) == 2
    assert "--sac" in document.read_text().splitlines()[-2]
    assert "--prompts 1,all" in document.read_text().splitlines()[-2]
    check_rows(tmp_path, Path(files[0]), monkeypatch)
    own, of_model = ["evaluate", str(tmp_path / "own"), "--automatic"], ["--model", "fake"]
    for words, says in (
        ([*own, "--sac", files[0], "--sac", str(tmp_path / "none" / ".." / "sac" / "sac.safetensors")], "named twice"),
        ([*own, "--sac", files[1], "--prompts", "1,2"], "--prompts: "),
        ([*own, "--sac", files[1], "--selection", "probability"], "generates none"),
        ([*own, "--sac", files[0], "--effort", "fast"], "--effort: not for --sac alone"),
        ([*own, "--sac", files[0], "--dense", files[0]], "--dense: not for --sac alone"),
        ([*own, "--sac", files[0], "--clicks-in-the-middle"], "add --model NAME"),
        ([*own, *of_model, "--prompts", "all"], "--prompts: of models of Segment Any Cell; add --sac FILE"),
        ([*own, *of_model, "--expert-points", "1"], "--expert-points: "),
        (["evaluate", str(tmp_path / "seen"), "--automatic", "--sac", files[0]], "case1"),
        (["evaluate", str(tmp_path / "own"), "--sac", files[0]], "--sac: add --automatic"),
        (["evaluate", str(tmp_path / "own"), "--automatic"], "--sac FILE"),
        (["evaluate", str(tmp_path / "own"), "--automatic", "--sac", files[0], "--prompts", "few"], "1,4,all"),
        (["evaluate", str(tmp_path / "own"), "--automatic", "--sac", files[0], "--prompts", "0"], "at least one"),
    ):
        refused = CliRunner().invoke(app, words)
        assert isinstance(refused.exception, InvalidRequest), refused.output
        assert says in str(refused.exception)


def check_rows(folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the rows of a model that was trained with 2 prompts, and what each asks, against the options."""
    other = folder / "second" / "sac" / "sac.safetensors"
    other.parent.mkdir(parents=True)
    shutil.copyfile(file, other)
    monkeypatch.chdir(other.parent)
    asked: list[int | None] = []

    def choices(prompts: PromptOptions, expert_points: int) -> SemanticChoices:
        asked.append(prompts.most)
        return SemanticChoices(prompts, expert_points)

    with monkeypatch.context() as patched:
        patched.setattr("qupath_sam.evaluation.semantic.SemanticChoices", choices)
        trained = [row for row, *_ in evaluate_sac(SacChoices((file, Path(other.name))), device="cpu")]
        said = [row for row, *_ in evaluate_sac(SacChoices((Path(other.name),), (None, 1)), device="cpu")]
    first = f"{folder.name}/sac/sac.safetensors"
    assert trained == [f"{each}, as trained (2 prompts)" for each in (first, "second/sac/sac.safetensors")]
    assert said == ["sac/sac.safetensors, all prompts", "sac/sac.safetensors, 1 prompt"]
    assert asked == [2, 2, None, 1]


def test_names_of_files_are_the_shortest_ends_that_differ() -> None:
    files = [Path(each) for each in ("/x/sac/m.st", "/y/x/sac/m.st", "/y/other/m.st", "/m.st")]
    names = file_names(files)
    assert names[1:3] == ["y/x/sac/m.st", "other/m.st"]
    assert len(set(names)) == 4
