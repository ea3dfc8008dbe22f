"""Objects to GeoJSON and back."""

from __future__ import annotations

import gzip
import io
import json
import math
import uuid
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import shapely
from shapely.geometry import LineString, MultiLineString, MultiPoint, Point, Polygon

from qupath_sam.errors import ProjectError
from qupath_sam.project.exchange import (
    Existing,
    export_image,
    feature_of,
    file_name,
    import_features,
    object_of,
    source_of,
)
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import ImageObject, Kind, Plane
from qupath_sam.qupath.geojson import read_geojson

IMAGE = ImageEntry("12", 'a/b: "c"?.svs', {}, 1000, 800, 0.5, Path())


def item(shape: Any, kind: Kind = Kind.ANNOTATION, **values: Any) -> ImageObject:
    return ImageObject(str(uuid.uuid4()), kind, "Polygon", shapely.to_wkb(shape), **values)


FULL = item(
    shapely.box(10, 10, 50, 50).difference(shapely.box(20, 20, 30, 30)),
    plane=Plane(-1, 3, 2),
    path_class="Tumor: Positive",
    name="ä",
    locked=True,
    color=-65536,
    measurements={"a": 0.1, "NaN": float("nan")},
    metadata={"k": "v"},
)
DETECTION = item(shapely.box(12, 12, 14, 14), Kind.DETECTION, path_class="Immune cells")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    exported = export_image(IMAGE, [FULL, DETECTION, item(Polygon())], tmp_path)
    assert (exported.objects, exported.left_out) == (2, 1)
    assert exported.path.name == "12 a_b_ _c__.svs.geojson"
    full, detection = (object_of(feature) for feature in read_geojson(source_of(IMAGE, tmp_path)))
    assert full.geometry.equals(FULL.geometry)
    assert math.isnan(full.measurements["NaN"])
    same = "object_id", "kind", "plane", "path_class", "name", "locked", "color", "metadata"
    assert [getattr(full, name) for name in same] == [getattr(FULL, name) for name in same]
    assert full.measurements["a"] == 0.1
    assert (detection.kind, detection.path_class) == (Kind.DETECTION, "Immune cells")
    assert json.loads(exported.path.read_text())["features"][0]["geometry"]["plane"] == {"c": -1, "z": 3, "t": 2}


@pytest.mark.parametrize(
    ("shape", "roi"),
    [
        (Point(21, 22), "Points"),
        (MultiPoint([(21, 22), (13, 14), (21, 22)]), "Points"),
        (LineString([(21, 22), (23, 24)]), "Line"),
        (LineString([(21, 22), (23, 24), (25, 22), (21, 22)]), "Polyline"),
        (MultiLineString([[(21, 22), (23, 24)], [(25, 22), (26, 22)]]), "Geometry"),
    ],
)
def test_points_and_lines_keep_all_that_areas_keep(shape: Any, roi: str, tmp_path: Path) -> None:
    original = replace(FULL, wkb=shapely.to_wkb(shape), measurements={"a": 0.1})
    elsewhere = item(shapely.box(0, 0, 100, 100))
    holder = replace(elsewhere, object_id=str(uuid.uuid4()), plane=original.plane)
    exported = export_image(IMAGE, [original], tmp_path)
    assert (exported.objects, exported.left_out) == (1, 0)
    proposal = import_features(IMAGE, read_geojson(source_of(IMAGE, tmp_path)), [elsewhere, holder])
    assert proposal.edit.additions == (replace(original, roi=roi, parent_id=holder.object_id, probability=ANY),)


def test_a_channel_is_kept_and_does_not_part_from_the_parent(tmp_path: Path) -> None:
    around = item(shapely.box(0, 0, 99, 99))
    stained = replace(item(shapely.box(1, 1, 9, 9)), plane=Plane(2, 0, 0))
    (read,) = read_geojson(source_of(IMAGE, export_image(IMAGE, [stained], tmp_path).path))
    (added,) = import_features(IMAGE, [read], [around]).edit.additions
    assert (added.plane, added.parent_id) == (Plane(2, 0, 0), around.object_id)


