"""The report of ``evaluate --automatic`` on figures that were computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.evaluation.automatic import ImageResult
from qupath_sam.evaluation.automatic_report import automatic_table, build_automatic_report, summarise
from qupath_sam.evaluation.instances import score_instances

#: Two of three objects found, and one that is none.
TRUTH = np.array([[1, 1, 0, 2, 2, 0, 3, 3, 0, 0]])
FOUND = np.array([[1, 1, 0, 2, 2, 0, 0, 0, 0, 4]])


def result(
    found: np.ndarray, truth: np.ndarray, *, image: str = "a", group: str = "g", name: str = "set"
) -> ImageResult:
    count_true, count_found = (len(np.unique(labels[labels != 0])) for labels in (truth, found))
    scores = score_instances(found, truth)
    return ImageResult(name, image, group, count_true, count_found, scores, downsample=1.0, seconds=2.0)


def test_f1_counts_objects_and_the_rest_counts_images() -> None:
    small = np.array([[1, 1, 0]])
    summary = summarise([result(FOUND, TRUTH), result(small, small, image="b", group="h")])
    # 2 + 1 right, 1 invented, 1 missed.
    assert summary["f1"]["mean"] == pytest.approx(6 / 8)
    assert summary["dq"]["mean"] == pytest.approx((2 / 3 + 1) / 2)
    # Kumar: (2 + 2) / (2 + 2 + 2 + 1).
    assert summary["aji"]["mean"] == pytest.approx((4 / 7 + 1) / 2)
    assert summary["sq"]["mean"] == 1
    assert (summary["images"], summary["groups"], summary["true_objects"], summary["found_objects"]) == (2, 2, 4, 4)


def test_intervals_span_the_groups() -> None:
    small = np.array([[1, 1, 0]])
    summary = summarise([result(FOUND, TRUTH), result(small, small, image="b", group="h")])
    assert summary["f1"]["ci95"] == pytest.approx([2 / 3, 1])
    assert summary["aji"]["ci95"] == pytest.approx([4 / 7, 1])
    one_group = summarise([result(FOUND, TRUTH), result(small, small, image="b")])
    assert one_group["f1"]["ci95"] == pytest.approx([0.75, 0.75])


def test_an_image_without_a_match_has_no_quality_of_matches() -> None:
    nothing = np.zeros_like(TRUTH)
    assert summarise([result(nothing, TRUTH)])["sq"] == {"mean": None, "ci95": None}
    assert summarise([result(nothing, TRUTH), result(TRUTH, TRUTH)])["sq"]["mean"] == 1


def test_nothing_has_no_summary() -> None:
    with pytest.raises(ValueError, match="no image"):
        summarise([])


def test_tables_by_set_and_by_kind() -> None:
    rows = {
        "m, fast": [result(FOUND, TRUTH), result(TRUTH, TRUTH, name="other")],
        "m, best": [result(TRUTH, TRUTH), result(TRUTH, TRUTH, name="other")],
    }
    report = build_automatic_report(
        rows, kinds={"set": "nucleus", "other": "nucleus"}, settings={"split": "validation"}, machine={}
    )
    table = automatic_table(report).splitlines()
    assert len(table) == 2 + 4
    assert table[2].startswith("| set | 1 (1), 3 | m, fast | 0.667 (0.667-0.667) |")
    kinds = automatic_table(report, "kinds").splitlines()
    assert [line.split("|")[1:4] for line in kinds[2:]] == [
        [" nucleus ", " 2 (2), 6 ", " m, fast "],
        [" nucleus ", " 2 (2), 6 ", " m, best "],
    ]
    assert report["images"]["m, fast"][0]["aji"] == pytest.approx(4 / 7)
