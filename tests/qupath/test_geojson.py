"""GeoJSON: what is written is what QuPath takes, what is read is what anybody writes."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import uuid
import zipfile
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.geometry import LineString, MultiLineString, MultiPoint, MultiPolygon, Point, Polygon

from qupath_sam.errors import InvalidRequest
from qupath_sam.polygons import place, trace_mask
from qupath_sam.qupath.geojson import (
    AnnotationFeature,
    ObjectType,
    PathClass,
    default_color,
    parse_collection,
    read_features,
    read_geojson,
    to_geojson,
    write_geojson,
)
from qupath_sam.types.regions import Region, Window

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
        ('{"name": "Tumor", "color": [1, 2, 3]}', PathClass(("Tumor",), (1, 2, 3))),
        ('{"names": ["Tumor", "Positive"], "color": [1, 2, 3]}', PathClass(("Tumor", "Positive"), (1, 2, 3))),
        ('["Tumor", "Positive"]', PathClass.of("Tumor: Positive")),
        ("{'name': 'Tumor', 'color': [1, 2, 3]}", PathClass(("Tumor",), (1, 2, 3))),
        ("{'name': 'Tumor', 'color': array([1, 2, 3])}", PathClass(("Tumor",), (1, 2, 3))),
        ("{'name': 'Tumor', 'color': [np.int64(1), np.int64(2), np.int64(3)]}", PathClass(("Tumor",), (1, 2, 3))),
        ("{'name': 'Tumor', 'color': None}", PathClass.of("Tumor")),
        (json.dumps(json.dumps({"name": "Tumor"})), PathClass.of("Tumor")),
        ("{'name': 'Tumor', 'color': (1, 2, 3)}", PathClass(("Tumor",), (1, 2, 3))),
        ("{'name': 'Tumor', 'color': nan}", PathClass.of("Tumor")),
        ("{'name': 'a, nan, b', 'color': nan}", PathClass.of("a, nan, b")),
        ("('Tumor', 'Positive')", PathClass.of("Tumor: Positive")),
        ("{'Tumor'}", PathClass.of("Tumor")),
        ("OrderedDict([('name', 'Tumor'), ('color', [1, 2, 3])])", PathClass(("Tumor",), (1, 2, 3))),
        ("OrderedDict({'name': 'Tumor', 'color': [1, 2, 3]})", PathClass(("Tumor",), (1, 2, 3))),
        ({"name": '{"name": "Tumor", "color": [1, 2, 3]}'}, PathClass(("Tumor",), (1, 2, 3))),
        ({"name": "{'name': 'Tumor'}", "color": [1, 2, 3]}, PathClass(("Tumor",), (1, 2, 3))),
        ("(unsure)", PathClass.of("(unsure)")),
        ("(I don't know)", PathClass.of("(I don't know)")),
        ("(3)", PathClass.of("(3)")),
        (0, PathClass.of("0")),
        ({"name": '"a"'}, PathClass.of('"a"')),
        ({"name": "None"}, PathClass.of("None")),
        ('"Tumor"', PathClass.of("Tumor")),
        ("[artefact]", PathClass.of("[artefact]")),
        ("{'name': None}", None),
        ("None", None),
        ("Unclassified", None),
        (math.nan, None),
        ({"name": " "}, None),
        ({}, None),
        (None, None),
    ],
)
def test_every_way_of_saying_a_class(written: object, expected: PathClass | None) -> None:
    document = {"type": "Feature", "geometry": GEOMETRY, "properties": {"classification": written}}
    assert read_features(json.dumps(document))[0].classification == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([200, 0, 0], (200, 0, 0)),
        ([200.0, 0.0, 0.0], (200, 0, 0)),
        ([0.5, 0, 1], (128, 0, 255)),
        ([1.0, 0.0, 0.0, 1.0], (255, 0, 0)),
        ([1, 0, 0], (1, 0, 0)),
        ("[200, 0, 0]", (200, 0, 0)),
        ("(200, 0, 0)", (200, 0, 0)),
        ("200,0,0", (200, 0, 0)),
        ("#c80000", (200, 0, 0)),
        ("#C80000FF", (200, 0, 0)),
        ("#f00", (255, 0, 0)),
        ("0xffc80000", (200, 0, 0)),
        ("rgb(200, 0, 0)", (200, 0, 0)),
        (-3670016, (200, 0, 0)),
        ("-3670016", (200, 0, 0)),
        (None, None),
    ],
)
def test_every_way_of_saying_a_colour(written: object, expected: tuple | None) -> None:
    of_object = {"type": "Feature", "geometry": GEOMETRY, "properties": {"color": written}}
    of_class = {
        "type": "Feature",
        "geometry": GEOMETRY,
        "properties": {"classification": {"name": "a", "color": written}},
    }
    collection = parse_collection(json.dumps([of_object, of_class]))
    assert collection.left_out == ()
    assert collection.features[0].color == expected
    assert collection.features[1].classification == PathClass(("a",), expected or default_color("a"))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        *((yes, True) for yes in (True, "true", "True", 1, "1", 1.0)),
        *((no, False) for no in (None, False, "false", 0, "")),
    ],
)
def test_every_way_of_saying_locked(written: object, expected: bool) -> None:
    document = {"type": "Feature", "geometry": GEOMETRY, "properties": {"isLocked": written}}
    collection = parse_collection(json.dumps(document))
    assert (collection.features[0].is_locked, collection.left_out) == (expected, ())


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"color": "reddish"}, "colour 'reddish'"),
        ({"color": [300, 0, 0]}, "colour"),
        ({"color": True}, "colour True"),
        ({"measurements": {"grade": "high", "a": 1}}, "measurements 'grade' are no numbers"),
        ({"measurements": "{broken: 1"}, "measurements"),
        ({"classification": "a\nb"}, "class name"),
        ({"classification": '{"name": "Tu'}, "looks like JSON"),
        ({"classification": {"names": 3}}, "class"),
        ({"name": {"first": 1}}, "name"),
        ({"metadata": [1]}, "metadata"),
        ({"isLocked": "perhaps"}, "isLocked"),
        ({"childObjects": "[1"}, "child objects"),
        ("nothing", "properties"),
    ],
)
def test_a_property_that_cannot_be_read_is_named_and_the_outline_used(properties: object, said: str) -> None:
    document = [GEOMETRY, {"type": "Feature", "geometry": GEOMETRY, "properties": properties}]
    collection = parse_collection(json.dumps(document))
    assert (len(collection.features), collection.refused) == (2, ())
    assert said in collection.left_out_text()
    assert "feature 1" in collection.left_out_text()
    read = collection.features[1]
    assert (read.classification, read.color, read.name, read.metadata, read.is_locked) == (None, None, None, {}, False)
    assert read.measurements.get("a", 1) == 1


@pytest.mark.parametrize(
    ("plane", "expected"),
    [
        ({"c": -1.0, "z": 2.0, "t": 0.0}, (-1, 2, 0)),
        ({"c": "-1", "z": "2", "t": None}, (-1, 2, 0)),
        (None, (-1, 0, 0)),
    ],
)
def test_every_way_of_saying_a_plane(plane: object, expected: tuple[int, int, int]) -> None:
    collection = parse_collection(json.dumps(GEOMETRY | {"plane": plane}))
    (read,) = collection.features
    assert ((read.c, read.z, read.t), collection.left_out) == (expected, ())


def test_a_plane_between_two_is_named() -> None:
    collection = parse_collection(json.dumps(GEOMETRY | {"plane": {"z": 1.5}}))
    assert collection.features[0].z == 0
    assert "plane's z 1.5 is no whole number" in collection.left_out_text()


def test_nested_values_that_a_table_has_turned_into_text() -> None:
    properties = {
        "measurements": '[{"name": "a", "value": 1}]',
        "metadata": '{"slide": "7"}',
        "childObjects": json.dumps([GEOMETRY]),
    }
    collection = parse_collection(json.dumps({"type": "Feature", "geometry": GEOMETRY, "properties": properties}))
    parent, _ = collection.features
    assert (parent.measurements, parent.metadata, collection.left_out) == ({"a": 1}, {"slide": "7"}, ())


def test_the_root_of_an_image_is_no_object_but_its_children_are() -> None:
    root = {"type": "Feature", "geometry": None, "properties": {"objectType": "root", "childObjects": [GEOMETRY]}}
    collection = parse_collection(json.dumps([root]))
    assert (len(collection.features), collection.refused) == (1, ())
    assert "root of an image" in collection.left_out_text()


def test_all_bad_features_are_named_at_once() -> None:
    missing = {"type": "Feature", "geometry": None}
    bow_ties = [BOW_TIE, {"type": "Polygon", "coordinates": [[[9, 0], [11, 2], [11, 0], [9, 2], [9, 0]]]}]
    document = [GEOMETRY, *bow_ties, GEOMETRY, missing]
    collection = parse_collection(json.dumps(document))
    assert len(collection.features) == 2
    with pytest.raises(InvalidRequest) as caught:
        collection.complete(or_else="give --skip-bad")
    message = str(caught.value)
    assert "3 of 5 features" in message
    assert "features 1, 2: the geometry is not valid" in message
    assert "feature 4: it has no geometry" in message
    assert message.endswith("or give --skip-bad)")


COLLECTION = {"type": "GeometryCollection"}


@pytest.mark.parametrize(
    ("geometries", "expected", "left_out"),
    [
        ([GEOMETRY], SQUARE, False),
        (
            [{"type": "Polygon", "coordinates": [[[5, 0], [20, 0], [20, 10], [5, 10]]]}, GEOMETRY],
            shapely.box(0, 0, 20, 10),
            False,
        ),
        ([GEOMETRY, {"type": "LineString", "coordinates": [[0, 0], [9, 30]]}], SQUARE, True),
        ([COLLECTION | {"geometries": [GEOMETRY]}, {"type": "Point", "coordinates": [1, 2]}], SQUARE, True),
        ([{"type": "LineString", "coordinates": [[0, 0], [9, 30]]}], MultiLineString([[(0, 0), (9, 30)]]), False),
        (
            [{"type": "Point", "coordinates": [1, 2]}, {"type": "Point", "coordinates": [3, 4]}],
            MultiPoint([(1, 2), (3, 4)]),
            False,
        ),
    ],
)
def test_a_collection_is_what_qupath_makes_of_it(geometries: list, expected: object, left_out: bool) -> None:
    collection = parse_collection(json.dumps(COLLECTION | {"geometries": geometries}))
    (read,) = collection.features
    assert read.geometry.equals(expected)
    assert bool(collection.left_out) is left_out


def test_collections_of_make_valid_are_read() -> None:
    spiked = shapely.make_valid(Polygon([(0, 0), (10, 0), (10, 10), (10, 20), (10, 10), (0, 10)]))
    assert spiked.geom_type == "GeometryCollection"
    (read,) = read_features(shapely.to_geojson(spiked))
    assert read.geometry.equals(SQUARE)


def _zipped(*files: tuple[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files:
            archive.writestr(name, text)
    return buffer.getvalue()


TEXT = json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": GEOMETRY}]})


@pytest.mark.parametrize(
    ("name", "content", "count"),
    [
        ("a.geojson.gz", gzip.compress(TEXT.encode(), mtime=0), 1),
        ("a.geojson", gzip.compress(b"\xef\xbb\xbf" + TEXT.encode(), mtime=0), 1),
        ("a.zip", _zipped(("a.geojson", TEXT)), 1),
        ("a.zip", _zipped(("a.geojson.gz", gzip.compress(TEXT.encode(), mtime=0)), ("._a.geojson", "x")), 1),
        ("a.geojson.gz", gzip.compress(_zipped(("a.geojson", TEXT)), mtime=0), 1),
        ("a.zip", _zipped(("a.geojson", TEXT), ("b.json", TEXT), ("__MACOSX/a.geojson", "x"), ("read.txt", "x")), 2),
        ("a.geojson", TEXT.encode("utf-8-sig"), 1),
        ("a.geojson", TEXT.encode("utf-16"), 1),
    ],
)
def test_files_are_read_by_what_they_hold(name: str, content: bytes, count: int, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert [feature.geometry.equals(SQUARE) for feature in read_geojson(tmp_path / name)] == [True] * count


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(TEXT.encode(), mtime=0)[:-20], "cannot be unpacked"),
        (_zipped(("a.geojson", TEXT))[:-30], "cannot be unpacked"),
        (_zipped(("readme.txt", TEXT)), "without a .geojson"),
        (_zipped(), "without a .geojson"),
        (_zipped(("a.geojson", "[null]")), "feature 0"),
        (_zipped(("a.geojson", TEXT), ("b.geojson", "[null]")), "b.geojson, feature 0"),
        (_zipped(("a.geojson", "{")), "a.geojson: this is not JSON"),
    ],
)
def test_compressed_files_that_cannot_be_read_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InvalidRequest, match=message) as caught:
        read_geojson(tmp_path / "a.zip")
    assert "a.zip" in str(caught.value)


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
        ([GEOMETRY, None], "feature 1 cannot be used: it is no GeoJSON feature"),
        ([GEOMETRY, GEOMETRY, {"type": "Feature", "geometry": None}], "feature 2.*no geometry"),
        ({"type": "Point", "coordinates": []}, "feature 0.*at least 1"),
        ({"type": "Point", "coordinates": [1, None]}, "feature 0.*not finite"),
        ({"type": "Point"}, "Point without coordinates"),
        ({"type": "MultiPoint", "coordinates": []}, "at least 1"),
        ({"type": "MultiPoint", "coordinates": [{"x": 1}]}, "no list of"),
        ({"type": "LineString", "coordinates": [[1, 2]]}, "at least 2"),
        ({"type": "LineString", "coordinates": [[1, 2], [1, 2]]}, "not valid"),
        ({"type": "MultiLineString", "coordinates": [[1, 2], [3, 4]]}, "no list of"),
        ({"type": "Circle", "coordinates": [1, 2]}, "no GeoJSON"),
        ({"type": "Feature", "geometry": {"type": "Circle", "coordinates": [1, 2]}}, "feature 0.*Circle"),
        ({"type": "GeometryCollection", "geometries": []}, "empty GeometryCollection"),
        ({"type": "GeometryCollection", "geometries": [None]}, "no geometry"),
        ({"type": "GeometryCollection"}, "GeometryCollection without"),
        ({"type": "Polygon", "coordinates": []}, "without rings"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "at least 3"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [math.nan, 0], [0, 0]]]}, "not finite"),
        ({"type": "MultiPolygon", "coordinates": []}, "empty"),
        ({"type": "FeatureCollection"}, "no list of features"),
        ({"type": "Feature", "geometry": GEOMETRY, "properties": {"objectType": "tma_core"}}, "feature 0.*TMA core"),
        (42, "no GeoJSON"),
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
