"""Examples of a tile, all others of it to be found: a stand-in head that sees blobs as they are gets full marks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.cli.evaluate_like import parse_counts
from qupath_sam.datasets.base import Dataset
from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.automatic import ImageResult
from qupath_sam.evaluation.instances import InstanceScores
from qupath_sam.evaluation.like import LEAST_OTHERS, LikeEvaluation, LikeResult, without_examples
from qupath_sam.evaluation.like_report import build_like_report, like_table, summarise_like
from qupath_sam.types.region_requests import Effort
from tests.engine.region.scene import blobs

from .test_automatic import model, tile


@pytest.fixture
def evaluation() -> Iterator[LikeEvaluation]:
    with closing(LikeEvaluation(model(), Effort.FAST)) as made:
        yield made


def result(tp: int, fp: int, fn: int, *, examples: int = 1, group: str = "a") -> LikeResult:
    scores = InstanceScores(0.9, 0.8, 0.7, tp, fp, fn, 0.8 * tp)
    return LikeResult(examples, ImageResult("set", "image", group, tp + fn, tp + fp, scores, 1.0, 2.0))


def test_the_others_are_found_and_the_examples_do_not_count(evaluation: LikeEvaluation) -> None:
    shown = tile(blobs(400, 300, sizes=(20, 32)))
    every = len(np.unique(shown.read_labels())) - 1
    one, three = evaluation.score(shown, [3, 1])
    assert (one.examples, three.examples) == (1, 3)
    assert one.image.true_objects == every - 1 > 10
    assert three.image.true_objects == every - 3
    for each in (one, three):
        assert each.image.scores.dq > 0.9
        assert each.clicks < each.clicks_without / 2


def test_tiles_of_too_few_objects_are_left_out(evaluation: LikeEvaluation) -> None:
    pixels = np.full((200, 200, 3), 255, np.uint8)
    for place in range(LEAST_OTHERS):
        pixels[20:46, 10 + 60 * place : 36 + 60 * place] = (120, 40, 140)
    assert evaluation.score(tile(pixels), [1]) == []


def test_objects_below_the_least_area_are_none(evaluation: LikeEvaluation) -> None:
    shown = tile(blobs(400, 300, sizes=(20, 32)))
    areas = np.bincount(shown.read_labels().ravel())[1:]
    (found,) = evaluation.score(shown, [1], min_area=int(np.median(areas)))
    assert found.image.true_objects == np.count_nonzero(areas >= int(np.median(areas))) - 1


def test_what_lies_in_an_example_is_dropped() -> None:
    found = np.zeros((4, 8), np.int32)
    found[:, :4], found[:, 4:7] = 1, 2
    examples = np.zeros((4, 8), bool)
    examples[:, :5] = True
    assert set(np.unique(without_examples(found, examples))) == {0, 2}


def test_clicks_saved_count_missed_and_wrong_objects() -> None:
    summary = summarise_like([result(8, 1, 1), result(10, 0, 0, group="b")])
    # 1 + 1 + 1 and 1 clicks, where 10 and 11 would have been needed.
    assert summary["clicks_saved"]["mean"] == pytest.approx(1 - 4 / 21)
    low, high = summary["clicks_saved"]["ci95"]
    assert low == pytest.approx(1 - 3 / 10)
    assert high == pytest.approx(1 - 1 / 11)
    assert summary["f1"]["mean"] == pytest.approx(36 / 38)


def test_the_table_has_a_row_for_each_number_of_examples() -> None:
    results = {"fake, best": [result(8, 1, 1), result(6, 1, 1, examples=3)]}
    report = build_like_report(results, kinds={"set": "gland"}, settings={}, machine={})
    rows = like_table(report, "kinds").splitlines()[2:]
    assert [[cell.strip() for cell in row.split("|")][1:4] for row in rows] == [
        ["gland", "fake, best", "1"],
        ["gland", "fake, best", "3"],
    ]


def test_numbers_of_examples_are_read() -> None:
    assert parse_counts("5,1,3,1") == [1, 3, 5]
    for wrong in ("", "a", "0,1"):
        with pytest.raises(InvalidRequest, match="1,3,5"):
            parse_counts(wrong)


def test_the_command_writes_a_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    data = Dataset("blobs", (replace(tile(blobs(300, 200, sizes=(20, 32))), split=None),))
    monkeypatch.setattr("qupath_sam.cli.datasets.open_all", lambda _: [data])
    monkeypatch.setattr("qupath_sam.models.load.load_segmenter", lambda name, **_: model())
    page = tmp_path / "page.md"
    ran = CliRunner().invoke(
        app, ["evaluate", "blobs", "--model", "fake", "--like", "1,3", "--effort", "fast", "--markdown", str(page)]
    )
    assert ran.exit_code == 0, ran.output
    text = page.read_text("utf-8")
    assert "clicks saved" in text
    assert "--like 1,3" in text
    refused = CliRunner().invoke(app, ["evaluate", "blobs", "--model", "fake", "--like", "1", "--max-clicks", "3"])
    assert refused.exit_code != 0
