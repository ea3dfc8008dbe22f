"""The scales of an image and the half-window grid."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qupath_sam.engine.windows import Scales
from qupath_sam.errors import InvalidRegion, RequestTooLarge
from qupath_sam.models.spec import Family, default_capabilities, default_mpp
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import WindowRequest


def make_scales(
    width: int = 100_000, height: int = 80_000, *, mpp: float | None = 0.25, input_size: int = 256, finest: float = 1.0
) -> Scales:
    return Scales.of(
        extent=Region(0, 0, width, height),
        mpp=mpp,
        input_size=input_size,
        default_mpp=1.0,
        finest_downsample=finest,
    )


def test_rungs_are_powers_of_two_between_the_finest_and_coarsest_pixel_size():
    assert make_scales(mpp=0.25).downsamples == (0.5, 1, 2, 4, 8, 16, 32)
    assert make_scales(mpp=0.5).downsamples == (0.25, 0.5, 1, 2, 4, 8, 16)


def test_a_small_image_ends_the_scales_where_one_window_covers_it():
    assert make_scales(2220, 2967, mpp=None).downsamples[-1] == 16
    assert make_scales(200, 200, mpp=0.25).downsamples[-1] == 1


def test_without_a_pixel_size_the_scales_work_in_downsamples():
    scales = make_scales(mpp=None)
    assert scales.default_downsample == 2
    assert scales.downsamples[0] == 0.25
    with pytest.raises(InvalidRegion, match="no pixel size"):
        scales.for_request(WindowRequest(mpp=0.5))
    assert scales.for_request(WindowRequest(downsample=3)) == 3


def test_pushed_pixels_are_enlarged_no_further_than_slides():
    assert make_scales(4000, 4000, mpp=None, finest=4.0).downsamples[0] == 1


def test_the_default_scale_is_the_models_own():
    assert make_scales(mpp=0.25).default_downsample == 4
    assert make_scales(mpp=0.5).default_downsample == 2


@pytest.mark.parametrize(("width", "height", "expected"), [(224, 224, 1), (320, 256, 1), (512, 512, 2), (9000, 700, 2)])
def test_a_small_image_is_first_seen_whole_and_no_smaller(width: int, height: int, expected: float) -> None:
    scales = Scales.of(extent=Region(0, 0, width, height), mpp=None, input_size=256, default_mpp=1.0)
    assert scales.default_downsample == expected


def test_a_box_takes_the_rung_at_which_it_fills_half_the_window():
    scales = make_scales()
    assert scales.for_object(128) == 1
    assert scales.for_object(256) == 2
    assert scales.for_object(1024) == 8


def test_the_view_decides_where_there_is_no_box():
    scales = make_scales()
    assert scales.first(object_extent=None, view_downsample=4) == 8
    assert scales.first(object_extent=None, view_downsample=0) == scales.default_downsample
    assert make_scales(input_size=1024).first(object_extent=None, view_downsample=4) == 2


points = st.tuples(st.floats(0, 99_999.99), st.floats(0, 79_999.99))
downsamples = st.sampled_from(make_scales().downsamples)


@given(point=points, downsample=downsamples)
def test_a_window_holds_its_point_in_the_middle_half_or_at_the_images_border(point, downsample):
    scales = make_scales()
    window = scales.window_at(*point, downsample)
    region = window.region
    assert region.contains(*point)
    assert scales.extent.encloses(region)
    assert (window.width, window.height) == (256, 256)
    for position, low, side, first, last in (
        (point[0], region.x, region.width, scales.extent.x, scales.extent.right),
        (point[1], region.y, region.height, scales.extent.y, scales.extent.bottom),
    ):
        if first < low and low + side < last:
            assert side / 4 <= position - low <= 3 * side / 4


@given(point=points, downsample=downsamples)
def test_windows_lie_on_the_half_window_grid(point, downsample):
    scales = make_scales()
    region = scales.window_at(*point, downsample).region
    half = region.width // 2
    for low, side, last in (
        (region.x, region.width, scales.extent.right),
        (region.y, region.height, scales.extent.bottom),
    ):
        assert low % half == 0 or low + side == last


def test_neighbouring_clicks_share_a_window():
    scales = make_scales()
    near = {scales.window_at(10_000 + dx, 10_000 + dy, 4) for dx in range(0, 100, 20) for dy in range(0, 100, 20)}
    assert len(near) == 1


boxes = st.tuples(st.floats(0, 90_000), st.floats(0, 70_000), st.floats(1, 8_000), st.floats(1, 8_000)).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], 100_000), min(b[1] + b[3], 80_000))
)


@given(bounds=boxes)
def test_the_window_round_a_box_holds_it_unless_no_scale_is_coarser(bounds):
    scales = make_scales()
    start = scales.for_object(max(bounds[2] - bounds[0], bounds[3] - bounds[1]))
    window = scales.window_around(bounds, start)
    region = window.region
    if window.downsample < scales.downsamples[-1]:
        assert region.x <= bounds[0]
        assert region.y <= bounds[1]
        assert region.right >= bounds[2]
        assert region.bottom >= bounds[3]


def test_an_image_smaller_than_the_window_starts_at_its_corner():
    window = make_scales(100, 80, mpp=None).window_at(50, 40, 1)
    assert window == Window(Region(0, 0, 256, 256), 256, 256)


@pytest.mark.parametrize(
    ("width", "height", "downsample", "side", "px"),
    [
        (224, 224, 0.25, 224, 896),
        (896, 640, 1, 896, 896),
        (897, 640, 2, 898, 449),
        (1400, 900, 1, 1024, 1024),
        (1400, 900, 0.5, 512, 1024),
    ],
)
def test_with_a_large_input_a_window_is_no_larger_than_the_image(
    width: int, height: int, downsample: float, side: int, px: int
) -> None:
    """White beyond a small image cost first clicks on glands .08 of their IoU."""
    scales = make_scales(width, height, mpp=None, input_size=1024)
    middle = width / 2, height / 2
    seen = [
        scales.window_at(*middle, downsample),
        scales.window_around((*middle, *middle), downsample),
        *scales.windows_holding((*middle, *middle), downsample, margin_share=0),
        *scales.windows_in_view(scales.extent, downsample, middle),
    ]
    assert {(window.region.width, window.region.height) for window in seen} == {(side, side)}
    assert {(window.width, window.height, window.downsample) for window in seen} == {(px, px, downsample)}
    assert all(window.region.x == 0 or window.region.right <= width for window in seen)


def test_with_a_large_input_a_small_image_is_first_seen_by_halves() -> None:
    """Whole tiles of glands gave first clicks of .41, halves of them .55."""
    for width, expected in ((224, 0.25), (512, 0.25), (1024, 0.5), (40_000, 0.5)):
        scales = Scales.of(extent=Region(0, 0, width, width), mpp=None, input_size=1024, default_mpp=0.25)
        assert scales.default_downsample == expected


@pytest.mark.parametrize(("view", "near", "far"), [(1, 1, 0.5), (2, 2, 1), (4, 4, 4), (8, 8, 8)])
def test_with_a_large_input_a_far_view_is_seen_at_its_own_scale(view: float, near: float, far: float) -> None:
    """At 2 um per screen px a window holds several regions: a third of the encodes, and answers as good."""
    wide = make_scales(mpp=0.5, input_size=1024)
    assert wide.first(object_extent=None, view_downsample=view) == far
    assert make_scales(mpp=0.5, input_size=512).first(object_extent=None, view_downsample=view) == near


def test_windows_without_a_hint_span_200_to_256_um() -> None:
    for family in Family:
        span = default_mpp(family) * default_capabilities(family).input_size
        assert 200 <= span <= 256, family


def test_the_callers_window_is_taken_as_it_is():
    scales = make_scales()
    region = Region(-10, 5, 300, 200)
    assert scales.explicit(WindowRequest(region=region, downsample=2)) == Window(region, 150, 100)
    assert scales.explicit(WindowRequest(region=region, mpp=0.5)) == Window(region, 150, 100)
    assert scales.explicit(WindowRequest(region=region)) == Window(region, 256, 171)
    assert scales.explicit(WindowRequest()) is None


def test_impossible_windows_are_refused():
    scales = make_scales()
    with pytest.raises(InvalidRegion, match="outside the image"):
        scales.explicit(WindowRequest(region=Region(200_000, 0, 10, 10)))
    with pytest.raises(RequestTooLarge, match="larger downsample"):
        scales.explicit(WindowRequest(region=Region(0, 0, 50_000, 50_000), downsample=1))
    for bad in (0, -1, math.nan, math.inf):
        with pytest.raises(InvalidRegion, match="positive"):
            WindowRequest(downsample=bad)
    with pytest.raises(InvalidRegion, match="not both"):
        WindowRequest(downsample=1, mpp=1)


def test_the_windows_in_view_are_those_that_clicks_use_nearest_first():
    scales = make_scales()
    view = Region(10_000, 10_000, 3000, 2000)
    windows = scales.windows_in_view(view, 4, (11_000, 11_000))
    used = {scales.window_at(x + 0.5, y + 0.5, 4) for x in range(10_000, 13_000, 37) for y in range(10_000, 12_000, 37)}
    assert used == set(windows)
    assert windows[0].region.contains(11_000, 11_000)
    assert scales.windows_in_view(Region(-500, -500, 100, 100), 4, (0, 0)) == []


@given(
    x=st.integers(-500, 99_000), y=st.integers(-500, 79_000), width=st.integers(1, 6_000), height=st.integers(1, 6_000),
    focus=st.tuples(st.floats(-1e4, 1.2e5), st.floats(-1e4, 1e5)), limit=st.integers(1, 40),
    downsample=st.sampled_from([1.0, 2.0, 3.7, 16.0]),
)  # fmt: skip
@settings(max_examples=60)
def test_the_nearest_windows_are_the_beginning_of_all_of_them(x, y, width, height, focus, limit, downsample):
    scales, view = make_scales(), Region(x, y, width, height)

    def distances(windows):
        return [
            math.hypot(w.region.x + w.region.width / 2 - focus[0], w.region.y + w.region.height / 2 - focus[1])
            for w in windows
        ]

    everything = scales.windows_in_view(view, downsample, focus)
    nearest = scales.windows_in_view(view, downsample, focus, limit=limit)
    assert set(nearest) <= set(everything)
    assert len(set(nearest)) == min(limit, len(everything))
    assert distances(nearest) == pytest.approx(distances(everything)[:limit])


def test_the_nearest_windows_of_a_vast_view_take_no_time():
    scales = make_scales(2**31 - 1, 2**31 - 1, mpp=None)
    whole = scales.extent
    for focus in ((1e9, 1e9), (0, 0), (1e308, -1e308)):
        assert len(scales.windows_in_view(whole, 1 / 128, focus, limit=1024)) == 1024


def test_a_view_from_very_far_takes_the_coarsest_rung():
    scales = make_scales()
    assert scales.first(object_extent=None, view_downsample=1e308) == scales.downsamples[-1]
    assert scales.first(object_extent=None, view_downsample=1e-320) == scales.downsamples[0]
