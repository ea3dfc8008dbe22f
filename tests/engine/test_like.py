"""What looks like examples is found, what looks like rejected ones is not; the threshold can be moved afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import Point, Polygon

from qupath_sam import LocalClient, Region
from qupath_sam.assets import demo_slide_path
from qupath_sam.engine.build import build_engine
from qupath_sam.engine.like.examples import OutlinedExample, covered_cells, example_windows
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.errors import InvalidPrompt, RequestTooLarge
from qupath_sam.models.base import Embedding
from qupath_sam.models.dense_scales import DENSE_SCALES
from qupath_sam.models.load import load_segmenter
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.training.dense.targets import dense_targets
from qupath_sam.types.choices import ObjectKind
from qupath_sam.types.prompts import Label
from qupath_sam.types.region_requests import Effort, Example, Prompting, RegionRequest
from qupath_sam.types.region_results import RegionBatch, RegionObject
from qupath_sam.types.regions import Window

PURPLE, VIOLET, PALE = (120, 40, 140), (120, 40, 205), (245, 225, 235)
PINK = (235, 200, 215)
RADIUS, STEP = 20, 80
COLUMNS, ROWS = 7, 5


def scene(colours: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Discs of 40 px on pink, by columns of one colour each in turn."""
    pixels = np.full((ROWS * STEP, COLUMNS * STEP, 3), PINK, np.uint8)
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
    for column in range(COLUMNS):
        for row in range(ROWS):
            x, y = place(column, row)
            pixels[np.hypot(columns - x, rows - y) < RADIUS] = colours[column % len(colours)]
    return pixels


def place(column: int, row: int) -> tuple[float, float]:
    return (column + 0.5) * STEP, (row + 0.5) * STEP


def disc(column: int, row: int) -> Polygon:
    return Point(place(column, row)).buffer(RADIUS)


@pytest.fixture(scope="module")
def engine():
    with closing(build_engine(EngineSettings(model="fake", device="cpu"))) as made:
        yield made


def batches(engine, pixels: NDArray[np.uint8], *examples: Example, **options: object) -> list[RegionBatch]:
    options = {"effort": Effort.FAST, "search_background": True, **options}
    request = RegionRequest(prompting=Prompting.LIKE, examples=examples, **options)
    return list(engine.segment_region(PushedReader.of_image(pixels, 0.5), request))


def objects(*arguments: object, **options: object) -> list[RegionObject]:
    return [each for batch in batches(*arguments, **options) for each in batch.objects]


def found_in(objects: Sequence[RegionObject], *columns: int) -> int:
    """How many of the discs of these columns are found."""
    discs = [disc(column, row) for column in columns for row in range(ROWS)]
    return sum(any(iou(each.geometry, one) > 0.5 for each in objects) for one in discs)


def iou(one: shapely.Geometry, other: shapely.Geometry) -> float:
    return one.intersection(other).area / one.union(other).area


def test_one_example_finds_all_of_its_kind_and_no_others(engine):
    found = objects(engine, scene([PURPLE, PALE]), Example(disc(2, 1)))
    assert found_in(found, 0, 2, 4, 6) == 4 * ROWS
    assert len(found) == 4 * ROWS
    assert all(0.4 < each.likeness <= 1 for each in found)


class SeesDiscs:
    """In the place of `DenseMaps`: the maps of what is purple, for objects of the size that a head for glands sees."""

    sha256 = "915a" * 16
    objects = ObjectKind.GLANDS
    scale = DENSE_SCALES[ObjectKind.GLANDS]

    def __call__(self, pixels: NDArray[np.uint8], embedding: Embedding) -> NDArray[np.float32]:
        labels, count = ndimage.label(pixels[..., 0] < 200)
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        seen = areas > np.pi * 20**2
        seen[0] = False
        return dense_targets(np.where(seen[labels], labels, 0))


def test_a_head_for_glands_proposes_what_examples_of_its_size_are_like(monkeypatch: pytest.MonkeyPatch):
    loaded = replace(load_segmenter("fake"), dense={ObjectKind.GLANDS: SeesDiscs()})
    with closing(build_engine(EngineSettings(model="fake", device="cpu"))) as engine:
        engine.models.put(loaded)
        first, *rest = batches(engine, scene([PURPLE, PALE]), Example(disc(2, 1)))
    assert first.downsample == pytest.approx(2 * RADIUS / SeesDiscs.scale.diameter, rel=0.05)
    assert any("dense head 915a" in remark for remark in first.provenance.remarks)
    found = [each for batch in (first, *rest) for each in batch.objects]
    assert found_in(found, 0, 2, 4, 6) == len(found) == 4 * ROWS


