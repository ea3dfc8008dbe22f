"""The slide that ships."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from qupath_sam.assets import demo_slide_path
from qupath_sam.slides import open_slide
from qupath_sam.types.regions import Region, Window


def test_its_levels_and_pixel_size() -> None:
    with closing(open_slide(demo_slide_path())) as reader:
        assert (reader.info.width, reader.info.height) == (2220, 2967)
        assert [level.downsample for level in reader.info.levels] == [1, 2, 4, 8]
        assert reader.info.mpp == pytest.approx(0.499, rel=1e-6)


def test_it_is_small() -> None:
    assert demo_slide_path().stat().st_size < 2_500_000


def test_openslide_and_so_qupath_read_the_same() -> None:
    openslide = pytest.importorskip("openslide")
    with openslide.OpenSlide(demo_slide_path()) as slide, closing(open_slide(demo_slide_path())) as reader:
        assert slide.level_count == 4
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.499)
        theirs = np.asarray(slide.read_region((500, 700), 0, (600, 400)))[:, :, :3]
        np.testing.assert_array_equal(reader.read(Window(Region(500, 700, 600, 400), 600, 400)), theirs)


def test_level_0_is_the_source(shared_data: Path) -> None:
    window = Window(Region(0, 0, 2220, 2967), 2220, 2967)
    with (
        closing(open_slide(demo_slide_path())) as demo,
        closing(open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs")) as source,
    ):
        np.testing.assert_array_equal(demo.read(window), source.read(window))
