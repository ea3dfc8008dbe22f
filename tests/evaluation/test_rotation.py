"""Answers of the eight views are compared in the frame of the plain one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from qupath_sam.evaluation.rotation import agreement_of_views
from qupath_sam.evaluation.sessions import Answer
from qupath_sam.types.prompts import Label


class _Image:
    """Answers with the dark pixels, or with the part of them above the click."""

    def __init__(self, pixels: NDArray[np.uint8], *, above: bool) -> None:
        self._dark = pixels[..., 0] < 128
        self._above = above

    def start(self) -> _Image:
        return self

    def click(self, point: tuple[float, float], label: Label) -> Answer:
        assert label is Label.POSITIVE
        column, row = int(point[0]), int(point[1])
        assert self._dark[row, column]
        mask = self._dark.copy()
        if self._above:
            mask[row + 1 :] = False
        return Answer(mask, 0.0)


@pytest.fixture
def disc() -> NDArray[np.bool_]:
    rows, columns = np.indices((60, 90))
    return (rows - 25) ** 2 + (columns - 50) ** 2 < 15.5**2


def agreement(disc: NDArray[np.bool_], *, above: bool) -> float:
    pixels = np.where(disc, 40, 220).astype(np.uint8)[..., None].repeat(3, axis=2)
    (value,) = agreement_of_views(lambda view: _Image(view, above=above), pixels, [disc])  # type: ignore[arg-type, return-value]
    return value


def test_the_same_answer_in_every_view_is_whole_agreement(disc: NDArray[np.bool_]) -> None:
    assert agreement(disc, above=False) == 1


def test_an_answer_that_hangs_on_the_orientation_is_not(disc: NDArray[np.bool_]) -> None:
    # Half discs of four directions, each twice: 4 equal pairs, 8 opposite (a row in common), 16 quarters (1 in 3).
    assert agreement(disc, above=True) == pytest.approx((4 + 16 / 3) / 28, abs=0.06)
