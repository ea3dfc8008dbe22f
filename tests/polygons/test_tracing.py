"""The tracer against its laws, against hand-drawn goldens and against GDAL."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from rasterio import features
from shapely.geometry import MultiPolygon, Polygon, shape

from qupath_sam.polygons import trace_labels, trace_mask, trace_masks

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
shapes = st.tuples(st.integers(1, 24), st.integers(1, 24))
masks = shapes.flatmap(lambda shape: arrays(np.bool_, shape))
label_images = shapes.flatmap(lambda shape: arrays(np.int32, shape, elements=st.integers(0, 4)))


def gdal_outlines(labels: np.ndarray) -> dict[int, Polygon | MultiPolygon]:
    """What GDAL traces with 4-connectedness, gathered by label."""
    parts = defaultdict(list)
    for outline, value in features.shapes(labels.astype(np.int32), mask=labels != 0, connectivity=4):
        parts[int(value)].append(shape(outline))
    return {value: part[0] if len(part) == 1 else MultiPolygon(part) for value, part in parts.items()}


def assert_same(found: Polygon | MultiPolygon, expected: Polygon | MultiPolygon) -> None:
    found, expected = shapely.normalize(found), shapely.normalize(expected)
    assert shapely.equals_exact(found, expected, 0), f"{found}\nis not\n{expected}"


def assert_traced(labels: np.ndarray) -> None:
    """All laws of `trace_labels`, on one image."""
    traced, expected = trace_labels(labels), gdal_outlines(labels)
    assert list(traced) == sorted(expected)
    for label, geometry in traced.items():
        assert geometry.is_valid
        assert geometry.area == np.count_nonzero(labels == label)
        assert_same(geometry, expected[label])
    if traced:
        burnt = features.rasterize(((g, label) for label, g in traced.items()), labels.shape, dtype=np.int32)
        assert np.array_equal(burnt, labels)


def golden_masks() -> list[Path]:
    return sorted(GOLDEN.glob("*.png"))


def read_mask(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)) > 0


@pytest.mark.parametrize("path", golden_masks(), ids=lambda path: path.stem)
def test_golden_masks_keep_every_law(path: Path) -> None:
    mask = read_mask(path)
    assert_traced(mask.astype(np.uint8))
    assert_same(trace_mask(mask), trace_labels(mask.astype(np.uint8))[1])


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.wkt")), ids=lambda path: path.stem)
def test_golden_masks_have_the_outline_drawn_by_hand(path: Path) -> None:
    assert_same(trace_mask(read_mask(path.with_suffix(".png"))), shapely.from_wkt(path.read_text("utf-8")))


@pytest.mark.parametrize("density", [0.02, 0.2, 0.41, 0.5, 0.59, 0.8, 0.98])
@pytest.mark.parametrize("labels", [1, 2, 5])
def test_noise(density: float, labels: int) -> None:
    random = np.random.default_rng([labels, round(100 * density)])
    image = random.integers(1, labels + 1, (150, 170)) * (random.random((150, 170)) < density)
    assert_traced(image)


@given(label_images)
def test_any_label_image(labels: np.ndarray) -> None:
    assert_traced(labels)


@given(masks)
def test_any_mask_equals_its_label_image(mask: np.ndarray) -> None:
    expected = trace_labels(mask.astype(np.uint8)).get(1, Polygon())
    assert shapely.equals_exact(trace_mask(mask), expected, 0)
    assert mask.any() or trace_mask(mask).is_empty


@settings(max_examples=50)
@given(st.integers(0, 5).flatmap(lambda n: shapes.flatmap(lambda shape: arrays(np.bool_, (n, *shape)))))
def test_a_stack_is_traced_as_its_masks_are(stack: np.ndarray) -> None:
    together = trace_masks(stack)
    assert [g.wkt for g in together] == [trace_mask(mask).wkt for mask in stack]


@given(masks)
def test_rings_pass_no_point_twice_and_no_vertex_is_collinear(mask: np.ndarray) -> None:
    for part in shapely.get_parts(trace_mask(mask)):
        for ring in shapely.get_rings(part):
            vertices = shapely.get_coordinates(ring)[:-1]
            assert len(np.unique(vertices, axis=0)) == len(vertices)
            steps = np.diff(vertices, axis=0, append=vertices[:1])
            assert np.all((steps == 0).sum(axis=1) == 1), "edges follow the lattice"
            assert np.all((steps == 0) != np.roll(steps == 0, 1, axis=0)), "every vertex turns"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64])
def test_labels_of_any_integer_type_and_size(dtype: type) -> None:
    largest = int(np.iinfo(dtype).max)
    labels = np.array([[1, 1, 0], [largest, 0, largest], [0, 7, 7]], dtype)
    traced = trace_labels(labels)
    assert {label: g.area for label, g in traced.items()} == {1: 2, 7: 2, largest: 2}
    assert isinstance(traced[largest], MultiPolygon)


def test_arrays_need_not_be_contiguous() -> None:
    labels = np.random.default_rng(5).integers(0, 3, (40, 60))
    assert_traced(labels[::2, ::-3])
    assert_traced(labels.T)


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (trace_mask, np.zeros((3, 3), np.uint8)),
        (trace_mask, np.zeros((1, 3, 3), np.bool_)),
        (trace_masks, np.zeros((3, 3), np.bool_)),
        (trace_labels, np.zeros((3, 3), np.float32)),
        (trace_labels, np.zeros((3, 3), np.bool_)),
        (trace_labels, np.zeros(3, np.int32)),
        (trace_labels, np.array([[0, -1], [2, 2]])),
    ],
)
def test_wrong_arrays_are_refused(function, argument: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"mask|label"):
        function(argument)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (4, 4)])
def test_empty_images(shape: tuple[int, int]) -> None:
    assert trace_labels(np.zeros(shape, np.int32)) == {}
    assert trace_mask(np.zeros(shape, np.bool_)).is_empty


def test_real_instances(shared_data: Path) -> None:
    for path in sorted((shared_data / "tnbc" / "instances").glob("*.png"))[:5]:
        assert_traced(np.asarray(Image.open(path)).astype(np.int32))
