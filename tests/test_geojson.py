"""GeoJSON: what is written is what QuPath takes, what is read is what anybody writes."""

from __future__ import annotations

import json
import math
import os
import uuid
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.geometry import LineString, MultiLineString, MultiPoint, MultiPolygon, Point, Polygon

from qupath_sam.errors import InvalidRequest
from qupath_sam.geojson import (
    AnnotationFeature,
    ObjectType,
    PathClass,
    default_color,
    read_features,
    read_geojson,
    to_geojson,
    write_geojson,
)
from qupath_sam.polygons import place, trace_mask
from qupath_sam.regions import Region, Window

SQUARE = shapely.box(0, 0, 10, 10)
RINGS = [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]
GEOMETRY = {"type": "Polygon", "coordinates": RINGS}

names = st.text(min_size=1).filter(str.strip)
class_names = names.map(lambda name: name.translate({ord(c): "_" for c in ":\r\n"}).strip()).filter(bool)
colors = st.tuples(*[st.integers(0, 255)] * 3)
areas = st.builds(
    lambda mask, x, width: place(trace_mask(mask), Window(Region(x, -x, width, 90), 8, 9)),
    arrays(np.bool_, (9, 8)).filter(np.any),
    st.integers(-(10**6), 10**6),
    st.integers(3, 1000),
)
coordinates = st.floats(-1e6, 1e6).map(lambda number: round(number, 2))
positions = st.tuples(coordinates, coordinates)
lines = st.lists(positions, min_size=2, max_size=5, unique=True)
geometries = (
    areas
    | st.builds(Point, positions)
    | st.builds(MultiPoint, st.lists(positions, min_size=1, max_size=5))
    | st.builds(LineString, lines)
    | st.builds(MultiLineString, st.lists(lines, min_size=1, max_size=3))
)
features = st.builds(
    AnnotationFeature,
    geometry=geometries,
    id=st.uuids(),
    object_type=st.sampled_from(ObjectType),
    name=st.none() | names,
    classification=st.none() | st.builds(PathClass, st.lists(class_names, min_size=1, max_size=3).map(tuple), colors),
    color=st.none() | colors,
    measurements=st.dictionaries(st.text(), st.floats(allow_nan=False)),
    metadata=st.dictionaries(st.text(), st.text()),
    is_locked=st.booleans(),
    z=st.integers(0, 99),
    t=st.integers(0, 99),
    c=st.integers(-1, 9),
)


@settings(max_examples=200)
@given(st.lists(features, max_size=3))
def test_what_is_written_is_read_back(originals: list[AnnotationFeature]) -> None:
    assert read_features(to_geojson(originals)) == originals


@given(features)
def test_nothing_is_written_for_which_qupath_refuses_a_file(feature: AnnotationFeature) -> None:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    def values(node: object) -> list[object]:
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        return [node, *(value for child in inner for value in values(child))]

    text = to_geojson([feature])
    assert text.isascii()
    assert None not in values(json.loads(text))
    (written,) = json.loads(text, parse_constant=refuse)["features"]
    uuid.UUID(written["id"])
    properties = written["properties"]
    if feature.classification is not None:
        assert properties["classification"].keys() in ({"name", "color"}, {"names", "color"})
        assert [type(channel) for channel in properties["classification"]["color"]] == [int] * 3
    kind, polygons = written["geometry"]["type"], written["geometry"]["coordinates"]
    for rings in polygons if kind == "MultiPolygon" else [polygons] if kind == "Polygon" else []:
        assert all(ring[0] == ring[-1] for ring in rings)


def test_the_least_and_the_most_that_is_written() -> None:
    number = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
    least = AnnotationFeature(SQUARE, id=number)
    assert json.loads(to_geojson([least]))["features"] == [
        {
            "type": "Feature",
            "id": str(number),
            "geometry": json.loads(shapely.to_geojson(SQUARE)),
            "properties": {"objectType": "annotation"},
        }
    ]
    most = AnnotationFeature(
        SQUARE,
        id=number,
        object_type=ObjectType.DETECTION,
        name="Drüse 1",
        classification=PathClass.of("Tumor: Positive"),
        measurements={"SAM score": 0.5, "no value": math.nan, "much": math.inf, "little": -math.inf},
        metadata={"model": "lite_medsam"},
        is_locked=True,
        z=2,
    )
    (written,) = json.loads(to_geojson([most]))["features"]
    assert written["geometry"]["plane"] == {"c": -1, "z": 2, "t": 0}
    assert written["properties"] == {
        "objectType": "detection",
        "name": "Drüse 1",
        "classification": {"names": ["Tumor", "Positive"], "color": list(default_color("Tumor: Positive"))},
        "isLocked": True,
        "measurements": {"SAM score": 0.5, "no value": "NaN", "much": "Infinity", "little": "-Infinity"},
        "metadata": {"model": "lite_medsam"},
    }
    (read,) = read_features(to_geojson([most]))
    assert math.isnan(read.measurements["no value"])
    assert read.measurements["little"] == -math.inf


