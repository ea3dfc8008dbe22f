"""Figures show what the numbers say: looked at through the colours of their pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor

from qupath_sam.evaluation.curves import PALETTE, draw_curves
from qupath_sam.evaluation.panels import Case, draw_cases
from qupath_sam.evaluation.protocol import run_clicks
from qupath_sam.evaluation.sessions import WholeImage
from tests.evaluation.pictures import disc, painted
from tests.evaluation.segmenters import AnsweringSegmenter, squares
from tests.evaluation.test_report import curve, objects, report_of


def rows_of(figure, colour: str, columns: slice) -> np.ndarray:
    """Rows in which a colour is found."""
    part = np.asarray(figure)[:300, columns].astype(int)
    near = (np.abs(part - ImageColor.getrgb(colour)) < 40).all(axis=-1)
    return np.flatnonzero(near.any(axis=1))


def test_a_better_curve_lies_higher_and_each_data_set_has_its_chart() -> None:
    good, bad = curve(0.8, 0.9), curve(0.3, 0.4)
    one = {"good": objects(ious=(good, good)), "bad": objects(ious=(bad, bad))}
    figure = draw_curves(report_of(**one))
    assert figure.width == 2 * 420, "the data set and all together"
    chart = slice(200, 400)
    assert rows_of(figure, PALETTE[0], chart).size
    assert rows_of(figure, PALETTE[1], chart).size
    assert rows_of(figure, PALETTE[0], chart).max() < rows_of(figure, PALETTE[1], chart).min()


def test_a_single_click_can_be_drawn() -> None:
    one_click = objects(ious=((0.5,), (0.7,)))
    assert draw_curves(report_of(model=one_click)).width == 840


@pytest.mark.parametrize("size", [64, 400])
def test_panels_show_outlines_and_clicks(size) -> None:
    truth = disc(size, 30, 34, 12)
    pixels = np.full((size, size, 3), 255, np.uint8)
    run = run_clicks(
        WholeImage(AnsweringSegmenter(squares), painted(truth.astype(np.uint8))).start(),
        truth,
        max_clicks=10,
        keep=(1, 5, 10),
    )
    figure = np.asarray(draw_cases([Case("a case", pixels, truth, run)]))
    assert figure.shape[1] == 3 * 308 + 8
    first, last = figure[:, :316], figure[:, -308:]
    for colour in ((255, 221, 0), (0, 158, 255), (0, 200, 80)):
        assert (first == colour).all(axis=-1).any()

    def clicks_in(panel: np.ndarray) -> int:
        return int((panel == (0, 200, 80)).all(axis=-1).sum() + (panel == (230, 30, 30)).all(axis=-1).sum())

    assert clicks_in(last) > 5 * clicks_in(first)


def test_a_figure_needs_a_case() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        draw_cases([])
