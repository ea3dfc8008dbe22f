"""The metrics of instances on cases that were computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.evaluation.instances import score_instances


def line(*values: int) -> np.ndarray:
    return np.array([values])


def test_all_right() -> None:
    truth = line(1, 1, 0, 2, 2, 2)
    scores = score_instances(line(7, 7, 0, 3, 3, 3), truth)
    assert (scores.dice, scores.iou, scores.aji, scores.pq, scores.dq, scores.sq) == (1, 1, 1, 1, 1, 1)
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (2, 0, 0)


def test_one_found_well_one_missed_one_invented() -> None:
    #          A  A  A  A  .  B  B  .  .  .
    truth = line(1, 1, 1, 1, 0, 2, 2, 0, 0, 0)
    found = line(0, 5, 5, 5, 5, 0, 0, 0, 9, 9)
    scores = score_instances(found, truth)
    # Foreground: 3 shared, 6 true, 6 found.
    assert scores.dice == pytest.approx(6 / 12)
    assert scores.iou == pytest.approx(3 / 9)
    # A and 5: 3 of 5; B is missed, 9 invented.
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (1, 1, 1)
    assert scores.dq == pytest.approx(1 / (1 + 0.5 + 0.5))
    assert scores.sq == pytest.approx(3 / 5)
    assert scores.pq == pytest.approx(0.6 * 0.5)
    # Kumar: C = 3; U = 5 (A with 5) + 2 (B alone) + 2 (9 unused).
    assert scores.aji == pytest.approx(3 / 9)


def test_two_true_objects_merged_into_one() -> None:
    truth = line(1, 1, 1, 2, 2, 0)
    scores = score_instances(line(4, 4, 4, 4, 4, 0), truth)
    # 3 of 5 with the first is a match, 2 of 5 with the second is none.
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (1, 0, 1)
    assert scores.dq == pytest.approx(1 / 1.5)
    assert scores.sq == pytest.approx(0.6)
    # The found one serves both: C = 3 + 2, U = 5 + 5.
    assert scores.aji == pytest.approx(5 / 10)
    assert scores.dice == 1


def test_one_true_object_split_in_two() -> None:
    scores = score_instances(line(1, 1, 1, 2, 2, 0), line(6, 6, 6, 6, 6, 0))
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (1, 1, 0)
    # C = 3, U = 5 + the unused half of 2.
    assert scores.aji == pytest.approx(3 / 7)


def test_an_iou_of_one_half_is_no_match() -> None:
    scores = score_instances(line(1, 1, 0, 0), line(1, 1, 1, 1))
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (0, 1, 1)
    assert scores.sq is None
    assert scores.pq == 0


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [(line(0, 0), line(0, 0), 1.0), (line(0, 3), line(0, 0), 0.0), (line(0, 0), line(3, 0), 0.0)],
    ids=["both empty", "nothing true", "nothing found"],
)
def test_empty_images(found: np.ndarray, truth: np.ndarray, expected: float) -> None:
    scores = score_instances(found, truth)
    assert (scores.dice, scores.iou, scores.aji, scores.pq, scores.dq) == (expected,) * 5


def test_values_are_names() -> None:
    rng = np.random.default_rng(0)
    found, truth = rng.integers(0, 9, (2, 30, 30))
    names = np.array([0, 50, 3, 700, 2, 11, 9, 65000, 1])
    assert score_instances(names[found].astype(np.uint16), truth) == score_instances(found, truth)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same pixels"):
        score_instances(np.zeros((2, 2), int), np.zeros((2, 3), int))
