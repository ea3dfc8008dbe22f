"""A lab's own annotations: each one object, whole, once, in the right place and at a fitting scale."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from qupath_sam.datasets import open_dataset
from qupath_sam.datasets.annotated import TILE_PX, AnnotationChoices, _Frame, _shared
from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.objects import Selection
from qupath_sam.datasets.options import Target
from qupath_sam.errors import InvalidRequest
from qupath_sam.training.data import training_data
from qupath_sam.types.regions import Region
from tests.datasets.test_slide_datasets import write_tiff


def feature(geometry, path_class: str | None = "Tumor", **properties) -> dict:
    """As QuPath exports it."""
    if path_class is not None:
        properties["classification"] = {"name": path_class, "color": [200, 0, 0]}
    shape = geometry if isinstance(geometry, dict) else json.loads(shapely.to_geojson(geometry))
    return {"type": "Feature", "id": "annotation", "geometry": shape, "properties": properties}


def export(folder: Path, *features: dict, slide: str = "a.tif", size=(2048, 2048), name: str = "a.geojson") -> str:
    """A slide of 0.5 um/px and its GeoJSON; returns what `open_dataset` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tiff(folder / slide, size, 0.5)
    collection = {"type": "FeatureCollection", "features": list(features)}
    (folder / name).write_text(json.dumps(collection), encoding="utf-8")
    return f"geojson:{folder}"


def areas(dataset: Dataset) -> list[float]:
    """Of all objects, level-0 px."""
    found = []
    for tile in dataset.tiles:
        assert tile.mpp is not None
        labels = tile.read_labels()
        found += [float((labels == k).sum()) * (tile.mpp / 0.5) ** 2 for k in np.unique(labels[labels > 0])]
    return sorted(found)


def reasons(dataset: Dataset) -> list[str]:
    return [f"{each.image}: {each.reason}" for each in dataset.left_out]


