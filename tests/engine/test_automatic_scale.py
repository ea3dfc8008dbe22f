"""The scale is found by looking: from any start the median object gets the size that the head is made for."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.engine.automatic.objects import DenseObject
from qupath_sam.engine.automatic.scale import TOLERANCE, suited_downsample

WANTED_DIAMETER = 26.0


def seen(diameter: float, count: int = 8, score: float = 0.9) -> list[DenseObject]:
    side = max(1, round(diameter * np.sqrt(np.pi) / 2))
    return [DenseObject(np.ones((side, side), bool), (0, 0), score, (1, 1), 0.0, 1.0) for _ in range(count)]


@pytest.mark.parametrize("level0_diameter", [7.0, 13.0, 26.0, 60.0, 100.0])
def test_the_median_object_gets_the_wanted_size(level0_diameter: float) -> None:
    def look(downsample: float) -> list[DenseObject]:
        size = level0_diameter / downsample
        # What is far from the size that the head knows it does not see.
        return seen(size) if 6 < size < 110 else []

    found = suited_downsample(look, start=1.0, limits=(0.1, 16.0), wanted=WANTED_DIAMETER)
    assert found is not None
    assert level0_diameter / found * 1.02 >= WANTED_DIAMETER / TOLERANCE
    assert level0_diameter / found <= WANTED_DIAMETER * TOLERANCE * 1.02


def test_specks_do_not_outvote_nuclei() -> None:
    looks: list[float] = []

    def look(downsample: float) -> list[DenseObject]:
        looks.append(downsample)
        return [*seen(26, 5), *seen(3, 40)]

    assert suited_downsample(look, start=2.0, limits=(0.5, 8.0), wanted=WANTED_DIAMETER) == 2.0
    assert looks == [2.0]


def test_where_nothing_is_seen_nothing_is_said() -> None:
    assert suited_downsample(lambda _: [], start=1.0, limits=(0.5, 8.0), wanted=WANTED_DIAMETER) is None
    assert (
        suited_downsample(lambda _: seen(26, 20, score=0.2), start=1.0, limits=(0.5, 8.0), wanted=WANTED_DIAMETER)
        is None
    )


def test_the_limits_hold() -> None:
    asked: list[float] = []

    def look(downsample: float) -> list[DenseObject]:
        asked.append(downsample)
        return seen(400)

    assert suited_downsample(look, start=1.0, limits=(0.5, 3.0), wanted=WANTED_DIAMETER) == 3.0
    assert max(asked) <= 3.0
