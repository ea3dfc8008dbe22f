"""Levels and pixel sizes as QuPath understands them."""

from __future__ import annotations

import math

import pytest

from qupath_sam.slides.pyramid import choose_level, estimate_downsample, levels_of, plausible_mpp


@pytest.mark.parametrize(
    ("full", "level", "downsample"),
    [
        ((300, 250), (300, 250), 1.0),
        ((300, 250), (75, 62), 4.0),  # rounded down: OpenSlide says 4.016
        ((300, 250), (37, 31), 8.0),
        ((2220, 2967), (1110, 1484), 2.0),  # rounded up
        ((46000, 32914), (11500, 8228), 4.0),
        ((46000, 32914), (2875, 2057), 16.0),
        ((90000, 60000), (30000, 20000), 3.0),
        ((10000, 10000), (1000, 1001), 10.0),
        ((1000, 1000), (400, 400), 2.5),
        ((1000, 1000), (250, 240), 4.0),  # one side a power of two
        ((3000, 3000), (2000, 2500), 1.35),  # nonsense: the mean
    ],
)
def test_estimate_downsample(full: tuple[int, int], level: tuple[int, int], downsample: float) -> None:
    assert estimate_downsample(full, level) == pytest.approx(downsample)


@pytest.mark.parametrize(
    ("wanted", "level"), [(0.3, 0), (1.0, 0), (3.95, 0), (3.97, 1), (4, 1), (15, 1), (16, 2), (1e9, 2)]
)
def test_choose_level(wanted: float, level: int) -> None:
    assert choose_level((1.0, 4.0, 16.0), wanted) == level


def test_a_repeated_level_is_no_trouble() -> None:
    assert [level.downsample for level in levels_of([(100, 80), (100, 80), (50, 40)])] == [1, 1, 2]


@pytest.mark.parametrize(
    ("across", "down", "mpp"), [(0.499, 0.499, 0.499), (0.4, 0.6, 0.5), (50, 50, 50), (0.05, 0.05, 0.05)]
)
def test_plausible_mpp(across: float, down: float, mpp: float) -> None:
    assert plausible_mpp(across, down) == (pytest.approx(mpp), "")


@pytest.mark.parametrize("mpp", [352.8, 0.0, -0.5, 1e-9, 50.1])
def test_implausible_mpp_is_told(mpp: float) -> None:
    believed, remark = plausible_mpp(mpp, mpp)
    assert believed is None
    assert f"{mpp:.4g} um" in remark


@pytest.mark.parametrize("mpp", [None, math.nan, math.inf])
def test_no_mpp_needs_no_remark(mpp: float | None) -> None:
    assert plausible_mpp(mpp, mpp) == (None, "")