def test_each_annotation_is_one_object_in_its_place(tmp_path) -> None:
    hole = Polygon(box(1000, 1200, 1200, 1300).exterior, [box(1050, 1220, 1100, 1280).exterior])
    parts = MultiPolygon([box(300, 300, 340, 340), box(360, 300, 400, 340)])
    dataset = open_dataset(export(tmp_path, feature(hole), feature(parts), feature(box(1500, 1500, 1510, 1510))))
    assert areas(dataset) == [100, 3200, 17000]
    assert (dataset.crop, dataset.target, dataset.name) == (None, Target.INSTANCES, tmp_path.name)
    for tile in dataset.tiles:
        x, y = (int(v) for v in tile.image_id.rpartition("/")[2].split(","))
        pixels, labels = tile.read_pixels(), tile.read_labels()
        assert pixels.shape == (TILE_PX, TILE_PX, 3)
        assert labels.shape == (TILE_PX, TILE_PX)
        rows, columns = np.nonzero(labels)
        assert np.abs(pixels[rows, columns, 0].astype(int) - (x + columns) // 16).max() <= 1
        assert np.abs(pixels[rows, columns, 1].astype(int) - (y + rows) // 16).max() <= 1
        assert (tile.group, tile.mpp, tile.split) == ("a", 0.5, None)


def test_classes_and_those_derived_from_them(tmp_path) -> None:
    squares = [box(100 * k, 100, 100 * k + 10 + k, 110 + k) for k in range(1, 7)]
    classes = ["Tumor", "Tumor: Positive", "Tumorous", "Stroma", "Ignore*", None]
    given_set = export(tmp_path, *map(feature, squares, classes))

    def sides(*wanted: str) -> list[float]:
        return [math.sqrt(a) for a in areas(open_dataset(given_set, annotations=AnnotationChoices(wanted)))]

    assert sides("Tumor") == [11, 12]
    assert sides("Tumor", "Stroma") == [11, 12, 14]
    assert sides("Unclassified") == [16]
    assert sides("Ignore*") == [15], "ignored only until it is asked for"
    assert sides() == [11, 12, 13, 14, 16]
    with pytest.raises(InvalidRequest, match=r"no annotation of class Necrosis.*--class"):
        sides("Necrosis")


def test_annotations_that_overlap_stay_whole_and_neighbours_share_a_tile(tmp_path) -> None:
    tumour, inside, touching = box(600, 600, 700, 700), box(620, 620, 650, 650), box(700, 600, 750, 650)
    dataset = open_dataset(export(tmp_path, feature(tumour), feature(inside), feature(touching)))
    assert areas(dataset) == [900, 2500, 10000]
    objects = [Selection().view(tile).objects for tile in dataset.tiles]
    assert sorted(map(len, objects)) == [1, 2]
    assert len({o.object_id for of_tile in objects for o in of_tile}) == 3, "two tiles of one place have two names"


def test_what_is_no_object_is_counted_and_named(tmp_path) -> None:
    crossing = {"type": "Polygon", "coordinates": [[[10, 10], [110, 110], [110, 10], [10, 110], [10, 10]]]}
    other_plane = {**json.loads(shapely.to_geojson(box(0, 0, 50, 50))), "plane": {"c": -1, "z": 2, "t": 0}}
    dataset = open_dataset(
        export(
            tmp_path,
            feature(crossing),
            feature(other_plane),
            feature(Point(5, 5)),
            feature(LineString([(0, 0), (9, 9)])),
            feature(box(200, 200, 230, 230), objectType="detection"),
            feature(box(300, 300, 330, 330), isLocked=True),
        )
    )
    found = areas(dataset)
    assert found[0] == 900, "a locked annotation is not changed by being measured"
    assert found[1] == pytest.approx(5000, abs=110), "both halves of what crosses itself"
    assert len(found) == 2
    assert reasons(dataset) == [
        "a.geojson: 2 features are no areas",
        "a.tif: 1 annotations are on another plane than z 0, t 0",
    ]


def test_the_scale_follows_the_object_unless_one_is_named(tmp_path) -> None:
    small, large = box(100, 100, 120, 120), box(500, 500, 1300, 1300)
    given_set = export(tmp_path, feature(small), feature(large))
    by_size = open_dataset(given_set)
    assert {t.mpp for t in by_size.tiles} == {0.5, 2.0}
    assert all(t.read_labels().shape == (512, 512) for t in by_size.tiles)
    assert areas(by_size) == [400, 640000]
    named = open_dataset(given_set, annotations=AnnotationChoices(mpp=1.0))
    assert {t.mpp for t in named.tiles} == {1.0}
    assert {t.read_labels().shape for t in named.tiles} == {(512, 512), (1024, 1024)}
    assert {t.mpp for t in open_dataset(given_set, annotations=AnnotationChoices(downsample=8)).tiles} == {4.0}
    with pytest.raises(InvalidRequest, match="enlarged 2 times"):
        open_dataset(given_set, annotations=AnnotationChoices(mpp=0.25))
    with pytest.raises(InvalidRequest, match="not both"):
        AnnotationChoices(mpp=1.0, downsample=2.0)
    with pytest.raises(InvalidRequest, match="positive"):
        AnnotationChoices(downsample=0)


def test_an_object_too_large_for_the_named_scale_is_named(tmp_path) -> None:
    given_set = export(tmp_path, feature(box(0, 0, 2560, 100)), feature(box(0, 200, 50, 250)), size=(512, 2816))
    dataset = open_dataset(given_set, annotations=AnnotationChoices(mpp=0.5))
    assert areas(dataset) == [2500]
    assert reasons(dataset) == ["a.tif: 1 annotations larger than 2048 px there"]


def test_objects_at_the_edge_and_beyond(tmp_path) -> None:
    given_set = export(tmp_path, feature(box(-50, -50, 40, 40)), feature(box(280, 280, 400, 400)), size=(300, 300))
    dataset = open_dataset(given_set)
    assert areas(dataset) == [400, 1600], "what lies beyond the image is not to be found"
    (tile,) = dataset.tiles
    assert tile.image_id == "a.tif@1/0,0"
    assert (tile.read_pixels()[310:, 310:] == 255).all()


def test_slides_that_cannot_be_opened_are_named_and_the_rest_evaluated(tmp_path) -> None:
    given_set = export(tmp_path, feature(box(0, 0, 50, 50)))
    (tmp_path / "broken.svs").write_bytes(b"no slide")
    for name in ("broken", "elsewhere"):
        text = json.dumps([feature(box(0, 0, 9, 9))])
        (tmp_path / f"{name}.geojson").write_text(text, encoding="utf-8")
    dataset = open_dataset(given_set)
    assert areas(dataset) == [2500]
    elsewhere, broken = reasons(dataset)
    assert elsewhere.startswith("elsewhere.geojson: no slides of that name")
    assert broken.startswith("broken.svs: 1 annotations: ")


@pytest.mark.parametrize("name", ["a.geojson", "a.tif.geojson", "17 a.tif.geojson", "3 a.geojson", "sub/a.geojson"])
def test_names_of_exports(tmp_path, name) -> None:
    (tmp_path / "sub").mkdir()
    dataset = open_dataset(export(tmp_path, feature(box(0, 0, 50, 50)), name=name))
    assert areas(dataset) == [2500]


def test_broken_geojson_is_an_error(tmp_path) -> None:
    given_set = export(tmp_path, feature(box(0, 0, 50, 50)))
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes())
    (tmp_path / "b.geojson").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidRequest, match=r"b\.geojson cannot be read as GeoJSON"):
        open_dataset(given_set)


