"""Where a slide shows glass."""

from __future__ import annotations

import numpy as np
import pytest
from shapely.geometry import box

from qupath_sam.slides import tissue
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.slides.tissue import estimate_tissue
from qupath_sam.types.regions import Region
from qupath_sam.types.service import PixelFormat

#: Level-0 px of a slide of 1.5 x 1 mm at .5 um/px, and of the tissue and the lumen in its middle.
WIDTH, HEIGHT, TISSUE, LUMEN = 3000, 2000, (600, 400, 2400, 1600), (1300, 800, 1700, 1200)


def section(background: int = 243) -> np.ndarray:
    """Return pixels of one piece of tissue with a white lumen."""
    noise = np.random.default_rng(0).integers(-4, 5, (HEIGHT, WIDTH, 1))
    pixels = np.full((HEIGHT, WIDTH, 3), background, np.int16)
    for (left, top, right, bottom), colour in ((TISSUE, (200, 120, 180)), (LUMEN, (245, 244, 245))):
        pixels[top:bottom, left:right] = colour
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def slide() -> PushedReader:
    return PushedReader.of_image(section(), 0.5)


def test_glass_is_white_outside_of_tissue_and_not_in_its_lumen(slide: PushedReader) -> None:
    estimate = estimate_tissue(slide)
    assert estimate is not None
    assert estimate.glass.shape == (341, 512)
    left, top, right, bottom = TISSUE
    assert estimate.tissue_area == pytest.approx((right - left) * (bottom - top), rel=0.02)
    assert [estimate.is_glass(*at) for at in ((100, 100), (700, 500), (1500, 1000), (-5, 100))] == [
        True,
        False,
        False,
        False,
    ]


def test_the_share_of_an_outline_on_glass(slide: PushedReader) -> None:
    estimate = estimate_tissue(slide)
    assert estimate is not None
    assert estimate.glass_share(box(0, 0, 600, 2000)) > 0.98
    assert estimate.glass_share(box(0, 600, 1200, 1400)) == pytest.approx(0.5, abs=0.02)
    assert estimate.glass_share(box(*LUMEN)) == 0
    assert estimate.glass_share(box(10, 10, 20, 20)) == 0, "too small to be judged by the picture"


def test_pale_tissue_is_no_glass_beside_a_dark_stain() -> None:
    pixels = section()
    left, top, right, bottom = TISSUE
    pixels[top:bottom, left:right] = (215, 205, 220)
    pixels[900:1100, 1400:1600] = (120, 70, 40)  # a strong reaction, from which Otsu's threshold parts the rest
    estimate = estimate_tissue(PushedReader.of_image(pixels, 0.5))
    assert estimate is not None
    assert estimate.tissue_area == pytest.approx((right - left) * (bottom - top), rel=0.02)
    assert estimate.is_glass(100, 100)
    assert not estimate.is_glass(left + 100, top + 100)


def test_a_part_of_a_slide_does_not_say_what_is_glass() -> None:
    left, top, right, bottom = 1500, 400, 2400, 1600
    part = np.ascontiguousarray(section()[top:bottom, left:right])  # its left edge cuts the lumen
    reader = PushedReader(
        part.tobytes(),
        pixel_format=PixelFormat.RGB,
        size=(right - left, bottom - top),
        region=Region(left, top, right - left, bottom - top),
        image_size=(WIDTH, HEIGHT),
        mpp=0.5,
    )
    assert estimate_tissue(reader) is None


def test_black_and_grey_are_no_glass() -> None:
    dark = estimate_tissue(PushedReader.of_image(section(background=8), 0.5))
    assert dark is not None
    assert not dark.glass.any()
    grey = np.full((600, 600, 3), 240, np.uint8)
    assert estimate_tissue(PushedReader.of_image(grey, 0.5)) is None


def test_a_slide_of_which_too_much_would_be_read_has_no_estimate(
    slide: PushedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tissue, "MOST_READ_PX", WIDTH * HEIGHT - 1)
    assert estimate_tissue(slide) is None
