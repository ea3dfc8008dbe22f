"""Points of a map: on cells and on background, as the discriminating strategy lets them through."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.models.sac.prompts import MOST_POINTS, Points, PromptOptions, Selection, choose_points

CENTRES = {(60, 40): 0.95, (180, 60): 0.9, (120, 190): 0.8}


def cells(centres: dict[tuple[int, int], float] = CENTRES, *, radius: float = 12) -> np.ndarray:
    """A map with discs of a probability at ``(x, y)``."""
    rows, columns = np.mgrid[:256, :256]
    found = np.full((256, 256), 0.02, np.float32)
    for (x, y), probability in centres.items():
        found[np.hypot(columns - x, rows - y) < radius] = probability
    return found


@pytest.mark.parametrize("selection", list(Selection))
def test_positive_points_lie_on_cells_and_negative_ones_far_away(selection: Selection) -> None:
    chosen = choose_points(cells(), PromptOptions(selection))
    found = cells()[chosen.xy[:, 1].astype(int), chosen.xy[:, 0].astype(int)]
    assert (found[chosen.positive] >= 0.65).all()
    assert (found[~chosen.positive] < 0.2).all()
    assert chosen.positive.sum() >= 3
    assert (~chosen.positive).any()
    distance = [min(np.hypot(x - cx, y - cy) for cx, cy in CENTRES) for x, y in chosen.xy[~chosen.positive]]
    assert min(distance) > 12 + 3


def test_there_is_one_centroid_a_part_and_the_surest_comes_first() -> None:
    chosen = choose_points(cells(), PromptOptions())
    assert chosen.xy[chosen.positive] == pytest.approx(np.array(list(CENTRES)) + 0.5)
    one = choose_points(cells(), PromptOptions(most=1))
    assert one.xy[one.positive] == pytest.approx(np.array([[60.5, 40.5]]))
    assert len(one) == 2, "as many negative points as positive ones"


def test_points_by_probability_do_not_crowd_in_one_cell() -> None:
    chosen = choose_points(cells(), PromptOptions(Selection.PROBABILITY))
    xy = chosen.xy[chosen.positive]
    gaps = [np.hypot(*(a - b)) for i, a in enumerate(xy) for b in xy[:i]]
    assert min(gaps) >= 8


def test_unsure_parts_and_specks_give_no_point() -> None:
    unsure = choose_points(cells({(60, 40): 0.6, (180, 60): 0.9}), PromptOptions())
    assert unsure.xy[unsure.positive] == pytest.approx(np.array([[180.5, 60.5]]))
    speck = choose_points(cells({(60, 40): 0.9}, radius=1.5), PromptOptions())
    assert not speck.positive.any()


def test_a_part_that_does_not_hold_its_centroid_is_clicked_inside() -> None:
    rows, columns = np.mgrid[:256, :256]
    ring = np.hypot(columns - 128, rows - 128)
    found = np.where((ring > 30) & (ring < 40), 0.9, 0.0).astype(np.float32)
    (x, y), *_ = choose_points(found, PromptOptions()).xy
    assert found[int(y), int(x)] == np.float32(0.9)


def test_a_map_that_is_sure_of_nothing_gives_nothing() -> None:
    assert len(choose_points(np.full((256, 256), 0.5, np.float32), PromptOptions())) == 0


def test_nothing_but_background_is_one_negative_point() -> None:
    (point,) = (empty := choose_points(np.zeros((256, 256), np.float32), PromptOptions())).xy
    assert not empty.positive.any()
    assert point == pytest.approx([128, 128], abs=1)


def test_points_have_a_limit() -> None:
    many = {(x, y): 0.9 for x in range(8, 256, 16) for y in range(8, 256, 16)}
    assert choose_points(cells(many, radius=4), PromptOptions()).positive.sum() == MOST_POINTS


def test_an_expert_adds_points() -> None:
    expert = Points(np.array([[1, 2]], np.float32), np.array([False]))
    both = choose_points(cells(), PromptOptions(most=1)).and_also(expert)
    assert both.positive.tolist() == [True, False, False]
    assert both.xy[-1].tolist() == [1, 2]
    assert both.and_also(None) is both
