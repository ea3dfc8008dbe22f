"""``bench region``: its slide has no seams, and it measures memory and speed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.benchmarks.region import run, write_repeated_slide
from qupath_sam.slides.open import open_slide
from qupath_sam.types.regions import Region, Window
from tests.evaluation.test_automatic import model as automatic_model


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


def test_the_price_of_a_tile_is_told_beside_its_bare_encode(qupath_sam, monkeypatch: pytest.MonkeyPatch):
    for place in ("qupath_sam.engine.build", "qupath_sam.cli.benchmarks.region_speed"):
        monkeypatch.setattr(f"{place}.load_segmenter", lambda name, **_: automatic_model())
    ended = qupath_sam("bench", "region", "--speed", "--side", 300, "--model", "fake", "--json")
    assert ended.code == 0, ended.stderr
    speed = json.loads(ended.stdout)["speed"]
    assert list(speed) == ["bare encode", "fast", "best"]
    assert speed["bare encode"]["of_bare_encode"] == 1
    assert speed["fast"]["tiles"] == speed["best"]["tiles"] == speed["bare encode"]["tiles"] > 4
    assert speed["fast"]["of_bare_encode"] > 1, "the head and the tracing cost something"
    assert speed["fast"]["objects"] > 0
    refused = qupath_sam("bench", "region", "--model", "fake")
    assert "--speed" in refused.stderr
