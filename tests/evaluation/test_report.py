"""Means, intervals and the report's layout."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupath_sam.cli.evaluation_outputs import command_line
from qupath_sam.datasets.options import FirstPrompt, WindowChoice
from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.bootstrap import bootstrap_interval
from qupath_sam.evaluation.generalisation import generalisation, generalisation_table
from qupath_sam.evaluation.page import page
from qupath_sam.evaluation.protocol import Protocol
from qupath_sam.evaluation.report import build_report, intervals, summaries, summarise, write_report
from qupath_sam.evaluation.tables import kinds_table, noc_text, results_table
from tests.evaluation.test_results import result


def curve(*start: float, clicks: int = 20) -> tuple[float, ...]:
    """A curve that keeps its last value."""
    return (*start, *[start[-1]] * (clicks - len(start)))


SUCCESS_AND_FAILURE = (curve(0.5, 0.86, 0.95), curve(0.5))


def objects(dataset: str = "set", *, ious=SUCCESS_AND_FAILURE, groups=("a", "b")):
    flat = curve(0.0)
    return [
        result(dataset=dataset, object_id=f"{i}", image_id=f"{i}", group=g, iou=iou, harm=flat, locality=flat)
        for i, (iou, g) in enumerate(zip(ious, groups, strict=True))
    ]


def report_of(**models):
    return build_report(models, protocol=Protocol(), settings={"window": "image"}, machine={"cpu": "a"})


def test_noc_nof_and_miou() -> None:
    summary = summarise(objects())
    assert summary["noc"]["80"]["mean"] == (2 + 20) / 2
    assert summary["noc"]["90"]["mean"] == (3 + 20) / 2
    assert summary["nof_rate"] == {"80": 0.5, "85": 0.5, "90": 0.5}
    assert summary["miou"][:3] == pytest.approx([0.5, 0.68, 0.725])
    assert (summary["n"], summary["groups"]) == (2, 2)


def test_seconds_per_click_are_all_seconds_over_all_clicks_and_latency_is_per_click() -> None:
    summary = summarise(
        [
            result(seconds=1.0, click_ms=(10.0, 20.0, 30.0), clicks=((0, 0, 1),) * 3),
            result(seconds=2.0, click_ms=(40.0,), clicks=((0, 0, 1),)),
        ]
    )
    assert summary["spc_s"] == pytest.approx(3.0 / 4)
    assert summary["click_ms"] == pytest.approx({"p50": 25.0, "p95": 38.5})


def test_an_image_is_read_and_encoded_once_whichever_of_its_objects_are_asked_for() -> None:
    found = [
        result(image_id=image, object_id=f"{image}{number}", seconds=1.0, setup_s=setup, click_ms=(10.0,) * 10)
        for image, setup in [("a", 2.0), ("b", 4.0)]
        for number in range(3)
    ]
    assert summarise(found)["spc_s"] == pytest.approx((6 + 2 + 4) / 60)
    assert summarise([found[2], found[5]])["spc_s"] == pytest.approx((2 + 2 + 4) / 20)
    later = result(image_id="a", object_id="a9", seconds=1.0, setup_s=3.0, click_ms=(10.0,) * 10)
    assert summarise([found[0], later])["spc_s"] == pytest.approx((2 + 2.5) / 20), "of two runs the mean"


def test_what_no_object_has_is_null_and_what_some_have_is_their_mean() -> None:
    summary = summarise([result(box_iou=0.6, jitter=None), result(box_iou=None, jitter=None)])
    assert summary["box_iou"] == 0.6
    assert summary["refine_gain"] is None
    assert summary["jitter"] is None


def test_the_report_has_the_layout_that_was_agreed(tmp_path) -> None:
    report = report_of(model=objects("one") + objects("two"))
    path = tmp_path / "new" / "report.json"
    write_report(report, path)
    read = json.loads(path.read_text(encoding="utf-8"))
    assert set(read) == {"schema", "machine", "protocol", "results", "kinds"}
    assert set(read["results"]["model"]) == {"one", "two", "pooled"}
    summary = read["results"]["model"]["pooled"]
    assert set(summary) == {
        *("n", "groups", "noc", "nof_rate", "miou", "miou_ci95", "spc_s", "click_ms"),
        *("box_iou", "refine_gain", "jitter", "harm", "locality"),
        *("first_iou", "first_best_iou", "first_in_one_part", "squares", "score_error", "largest_fall"),
    }
    assert set(summary["noc"]) == set(summary["nof_rate"]) == {"80", "85", "90"}
    assert all(len(entry["ci95"]) == 2 for entry in summary["noc"].values())
    assert [len(summary[k]) for k in ("miou", "miou_ci95", "harm", "locality")] == [20] * 4
    assert (summary["n"], summary["groups"]) == (4, 4), "groups of one name in two data sets are two groups"
    assert [p.name for p in path.parent.iterdir()] == ["report.json"], "no temporary file is left"


def test_a_report_may_be_read_by_others_and_a_broken_one_takes_no_good_ones_place(tmp_path) -> None:
    path, other = tmp_path / "report.json", tmp_path / "other.json"
    write_report({"a": 1}, path)
    other.write_text("{}", encoding="utf-8")
    assert path.stat().st_mode == other.stat().st_mode
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report({"a": math.nan}, path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.json", "report.json"]


def test_the_command_on_the_page_can_be_given_to_a_shell() -> None:
    command = command_line(
        ["my glands", "geojson:a&b", "--project my study/project.qpproj"],
        ["lite_medsam"],
        [WindowChoice.AUTO],
        {"class": ["Tumor: Positive", "it's"], "mpp": 0.5, "image": None, "split": "validation"},
    )
    assert shlex.split(command) == [
        *("qupath-sam", "evaluate", "my glands", "geojson:a&b", "--project", "my study/project.qpproj"),
        *("--model", "lite_medsam", "--window", "auto", "--class", "Tumor: Positive", "--class", "it's"),
        *("--mpp", "0.5"),
    ]
    told = command_line(["a"], ["m"], [WindowChoice.IMAGE], {"seed": 0}, flags=["namesakes"])
    assert told.endswith("--window image --namesakes")
    plain = command_line(["../a/b", "index:c"], ["m"], [WindowChoice.IMAGE], {"min-area": 4})
    assert plain == "qupath-sam evaluate ../a/b index:c --model m --window image --min-area 4"


def test_the_mean_lies_in_its_interval() -> None:
    for summary in summaries(objects() + objects("other")).values():
        for entry in summary["noc"].values():
            assert entry["ci95"][0] <= entry["mean"] <= entry["ci95"][1]
        for mean, (low, high) in zip(summary["miou"], summary["miou_ci95"], strict=True):
            assert low - 1e-9 <= mean <= high + 1e-9


def test_one_group_is_resampled_by_images() -> None:
    summary = summarise(objects(groups=("same", "same")))
    low, high = summary["noc"]["80"]["ci95"]
    assert (low, high) == (2, 20)


def test_intervals_are_the_same_each_time_and_follow_the_seed() -> None:
    values = np.random.default_rng(0).random(40)
    groups = [i // 4 for i in range(40)]
    one, same, other = (bootstrap_interval(values, groups, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_objects_that_are_alike_in_their_groups_make_the_interval_wide() -> None:
    values = np.repeat(np.random.default_rng(0).random(8), 25)
    by_group = bootstrap_interval(values, np.repeat(np.arange(8), 25).tolist())
    by_object = bootstrap_interval(values, list(range(200)))
    assert np.ptp(by_group) > 3 * np.ptp(by_object)


def test_the_interval_of_a_mean_is_that_of_theory_where_groups_are_single_objects() -> None:
    values = np.random.default_rng(3).normal(0, 1, 400)
    low, high = bootstrap_interval(values, list(range(400)))
    expected = 1.96 * values.std() / math.sqrt(400)
    assert high - low == pytest.approx(2 * expected, rel=0.1)


def test_a_pooled_interval_is_not_about_how_many_of_which_data_set_were_drawn() -> None:
    """Two sets that are each of one mind: whatever is drawn within them, the mean is the same."""
    found = [
        result(dataset=name, group=f"{g}", iou=curve(iou)) for name, iou in [("a", 0.9), ("b", 0.5)] for g in range(4)
    ]
    low, high = summarise(found)["miou_ci95"][0]
    assert low == high == pytest.approx(0.7)
    values, groups = np.repeat([0.9, 0.5], 4), list(range(8))
    assert np.ptp(bootstrap_interval(values, groups)) > 0.1


def test_a_data_set_of_one_group_is_resampled_by_images_beside_others_too() -> None:
    one = [result(dataset="a", group="same", image_id=f"{i}", iou=curve(0.1 * i)) for i in range(8)]
    other = [result(dataset="b", group=f"{i}", iou=curve(0.5)) for i in range(8)]
    low, high = summarise(one + other)["miou_ci95"][0]
    assert low < fmean([*[0.1 * i for i in range(8)], *[0.5] * 8]) < high


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 5))
def test_intervals_stay_in_the_range_of_the_values(values, group_count) -> None:
    groups = [i % group_count for i in range(len(values))]
    low, high = bootstrap_interval(np.array(values), groups, resamples=50)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_intervals_of_the_rest() -> None:
    harmed = (*[0.9] * 5, *[0.02] * 15)
    found = [
        result(group=group, iou=iou, harm=harm, box_iou=box)
        for group, iou, harm, box in [
            ("a", curve(0.9), harmed, 0.5),
            ("b", curve(0.5), curve(0.0), None),
            ("c", curve(0.5), curve(0.0), 0.7),
        ]
    ]
    of_set = intervals(found)["set"]
    assert of_set == intervals(found)["pooled"]
    assert of_set["nof_rate"]["85"] == [0, 1]
    assert of_set["harm"] == [0, pytest.approx(0.02)], "of the clicks after the fifth alone"
    assert of_set["box_iou"] == [0.5, 0.7]
    assert intervals([result(iou=(0.5,), harm=(0.5,), box_iou=None)])["set"]["harm"] is None


def test_without_objects_there_is_nothing_to_say() -> None:
    assert summaries([]) == {}
    with pytest.raises(ValueError, match="no object"):
        summarise([])


def test_fewer_clicks_than_the_papers_give_say_what_they_do_not_know() -> None:
    """With one click every object counts with one, whether it got there or not."""
    reached, missed = curve(0.95)[:1], curve(0.1)[:1]
    some, none, every = (
        summarise([replace(each, harm=(0.0,), locality=(0.0,)) for each in objects(ious=ious)])
        for ious in ((reached, missed), (missed, missed), (reached, reached))
    )
    assert [noc_text(summary, 85, 1) for summary in (some, none, every)] == [">= 1.00", "> 1", "1.00"]
    assert noc_text(summarise(objects()), 85, 20) == "11.00", "twenty clicks are counted as the papers count them"
    report = build_report(
        {"model": [replace(each, harm=(0.0,), locality=(0.0,)) for each in objects(ious=(missed, missed))]},
        protocol=Protocol(max_clicks=1),
        settings={"window": "image"},
        machine={"cpu": "a"},
    )
    assert results_table(report).count("> 1 |") == 6, "three thresholds, of the set and of all together"
    assert "1.00 (1.00" not in results_table(report)


def test_results_table() -> None:
    table = results_table(report_of(plain=objects(), better=objects(ious=(curve(0.9), curve(0.85)))))
    lines = table.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + 2 * 2
    assert "| set | 2 (2) | better | **1.00** (1.00-1.00)" in table
    assert "| set | 2 (2) | plain | 11.00 (2.00-20.00)" in table
    assert "| NoF@85 (NoF/n) | NoF@90 (NoF/n) |" in lines[0]
    assert "| 1 (0.50) | 1 (0.50) |" in lines[2]


def before_and_after() -> dict:
    """A model before tuning, and after tuning on one of two data sets."""
    report = report_of(
        base=objects("seen") + objects("unseen"),
        tuned=objects("seen", ious=(curve(0.95), curve(0.95))) + objects("unseen", ious=(curve(0.5), curve(0.5))),
    )
    tuned_on = {"base": [], "tuned": ["seen"]}
    report["generalisation"] = generalisation(report["results"], zero_shot="base", tuned_on=tuned_on)
    return report


def test_generalisation_table_shows_changes_from_zero_shot() -> None:
    table = generalisation_table(before_and_after())
    lines = table.splitlines()
    assert lines[0] == "| Evaluated on | Model | Tuned on it | NoC@80 | NoC@85 | NoC@90 | SPC s | NoF/n@85 | NoF/n@90 |"
    assert lines[2].startswith("| seen | base | zero-shot | 11.00 | 11.00 | 11.50 | ")
    assert lines[3].startswith("| seen | tuned | yes | **1.00** (-10.00) | **1.00** (-10.00) | **1.00** (-10.50) | ")
    assert lines[3].endswith(" | 0.00 | 0.00 |")
    assert lines[5].startswith("| unseen | tuned | no | 20.00 (+9.00) |")
    assert lines[7].startswith("| pooled | tuned | in part |")
    assert lines[-1] == "In parentheses: change from base. tuned was tuned on seen."


def test_the_report_says_what_tuning_changed(tmp_path) -> None:
    path = tmp_path / "report.json"
    write_report(before_and_after(), path)
    read = json.loads(path.read_text(encoding="utf-8"))["generalisation"]
    assert (read["zero_shot"], read["tuned_on"]) == ("base", {"base": [], "tuned": ["seen"]})
    assert set(read["change"]) == {"tuned"}
    assert set(read["change"]["tuned"]) == {"seen", "unseen", "pooled"}
    assert read["change"]["tuned"]["seen"]["noc"] == {"80": -10, "85": -10, "90": -10.5}
    assert read["change"]["tuned"]["seen"]["nof_rate"]["85"] == -0.5
    assert len(read["change"]["tuned"]["unseen"]["miou"]) == 20


def test_changes_need_the_model_before_tuning() -> None:
    with pytest.raises(InvalidRequest, match="no model 'other'"):
        generalisation(before_and_after()["results"], zero_shot="other", tuned_on={})


def test_the_page_for_a_readme_has_a_table_for_each_choice_of_windows() -> None:
    models = {
        "zero": objects("glands") + objects("nuclei"),
        "tuned": objects("glands", ious=(curve(0.95), curve(0.9, 0.95, 0.85))) + objects("nuclei"),
    }
    falling = {**report_of(**models), "intervals": {model: intervals(found) for model, found in models.items()}}
    text = page({WindowChoice.IMAGE: falling, WindowChoice.AUTO: falling}, command="qupath-sam evaluate glands nuclei")
    tables = [part for part in text.split("\n\n") if part.startswith("|  |")]
    assert len(tables) == 2
    for table in tables:
        lines = table.splitlines()
        assert len({line.count("|") for line in lines}) == 1
        assert len(lines) == 2 + 3 * 2
    assert "`--window image`" in text
    assert "`--window auto`" in text
    assert "| **glands**, 2 objects, 2 groups | zero | 11.00 (2.00-20.00) |" in text
    assert "|  | tuned | 1.00 (1.00-1.00) | 1.00 (1.00-1.00) | 1.00 (1.00-1.00) | 0.000 (0.000-0.000) |" in text
    assert " | 0.925 (0.900-0.950) | 0.900 (0.850-0.950) |" in text
    assert "| 0.0500 | 0.0000 (0.0000-0.0000) | 0.700 (0.700-0.700) |" in text, (
        "the fall from the second to the third click, and harm, and boxes"
    )
    assert "    qupath-sam evaluate glands nuclei\n" in text


def test_first_answers_are_summarised_by_what_they_are() -> None:
    summary = summarise(
        [
            result(iou=(0.5, 0.9, 0.8), scores=(0.7, 0.9, 0.9), first_parts=1, first_best_iou=0.6),
            result(iou=(0.1, 0.9, 0.8), scores=(0.1, None, 0.6), first_parts=3, first_best_iou=0.3),
        ]
    )
    assert summary["first_iou"] == pytest.approx(0.3)
    assert summary["first_best_iou"] == pytest.approx(0.45)
    assert summary["first_in_one_part"] == 0.5
    assert summary["score_error"] == pytest.approx((0.2 + 0.0 + 0.1 + 0.0 + 0.2) / 5)
    assert summary["largest_fall"] == pytest.approx(0.1)


def test_every_data_set_of_a_kind_counts_alike() -> None:
    many = [result(dataset="tnbc", object_id=str(i), iou=curve(0.9)) for i in range(8)]
    few = [result(dataset="dsb", object_id=str(i), iou=curve(0.5)) for i in range(2)]
    other = [result(dataset="camelyon", iou=curve(0.2))]
    kinds = {"tnbc": "nucleus", "dsb": "nucleus", "camelyon": "region"}
    report = build_report(
        {"mine": [*many, *few, *other]},
        protocol=Protocol(),
        settings={"window": "image", "datasets": {name: {"kind": kind} for name, kind in kinds.items()}},
        machine={},
    )
    found = report["kinds"]["mine"]
    assert list(found) == ["region", "nucleus"]
    assert (found["nucleus"]["n"], found["nucleus"]["datasets"]) == (10, 2)
    assert found["nucleus"]["first_iou"] == pytest.approx(0.7)
    assert found["nucleus"]["noc"]["85"]["mean"] == pytest.approx((1 + 20) / 2)
    assert found["nucleus"]["nof_rate"]["85"] == pytest.approx(0.5)
    rows = kinds_table(report).splitlines()
    assert len(rows) == 4
    assert rows[3].startswith("| nucleus | 10 (2) | mine | 0.70 ")
    report["protocol"]["max_clicks"] = 5
    assert "| >= 10.50 |" in kinds_table(report).splitlines()[3], "of few clicks the mean says too little"


def test_the_table_by_kind_says_how_far_the_worst_data_set_falls_and_what_late_clicks_spoil() -> None:
    """The kind's curve is the mean of the sets' curves, in which one set's fall may be made up by another's gain."""
    falling = (0.5, 0.9, 0.8, *[0.9] * 17)
    rising = (0.5, 0.6, 0.68, *[0.9] * 17)
    shaping = (0.5, 0.0, 0.0, 0.0, 0.0)  # the first clicks shape the object; what they spoil is not counted
    rows = [
        result(dataset="tnbc", iou=falling, harm=(*shaping, *[0.03] * 15)),
        result(dataset="dsb", iou=rising, harm=(*shaping, *[0.01] * 15)),
    ]
    settings = {"window": "image", "datasets": {name: {"kind": "nucleus"} for name in ("tnbc", "dsb")}}
    report = build_report({"mine": rows}, protocol=Protocol(), settings=settings, machine={})
    found = report["kinds"]["mine"]["nucleus"]
    assert found["largest_fall"] == pytest.approx(0.01)
    assert found["largest_fall_of_a_set"] == pytest.approx(0.1)
    assert found["settled_harm"] == pytest.approx(0.02)
    assert found["settled_harm_of_a_set"] == pytest.approx(0.03)
    assert "| 0.0100 (0.1000) | 2.00 % (3.00 %) |" in kinds_table(report).splitlines()[2]


def test_of_five_clicks_no_late_harm_is_shown() -> None:
    rows = [result(dataset="tnbc", iou=curve(0.9)[:5], harm=(0.1,) * 5)]
    settings = {"window": "image", "datasets": {"tnbc": {"kind": "nucleus"}}}
    report = build_report({"mine": rows}, protocol=Protocol(max_clicks=5), settings=settings, machine={})
    assert "| 0.0000 (0.0000) | - (-) |" in kinds_table(report)


def test_the_table_by_kind_says_what_the_first_prompt_was() -> None:
    rows, settings = [result(dataset="tnbc", iou=curve(0.9))], {"datasets": {"tnbc": {"kind": "nucleus"}}}
    for first in FirstPrompt:
        report = build_report({"mine": rows}, protocol=Protocol(first=first), settings=settings, machine={})
        assert f"| first {first.value} mIoU (best of the masks) |" in kinds_table(report).splitlines()[0]
