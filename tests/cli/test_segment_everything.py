"""``segment --everything``: detections in a file that is whole at any time, and that a second run finishes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from shapely.geometry import Point, box

from qupath_sam import LocalClient
from qupath_sam.assets import demo_slide_path
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.errors import InvalidRequest
from qupath_sam.qupath.geojson import AnnotationFeature, read_geojson, write_geojson
from qupath_sam.qupath.geojson.streaming import GrowingGeoJson
from tests.engine.test_like import PALE, PURPLE, disc, scene

SLIDE = demo_slide_path()
ASK = "segment", SLIDE, "--everything", "--model", "fake", "--spacing", 20, "--min-stability", 0.5
REGION = "--region", "1000,1000,260,260"


def features(path: Path) -> list[AnnotationFeature]:
    return sorted(read_geojson(path), key=lambda each: each.geometry.wkt)


def test_objects_of_a_region_become_detections(qupath_sam, tmp_path: Path):
    out = tmp_path / "cells.geojson"
    ended = qupath_sam(*ASK, *REGION, "--class", "Tumor", "-o", out, "--json")
    assert ended.code == 0, ended.stderr
    found = features(out)
    assert len(found) == json.loads(ended.stdout)["objects"] > 3
    kinds = {(f.object_type.value, str(f.classification)) for f in found}
    assert kinds == {("detection", "Tumor")}
    assert all(f.measurements["Area µm^2"] > 0 and 0 < f.measurements["SAM score"] <= 1 for f in found)
    assert {path.name for path in tmp_path.iterdir()} == {"cells.geojson"}


def test_what_is_found_lies_on_the_plane_that_was_looked_at(qupath_sam, tmp_path: Path):
    slide, out = tmp_path / "discs.ome.tif", tmp_path / "found.geojson"
    planes = np.stack([scene([PURPLE, PALE])] * 3)
    tifffile.imwrite(slide, planes, ome=True, photometric="rgb", metadata={"axes": "ZYXS"}, tile=(128, 128))
    everything = "--everything", "--search-background", *ASK[-4:]
    for ask in (everything, ("--point", "200,200")):
        ended = qupath_sam("segment", slide, "--z", 2, "--model", "fake", *ask, "-o", out)
        assert ended.code == 0, ended.stderr
        found = features(out)
        assert found
        assert {(each.z, each.t) for each in found} == {(2, 0)}
    with LocalClient(EngineSettings(model="fake", device="cpu")) as local:
        local.open(slide, z=1).segment_many([(180, 180, 220, 220)]).to_geojson(out)
    assert [each.z for each in features(out)] == [1]


def test_a_name_is_refused(qupath_sam, tmp_path: Path):
    ended = qupath_sam(*ASK, *REGION, "--name", "cell", "-o", tmp_path / "cells.geojson")
    assert ended.code != 0
    assert "--name" in str(ended.stderr or ended.error)


def test_a_stopped_run_leaves_a_whole_file_and_goes_on(qupath_sam, tmp_path: Path, monkeypatch):
    stop_and_go_on(qupath_sam, tmp_path, monkeypatch, ASK)


def test_so_does_a_stopped_run_by_examples(qupath_sam, tmp_path: Path, monkeypatch):
    examples, others, slide = (tmp_path / name for name in ("examples", "others", "discs.tif"))
    write_geojson(examples, [AnnotationFeature(disc(2, 1))])
    write_geojson(others, [AnnotationFeature(disc(2, 2))])
    pixels = scene([PURPLE, PALE])
    tifffile.imwrite(slide, pixels, photometric="rgb", tile=(128, 128), resolution=(20000, 20000), resolutionunit=3)
    ask = "segment", slide, "--everything", "--search-background", "--model", "fake", "--effort", "fast"
    place = f"0,0,{pixels.shape[1]},{pixels.shape[0]}"
    stop_and_go_on(
        qupath_sam, tmp_path, monkeypatch, (*ask, "--like", examples), place=place, other=(*ask, "--like", others)
    )


def stop_and_go_on(
    qupath_sam, tmp_path: Path, monkeypatch, ask: tuple, *, place: str = REGION[1], other: tuple = ()
) -> None:
    """Stop a run, and hold its file and that of the run that goes on against one of a run that nobody stops.

    Args:
        ask: the command without region and output.
        place: what ``--region`` says.
        other: a command that must not go on with it.
    """
    region, of_class = ("--region", place), ("--class", "Tumor: Positive")
    before = {path.name for path in tmp_path.iterdir()}
    whole, out = tmp_path / "whole.geojson", tmp_path / "cells.geojson"
    assert qupath_sam(*ask, *region, "-o", whole).code == 0
    segment_region = LocalClient.segment_region
    monkeypatch.setattr("qupath_sam.engine.region.run.TILES_PER_TOKEN", 3)

    def stopped(*arguments, **options):
        for index, batch in enumerate(segment_region(*arguments, **options)):
            if index == 7:
                raise InvalidRequest("the lights go out; wait")
            yield batch

    with monkeypatch.context() as patched:
        patched.setattr(LocalClient, "segment_region", stopped)
        ended = qupath_sam(*ask, *region, *of_class, "-o", out)
    assert ended.code != 0
    assert "--resume goes on" in ended.stderr
    part = tmp_path / "cells.geojson.part"
    assert 0 < len(features(part)) < len(features(whole)), "what is found so far can be imported"
    assert not out.exists()

    again = qupath_sam(*ask, *region, "-o", out)
    assert again.code != 0
    assert "--resume" in again.stderr, "an earlier run's work is not thrown away unseen"
    for wrong in ((*ask, "--region", "0,0,300,300"), *([(*other, *region)] if other else [])):
        ended = qupath_sam(*wrong, *of_class, "-o", out, "--resume")
        assert ended.code != 0
        assert "another request" in ended.stderr
    kept = part.read_bytes()
    for wrong, says in ((("--class", "Stroma"), "--class 'Tumor: Positive'"), ((), "the class Tumor: Positive")):
        ended = qupath_sam(*ask, *region, *wrong, "-o", out, "--resume")
        assert ended.code != 0
        assert says in ended.stderr
    assert part.read_bytes() == kept, "what is refused changes nothing"

    ended = qupath_sam(*ask, *region, *of_class, "-o", out, "--resume")
    assert ended.code == 0, ended.stderr
    assert {str(f.classification) for f in features(out)} == {"Tumor: Positive"}
    assert [f.geometry.wkt for f in features(out)] == [f.geometry.wkt for f in features(whole)]
    assert {path.name for path in tmp_path.iterdir()} == before | {"cells.geojson", "whole.geojson"}


def test_inside_outlines_and_on_a_server(qupath_sam, server_address: str, tmp_path: Path):
    outlines, here, there = (tmp_path / name for name in ("inside.geojson", "here.geojson", "there.geojson"))
    write_geojson(
        outlines, [AnnotationFeature(box(1000, 1000, 1100, 1120)), AnnotationFeature(box(1080, 1100, 1180, 1180))]
    )
    ask = *ASK, "--inside", outlines, "--cut"
    assert qupath_sam(*ask, "-o", here).code == 0
    assert qupath_sam(*ask, "-o", there, "--server", server_address).code == 0
    assert [f.geometry.wkt for f in features(here)] == [f.geometry.wkt for f in features(there)]
    inside = box(1000, 1000, 1100, 1120).union(box(1080, 1100, 1180, 1180)).buffer(0.02)
    assert all(inside.covers(f.geometry) for f in features(here))


def test_examples_are_outlines_and_points_and_their_likeness_is_written(qupath_sam, tmp_path: Path):
    like, unlike, out = (tmp_path / name for name in ("like.geojson", "unlike.geojson", "out.geojson"))
    write_geojson(like, [AnnotationFeature(Point(1227, 916).buffer(12)), AnnotationFeature(Point(1100, 1100))])
    write_geojson(unlike, [AnnotationFeature(Point(1180, 1180).buffer(10))])
    ask = "segment", SLIDE, "--everything", "--model", "fake", "--effort", "fast", *REGION, "-o", out
    ended = qupath_sam(*ask, "--like", like, "--unlike", unlike, "--like-threshold", 0.1, "--json")
    assert ended.code == 0, ended.stderr
    found = features(out)
    assert found
    assert all(0.1 <= f.measurements["SAM likeness"] <= 1 for f in found)
    assert any("the examples suggest" in remark for remark in json.loads(ended.stdout)["remarks"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "-o FILE"),
        (("-o", "out.geojson", "--resume"), "leave --resume out"),
        (("-o", "out.geojson", "--point", "1,1"), "places the prompts itself"),
        (("-o", "out.geojson", "--unlike", SLIDE), "--like"),
        (("-o", "out.geojson", "--prompting", "automatic"), "grid"),
    ],
)
def test_what_does_not_go_together_is_said(qupath_sam, tmp_path: Path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    ended = qupath_sam(*ASK, *REGION, *options)
    assert ended.code != 0
    assert says in ended.stderr


def test_a_growing_file_is_whole_after_every_batch(tmp_path: Path):
    path = tmp_path / "grows.geojson"
    with GrowingGeoJson(path) as file:
        assert read_collection_size(path) == 0
        for count in (1, 3):
            file.append(AnnotationFeature(box(i, 0, i + 1, 1)) for i in range(count))
        assert read_collection_size(path) == 4
        offset = file.offset
        file.append([AnnotationFeature(box(9, 9, 10, 10))])
    with GrowingGeoJson(path, offset=offset) as file:
        assert read_collection_size(path) == 4, "what came after the token is dropped"
        file.append([AnnotationFeature(box(9, 9, 10, 10))])
    assert read_collection_size(path) == 5
    with pytest.raises(InvalidRequest):
        GrowingGeoJson(path, offset=10**9)


def read_collection_size(path: Path) -> int:
    return len(json.loads(path.read_text("ascii"))["features"])
