"""``segment --propagate``: annotations of each plane of a stack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from shapely.geometry import Point

from qupath_sam.assets import demo_slide_path
from qupath_sam.qupath.geojson import AnnotationFeature, read_geojson, write_geojson

PLANES = 4


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    file = tmp_path / "stack.ome.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (PLANES, 200, 300), np.uint8)
    tifffile.imwrite(file, pixels, ome=True, metadata={"axes": "ZYX"})
    return file


def ask(stack: Path, *more: object) -> tuple[object, ...]:
    return "segment", stack, "--model", "fake", "--propagate", "z", "--plane-iou", 0, *more


def test_a_click_is_outlined_on_its_plane_and_carried_to_the_others(qupath_sam, stack: Path, tmp_path: Path) -> None:
    out = tmp_path / "through.geojson"
    ended = qupath_sam(*ask(stack, "--z", 1, "--point", "150,100", "--class", "Tumor", "-o", out))
    assert ended.code == 0, ended.stderr
    found = read_geojson(out)
    assert [feature.z for feature in found] == [1, 2, 3, 0]
    assert {str(feature.classification) for feature in found} == {"Tumor"}
    sources = [feature.metadata.get("qupath-sam.propagated_from") for feature in found]
    assert sources == [None, *["z 1, t 0"] * 3]
    assert "outlines of 3 more planes (z 0 to 3)" in ended.stdout


def test_an_outline_is_carried_as_it_is_and_says_where_it_ends(
    qupath_sam, stack: Path, tmp_path: Path, server_address: str
) -> None:
    given, out = tmp_path / "given.geojson", tmp_path / "through.geojson"
    write_geojson(given, [AnnotationFeature(Point(150, 100).buffer(20), z=2)])
    options = "--z", 2, "--outline", given, "--planes", "1,3", "-o", out
    ended = qupath_sam(*ask(stack, *options, "--server", server_address))
    assert ended.code == 0, ended.stderr
    assert [feature.z for feature in read_geojson(out)] == [3, 1], "the outline itself is in the user's hands"
    ended = qupath_sam(*ask(stack, *options, "--plane-score", 1, "--json"))
    (carried,) = json.loads(ended.stdout)["objects"]
    assert [(plane["z"], plane["refusal"]) for plane in carried["planes"]] == [
        (3, "score too low"),
        (1, "score too low"),
    ]
    assert read_geojson(out) == []
    ended = qupath_sam(*ask(stack, *options, "--plane-score", 1))
    assert "object 1 ends before z 3: score too low" in ended.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--planes", "all"], "FIRST,LAST"),
        (["--planes", "3,3"], "do not lie around plane 1"),
        (["--plane-score", 2], "min_score"),
        (["--everything"], "--propagate"),
        (["--overlay", "drawn.png"], "--overlay"),
    ],
)
def test_what_cannot_be_done_is_said(qupath_sam, stack: Path, tmp_path: Path, more: list[object], said: str) -> None:
    out = tmp_path / "through.geojson"
    ended = qupath_sam(*ask(stack, "--z", 1, "--point", "150,100", "-o", out, *more))
    assert ended.code == 2
    assert said in ended.stderr
    assert not out.exists()


def test_it_wants_a_stack_and_a_file(qupath_sam, stack: Path, tmp_path: Path) -> None:
    ended = qupath_sam(*ask(stack, "--point", "150,100"))
    assert ended.code == 2
    assert "-o FILE" in ended.stderr
    ended = qupath_sam(*ask(demo_slide_path(), "--point", "150,100", "-o", tmp_path / "a.geojson"))
    assert ended.code == 2
    assert "one plane along z" in ended.stderr