def test_regions_are_cut_as_the_papers_cut_them(tmp_path) -> None:
    """At 2 um/px a patch of 400 px is 1600 px of a slide of 0.5 um/px."""
    two = [feature(box(0, 0, 1000, 600)), feature(box(500, 0, 1600, 600)), feature(box(0, 0, 9, 9), "Stroma")]
    given_set = export(tmp_path, *two, size=(1700, 1700))
    dataset = open_dataset(given_set, annotations=AnnotationChoices(("Tumor",), target=Target.REGION))
    (tile,) = dataset.tiles
    assert (dataset.target, dataset.min_area, tile.mpp) == (Target.REGION, 1, 2.0)
    assert (tile.read_labels() > 0).sum() == 400 * 150


def test_they_can_be_trained_on(tmp_path) -> None:
    data = training_data([open_dataset(export(tmp_path, feature(box(0, 0, 50, 50))))])
    assert data.groups == {tmp_path.name: ["a"]}
    data = pickle.loads(pickle.dumps(data))  # costs are measured in processes
    assert (data.tiles[0].tile.read_labels() > 0).sum() == 2500


def test_tiles_can_go_to_another_process(tmp_path) -> None:
    (tile,) = open_dataset(export(tmp_path, feature(box(0, 0, 50, 50)))).tiles
    again = pickle.loads(pickle.dumps(tile))
    assert np.array_equal(again.read_pixels(), tile.read_pixels())
    assert np.array_equal(again.read_labels(), tile.read_labels())


#: Positions and sizes of boxes in an image of 1000 x 800 px, no larger than half a tile of 128 px.
BOXES = st.lists(
    st.tuples(st.floats(0, 900), st.floats(0, 700), st.floats(1, 64), st.floats(1, 64)), min_size=1, max_size=30
)


@given(BOXES, st.sampled_from([1.0, 2.0, 3.7]))
def test_every_object_lies_whole_in_one_tile_and_overlaps_no_other_there(positions, downsample) -> None:
    shapes = [box(x, y, x + w * downsample, y + h * downsample) for x, y, w, h in positions]
    shapes = [shape for shape in shapes if shape.bounds[2] <= 1000 and shape.bounds[3] <= 800] or [box(0, 0, 9, 9)]
    extent = Region(0, 0, 1000, 800)
    tiles = list(_shared(shapes, _Frame(downsample, 128), extent))
    assert sorted(s.wkb for _, inside in tiles for s in inside) == sorted(s.wkb for s in shapes)
    for window, inside in tiles:
        outline = box(*window.region.bounds)
        assert all(outline.covers(s) for s in inside)
        assert all(a.intersection(b).area == 0 for i, a in enumerate(inside) for b in inside[:i])
        assert window.region.x >= 0
        assert window.region.right <= 1000 or window.region.x == 0


def test_what_has_to_be_rendered_is_left_out(tmp_path) -> None:
    """A rendering by guess is nothing to train on or to measure by."""
    given = export(tmp_path, feature(box(100, 100, 300, 300)))
    export(tmp_path, feature(box(100, 100, 300, 300)), slide="b.tif", name="b.geojson")
    tifffile.imwrite(
        tmp_path / "b.tif",
        np.zeros((3, 2048, 2048), np.uint16),
        photometric="minisblack",
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )
    dataset = open_dataset(given)
    assert len(dataset.tiles) == 1
    assert any("not 8-bit RGB" in reason for reason in reasons(dataset))