def test_no_features_are_a_collection_too() -> None:
    assert json.loads(to_geojson([])) == {"type": "FeatureCollection", "features": []}
    assert read_features(to_geojson([])) == []


@pytest.mark.parametrize(
    "document",
    [
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": GEOMETRY, "properties": {}}]},
        {"type": "Feature", "geometry": GEOMETRY},
        {"type": "Feature", "id": None, "geometry": GEOMETRY, "properties": None},
        [{"type": "Feature", "id": "PathAnnotationObject", "geometry": GEOMETRY, "properties": {"name": None}}],
        [GEOMETRY],
        GEOMETRY,
        {"type": "Polygon", "coordinates": [RINGS[0][:-1]]},
        {"type": "Polygon", "coordinates": [[[*position, 7.0] for position in RINGS[0]]]},
        {"type": "MultiPolygon", "coordinates": [RINGS]},
    ],
)
def test_every_way_of_saying_one_square(document: object) -> None:
    first, second = read_features(json.dumps(document)), read_features("\ufeff" + json.dumps(document))
    assert [feature.geometry.equals(SQUARE) for feature in first] == [True]
    assert first[0].id != second[0].id, "without an id of its own, every reading gives a new one"
    assert first[0].object_type is ObjectType.ANNOTATION


@pytest.mark.parametrize(
    ("kind", "coordinates", "expected"),
    [
        ("Point", [1.5, 2], Point(1.5, 2)),
        ("Point", [1.5, 2, 0], Point(1.5, 2)),
        ("MultiPoint", [[1, 2]], MultiPoint([(1, 2)])),
        ("MultiPoint", [[1, 2], [3, 4], [1, 2]], MultiPoint([(1, 2), (3, 4), (1, 2)])),
        ("LineString", [[1, 2], [3, 4]], LineString([(1, 2), (3, 4)])),
        ("LineString", [[0, 0], [3, 4], [6, 0], [0, 0]], LineString([(0, 0), (3, 4), (6, 0), (0, 0)])),
        (
            "MultiLineString",
            [[[0, 0], [1, 1]], [[2, 2], [3, 3]]],
            MultiLineString([[(0, 0), (1, 1)], [(2, 2), (3, 3)]]),
        ),
    ],
)
def test_points_and_lines_stand_beside_areas(kind: str, coordinates: list, expected: object) -> None:
    point_or_line = {
        "type": "Feature",
        "id": "01234567-89ab-cdef-0123-456789abcdef",
        "geometry": {"type": kind, "coordinates": coordinates, "plane": {"c": -1, "z": 2, "t": 1}},
        "properties": {"objectType": "annotation", "name": "a", "isLocked": True, "measurements": {"m": 1}},
    }
    area, read = read_features(json.dumps([GEOMETRY, point_or_line]))
    assert area.geometry.equals(SQUARE)
    assert read.geometry == expected
    assert (str(read.id), read.name, read.is_locked, read.z, read.t) == (point_or_line["id"], "a", True, 2, 1)
    assert read.measurements == {"m": 1}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Tumor", PathClass.of("Tumor")),
        ("Tumor: Positive", PathClass.of("Tumor: Positive")),
        ({"name": "Gland", "color": [1, 2, 3]}, PathClass(("Gland",), (1, 2, 3))),
        ({"names": ["Gland", "Lumen"], "color": [1, 2, 3, 4]}, PathClass(("Gland", "Lumen"), (1, 2, 3))),
        ({"name": "Gland", "colorRGB": -65536}, PathClass(("Gland",), (255, 0, 0))),
        ({"name": "Gland"}, PathClass.of("Gland")),
        ({"name": " "}, None),
        ({}, None),
        (None, None),
    ],
)
def test_every_way_of_saying_a_class(written: object, expected: PathClass | None) -> None:
    document = {"type": "Feature", "geometry": GEOMETRY, "properties": {"classification": written}}
    assert read_features(json.dumps(document))[0].classification == expected


def test_measurements_as_a_list_repeated_metadata_and_children() -> None:
    text = """{"type": "Feature", "geometry": %s, "properties": {
        "measurements": [{"name": "a", "value": 1}, {"name": "b", "value": "NaN"}, {"name": "c", "value": null}],
        "metadata": {"first": "1"}, "metadata": {"second": 2},
        "childObjects": [{"type": "Feature", "geometry": %s, "properties": {"objectType": "cell"}}]}}"""
    parent, child = read_features(text % (json.dumps(GEOMETRY), json.dumps(GEOMETRY)))
    assert parent.measurements.keys() == {"a", "b"}
    assert parent.metadata == {"first": "1", "second": "2"}
    assert child.object_type is ObjectType.CELL


