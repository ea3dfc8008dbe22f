"""The demo as its reader runs it, and the server process that it stands on."""

from __future__ import annotations

import subprocess
import sys

import pytest
import shapely
from PIL import Image

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.demo_scene import demo_for, packaged_demo
from qupath_sam.client import SamClient
from qupath_sam.client.process import server_process
from qupath_sam.errors import ServerUnavailable
from qupath_sam.qupath.geojson import read_geojson
from qupath_sam.slides.open import open_slide


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [[], ["--model", "fake", "--slide", str(demo_slide_path())]], ids=["own", "other"]
)
def test_it_writes_annotations_and_a_picture(tmp_path, arguments) -> None:
    output = tmp_path / "mit Umlaut ä"
    done = subprocess.run(
        [sys.executable, "-m", "qupath_sam", "demo", "--output", str(output), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in output.iterdir()) == ["annotations.geojson", "overlay.png"]
    features = read_geojson(output / "annotations.geojson")
    assert len(features) >= 2
    assert all(f.measurements["Area µm^2"] > 0 and 0 <= f.measurements["SAM score"] <= 1 for f in features)
    with Image.open(output / "overlay.png") as picture:
        colors = picture.convert("RGB").resize((64, 64)).getcolors(64 * 64)
    assert colors is not None
    assert len(colors) > 100
    assert "note: " in done.stdout  # what the model's own entry says of it
    assert "µm²" in done.stdout


def test_its_prompts_are_clicks_boxes_and_an_outline_inside_the_slide() -> None:
    reader = open_slide(demo_slide_path())
    try:
        for demo in (packaged_demo(), demo_for(reader)):
            kinds = " ".join(item.kind for item in demo.objects)
            assert all(kind in kinds for kind in ("box", "outline", "click"))
            assert len({item.name for item in demo.objects}) == len(demo.objects)
            for item in demo.objects:
                item.prompts.check_inside(reader.info.extent)
                seen = shapely.box(*item.prompts.bounds)
                assert any(shapely.box(*view.region.bounds).intersects(seen) for view in demo.views)
    finally:
        reader.close()


def test_a_server_process_answers_and_ends_with_its_block() -> None:
    with server_process(["--model", "fake"]) as address, SamClient(address) as client:
        assert client.capabilities().default_model == "fake"
    with SamClient(address) as client:
        assert not client.is_serving(timeout_s=1.0)


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(ServerUnavailable, match="no_such_model"), server_process(["--model", "no_such_model"]):
        pass