def test_a_rejected_example_keeps_its_kind_out(engine):
    pixels, wanted, rejected = scene([PURPLE, VIOLET]), Example(disc(2, 1)), Example(disc(3, 1), Label.NEGATIVE)
    without, with_it = objects(engine, pixels, wanted), objects(engine, pixels, wanted, rejected)
    assert found_in(without, 0, 2, 4, 6) == found_in(with_it, 0, 2, 4, 6) == 4 * ROWS
    assert found_in(without, 1, 3, 5) == 3 * ROWS, "violet is like purple as long as nobody says otherwise"
    assert found_in(with_it, 1, 3, 5) == 0


def test_a_further_example_makes_its_kind_more_like(engine):
    pixels, one, other = scene([PURPLE, VIOLET]), Example(disc(2, 1)), Example(disc(3, 1))

    def of_violet(*examples: Example) -> float:
        places = shapely.union_all([disc(5, row) for row in range(ROWS)])
        found = objects(engine, pixels, *examples)
        return float(np.mean([each.likeness for each in found if places.contains(each.geometry.centroid)]))

    assert of_violet(one, other) > of_violet(one) + 0.05


def test_the_threshold_can_be_moved_afterwards(engine):
    """An answer for a low threshold holds those for all higher ones."""
    pixels, example = scene([PURPLE, VIOLET, PALE]), Example(disc(0, 1))
    every = objects(engine, pixels, example, like_threshold=0.0)
    likeness = sorted({each.likeness for each in every})
    threshold = (likeness[0] + likeness[-1]) / 2
    fewer = objects(engine, pixels, example, like_threshold=threshold)
    assert 0 < len(fewer) < len(every)
    kept = {each.geometry.wkb for each in every if each.likeness >= threshold}
    assert {each.geometry.wkb for each in fewer} == kept


def test_the_examples_say_the_scale_and_the_threshold(engine):
    first = batches(engine, scene([PURPLE, PALE]), Example(disc(2, 1)))[0]
    assert first.downsample == pytest.approx(2 * RADIUS * 1.25 / 64)
    assert any("suggest a likeness of at least 0.40" in remark for remark in first.provenance.remarks)
    asked = batches(engine, scene([PURPLE, PALE]), Example(disc(2, 1)), like_threshold=0.3)[0]
    assert any("0.30 was asked for" in remark for remark in asked.provenance.remarks)


def test_a_resumed_search_goes_on_to_the_same_objects(engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("qupath_sam.engine.region.run.TILES_PER_TOKEN", 2)
    pixels, example = scene([PURPLE, PALE]), Example(disc(2, 1))
    whole = batches(engine, pixels, example)
    half = len(whole) // 2
    token = next(batch.resume_token for batch in whole[half:] if batch.resume_token)
    kept = next(batch.progress.objects for batch in whole[half:] if batch.resume_token)
    rest = objects(engine, pixels, example, resume_token=token)
    every = [each for batch in whole for each in batch.objects]
    assert 0 < kept < len(every)
    assert [each.geometry.wkb for each in every[kept:]] == [each.geometry.wkb for each in rest]


def test_an_example_outside_of_the_image_is_refused(engine):
    with pytest.raises(InvalidPrompt, match="outside the image"):
        batches(engine, scene([PURPLE]), Example(Point(9000, 9000).buffer(9)))
    with pytest.raises(InvalidPrompt, match="outside"):
        batches(engine, scene([PURPLE]), Example((9000.0, 10.0)))


def test_examples_in_many_places_are_refused():
    spread = [OutlinedExample(Point(x * 1000.0, 0).buffer(9), Label.POSITIVE) for x in range(40)]
    with pytest.raises(RequestTooLarge, match="40 places"):
        example_windows(spread, downsample=1.0, tile_size=256)


def test_examples_that_lie_together_share_a_window():
    near = [OutlinedExample(Point(x, 100).buffer(9), Label.POSITIVE) for x in (100, 140, 170, 5000)]
    windows = example_windows(near, downsample=1.0, tile_size=256)
    assert sorted(len(each.examples) for each in windows) == [1, 3]


def test_what_is_smaller_than_a_cell_still_covers_something():
    window = Window(Region(0, 0, 256, 256), 256, 256)
    assert covered_cells(Point(130.5, 8.5).buffer(0.2), window).argmax() == 2 * 64 + 32
    assert covered_cells(shapely.box(8, 4, 12, 6), window)[1, 2] == 0.5


def test_a_click_on_a_nucleus_finds_the_others():
    """The default model, whose dense head proposes nuclei; the clicked one is outlined first."""
    with LocalClient(EngineSettings(device="cpu")) as sam:
        slide = sam.open(demo_slide_path())
        found = list(slide.segment_region(Region(1150, 850, 128, 128), like=[(1227.0, 916.0)], effort=Effort.FAST))
    assert any("dense head" in remark for remark in found[0].provenance.remarks)
    objects = [each for batch in found for each in batch.objects]
    assert len(objects) > 3
    assert all(each.likeness > 0 and each.outline.area_um2 < 200 for each in objects)