BOW_TIE = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([GEOMETRY, BOW_TIE], "feature 1.*not valid.*Self-intersection"),
        ([GEOMETRY, None], "feature 1 is no GeoJSON feature"),
        ([GEOMETRY, GEOMETRY, {"type": "Feature", "geometry": None}], "feature 2.*no geometry"),
        ({"type": "Point", "coordinates": []}, "feature 0.*at least 1"),
        ({"type": "Point", "coordinates": [1, None]}, "feature 0.*not finite"),
        ({"type": "Point"}, "Point without coordinates"),
        ({"type": "MultiPoint", "coordinates": []}, "at least 1"),
        ({"type": "MultiPoint", "coordinates": [{"x": 1}]}, "no list of"),
        ({"type": "LineString", "coordinates": [[1, 2]]}, "at least 2"),
        ({"type": "LineString", "coordinates": [[1, 2], [1, 2]]}, "not valid"),
        ({"type": "MultiLineString", "coordinates": [[1, 2], [3, 4]]}, "no list of"),
        ({"type": "Circle", "coordinates": [1, 2]}, "feature 0"),
        ({"type": "GeometryCollection", "geometries": [GEOMETRY]}, "GeometryCollection"),
        ({"type": "Polygon", "coordinates": []}, "without rings"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "at least 3"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [math.nan, 0], [0, 0]]]}, "not finite"),
        ({"type": "MultiPolygon", "coordinates": []}, "empty"),
        ({"type": "FeatureCollection"}, "no list of features"),
        ({"type": "Feature", "geometry": GEOMETRY, "properties": {"color": "#ff0000"}}, "colour"),
        ({"type": "Feature", "geometry": GEOMETRY, "properties": {"measurements": {"a": "many"}}}, "feature 0.*many"),
        ({"type": "Feature", "geometry": GEOMETRY, "properties": {"classification": "a\nb"}}, "class name"),
        (42, "feature 0"),
    ],
)
def test_what_cannot_be_read_is_named(document: object, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_features(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "<xml/>", '{"type": "FeatureCollection", "features": [', "[" * 200_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="JSON"):
        read_features(text)


structure = ["type", "geometry", "coordinates", "properties", "features", "childObjects", "id", "plane", "z"]
said = ["classification", "color", "names", "name", "value", "measurements", "metadata", "isLocked", "objectType"]
keys = st.sampled_from([*structure, *said])
words = st.sampled_from(["Feature", "FeatureCollection", "Polygon", "MultiPolygon", "NaN", "", "tile"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.just(GEOMETRY) | st.just(RINGS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
)


@settings(max_examples=400)
@given(anything, st.dictionaries(keys, anything, max_size=4), st.dictionaries(keys, anything, max_size=4))
def test_no_json_raises_anything_but_invalid_request(document: object, properties: dict, geometry: dict) -> None:
    feature = {"type": "Feature", "geometry": GEOMETRY | geometry, "properties": properties}
    for text in (json.dumps(document), json.dumps([feature])):
        try:
            read = read_features(text)
        except InvalidRequest:
            continue
        assert all(isinstance(feature, AnnotationFeature) for feature in read)
        read_features(to_geojson(read))


@pytest.mark.parametrize(
    "geometry",
    [
        Polygon(),
        MultiPolygon(),
        Point(),
        shapely.Point(1, math.nan),
        LineString([(1, 1), (1, 1)]),
        shapely.GeometryCollection([SQUARE]),
        Polygon(BOW_TIE["coordinates"][0]),
        shapely.box(0, 0, math.inf, 1),
    ],
)
def test_no_feature_can_be_made_that_qupath_would_refuse(geometry: object) -> None:
    with pytest.raises(InvalidRequest, match="geometry"):
        AnnotationFeature(geometry)  # type: ignore[arg-type]


@pytest.mark.parametrize(("class_names", "color"), [((), (0, 0, 0)), ((" ",), (0, 0, 0)), (("a:b",), (0, 0, 0))])
def test_no_class_can_be_made_that_qupath_would_refuse(class_names: tuple[str, ...], color: tuple) -> None:
    with pytest.raises(InvalidRequest, match="class"):
        PathClass(class_names, color)


@pytest.mark.parametrize("color", [(256, 0, 0), (-1, 0, 0), (0.5, 0, 0), (1, 2), "#ff0000"])
def test_impossible_colours_are_refused(color: tuple) -> None:
    with pytest.raises(InvalidRequest, match="colour"):
        PathClass(("a",), color)
    with pytest.raises(InvalidRequest, match="colour"):
        AnnotationFeature(SQUARE, color=color)


def test_default_colours_never_change() -> None:
    """They are in files that people have: the value for a name is part of the contract."""
    assert default_color("Tumor") == (200, 0, 0)
    assert default_color("Gland") == (191, 217, 54)
    assert PathClass.of("Tumor:Positive") == PathClass.of("Tumor: Positive")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "Präparat 1 (Kopie).geojson"
    first = [AnnotationFeature(SQUARE, name="Drüse")]
    write_geojson(path, first)
    assert read_geojson(path) == first

    def breaks_off():
        yield AnnotationFeature(SQUARE)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_geojson(path, breaks_off())
    assert read_geojson(path) == first
    assert os.listdir(tmp_path) == [path.name]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.geojson").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.geojson").write_text("[1]", "utf-8")
    for name, message in [
        ("none.geojson", "no file"),
        ("text.geojson", "cannot be read"),
        ("bad.geojson", "feature 0"),
    ]:
        with pytest.raises(InvalidRequest, match=message) as caught:
            read_geojson(tmp_path / name)
        assert name in str(caught.value)