def test_nothing_lies_in_points_and_lines() -> None:
    """The same points, twice: neither holds the other, and the smallest area around holds both."""
    around = item(shapely.box(0, 0, 9, 9))
    features = [feature_of(item(MultiPoint([(1, 1), (2, 2)]))) for _ in range(2)]
    additions = import_features(IMAGE, [feature for feature in features if feature], [around]).edit.additions
    assert [added.parent_id for added in additions] == [around.object_id] * 2


def test_files_are_found_by_the_number_in_front(tmp_path: Path) -> None:
    path = export_image(IMAGE, [FULL], tmp_path).path
    path.rename(tmp_path / "12 renamed in QuPath.geojson")
    other = replace(IMAGE, name="other")
    assert len(read_geojson(source_of(other, tmp_path))) == 1
    for name, compressed in (("12 renamed.geojson.gz", gzip.compress), ("12 renamed.zip", _zipped)):
        content = source_of(other, tmp_path).read_bytes()
        source_of(other, tmp_path).unlink()
        (tmp_path / name).write_bytes(compressed(content))
        assert len(read_geojson(source_of(other, tmp_path))) == 1
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ProjectError, match="begins with '2'"):
        source_of(replace(IMAGE, entry_id="2"), tmp_path)


def _zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("renamed.geojson", content)
    return buffer.getvalue()


def test_shapes_that_are_not_valid_are_left_out() -> None:
    bow_tie = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    assert feature_of(item(bow_tie)) is None
    assert feature_of(item(Polygon())) is None
    assert feature_of(item(MultiPoint())) is None
    assert feature_of(item(LineString([(1, 1), (1, 1)]))) is None
    assert feature_of(replace(FULL, kind=Kind.TMA_CORE)) is None


def test_import_finds_the_parent_and_leaves_what_is_there(tmp_path: Path) -> None:
    region = item(shapely.box(0, 0, 500, 500))
    inner = item(shapely.box(5, 5, 100, 100))
    elsewhere = item(shapely.box(0, 0, 600, 600), plane=Plane(-1, 3, 2))
    features = read_geojson(export_image(IMAGE, [FULL, DETECTION, region], tmp_path).path)
    proposal = import_features(IMAGE, features, [region, inner, elsewhere])
    assert proposal.skipped == 1
    parents = {added.object_id: added.parent_id for added in proposal.edit.additions}
    assert parents == {FULL.object_id: elsewhere.object_id, DETECTION.object_id: inner.object_id}
    again = import_features(IMAGE, features, [region, inner, FULL, DETECTION])
    assert not again.edit
    assert again.skipped == 3
    copies = import_features(IMAGE, features, [region, inner, FULL, DETECTION], Existing.NEW_ID)
    assert len(copies.edit.additions) == 3
    assert not {added.object_id for added in copies.edit.additions} & {FULL.object_id, DETECTION.object_id}


def test_import_keeps_what_lies_in_each_other(tmp_path: Path) -> None:
    """Also where it all comes in one file, the inner ones first."""
    inner, middle, outer = (item(shapely.box(0, 0, side, side), name=str(side)) for side in (10, 20, 30))
    twin = item(shapely.box(0, 0, 20, 20))
    detection = item(shapely.box(1, 1, 3, 3), Kind.DETECTION)
    features = read_geojson(export_image(IMAGE, [detection, inner, middle, twin, outer], tmp_path).path)
    added = import_features(IMAGE, features, []).edit.additions
    parents = {addition.object_id: addition.parent_id for addition in added}
    assert parents.pop(inner.object_id) in (middle.object_id, twin.object_id)
    assert parents == {
        detection.object_id: inner.object_id,
        middle.object_id: outer.object_id,
        twin.object_id: outer.object_id,
        outer.object_id: None,
    }
    seen: set[str | None] = {None}
    for addition in added:
        assert addition.parent_id in seen, "a parent must be there before its child"
        seen.add(addition.object_id)


def test_two_features_of_one_id_do_not_clash(tmp_path: Path) -> None:
    feature = feature_of(FULL)
    assert feature is not None
    assert import_features(IMAGE, [feature, feature], []).skipped == 1


@pytest.mark.parametrize("name", ["CON", "a" * 300, "..", "x\ny", "Grün.ndpi"])
def test_file_names_work_everywhere(name: str, tmp_path: Path) -> None:
    path = tmp_path / file_name(replace(IMAGE, name=name))
    path.write_text("")
    assert path.parent == tmp_path
    assert path.name.startswith("12 ")
