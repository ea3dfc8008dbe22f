"""``bench region``: its slide has no seams, and it measures what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.benchmarks.region import run, write_repeated_slide
from qupath_sam.slides.open import open_slide
from qupath_sam.types.regions import Region, Window


def test_the_slide_is_the_packaged_one_repeated_without_seams(tmp_path: Path):
    path = tmp_path / "large.tif"
    write_repeated_slide(path, 3000)
    large, small = open_slide(str(path)), open_slide(str(demo_slide_path()))
    try:
        assert (large.info.width, large.info.height, large.info.mpp) == (3000, 3000, 0.5)
        width = small.info.width
        original = small.read(Window.of(Region(width - 300, 900, 300, 300), 1.0)).astype(int)
        same, mirrored = (
            large.read(Window.of(Region(x, 900, 300, 300), 1.0)).astype(int) for x in (width - 300, width)
        )
        assert np.abs(same - original).mean() < 6, "but for the JPEG"
        assert np.abs(mirrored[:, ::-1] - original).mean() < 6
    finally:
        large.close()
        small.close()


def test_peaks_of_server_and_client_are_measured():
    (measured,) = run((1500,))["regions"].values()
    assert measured["tiles"] == 4
    assert measured["objects"] > 0
    assert measured["server_mib"] > measured["client_mib"] > 20
