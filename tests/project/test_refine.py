"""Refining a project without QuPath: what is asked, what is decided, what is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.errors import GEOSException
from shapely.geometry import Point, Polygon

from qupath_sam.client.images import Pushed
from qupath_sam.engine.refine_guards import Guards, intersection_over_union, parts_of, without_strangers
from qupath_sam.engine.refine_options import PromptOptions
from qupath_sam.engine.refine_prompts import deepest_points, prompts_from_outline
from qupath_sam.errors import DeadlineExceeded, ProjectError, SlideNotFound
from qupath_sam.project.decisions import Tally
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.measurements import depends_on_shape
from qupath_sam.project.objects import ImageObject, Plane
from qupath_sam.project.predictor import RENDERING, PushedPixels, ServerReadsSlides, region_around
from qupath_sam.project.refine import RefineOptions, refine_image
from qupath_sam.project.run import RunOptions, select_images
from qupath_sam.project.segment import SegmentOptions, segment_image
from qupath_sam.project.selection import ObjectSelection
from qupath_sam.types.prompts import Label
from qupath_sam.types.refinements import Refusal
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import WindowRequest
from tests.project import plain_project
from tests.project.plain_editor import GrowingPredictor, fill, prediction
from tests.project.refining import EXTENT, OBJECTS, SQUARE, FailingGeometry, annotation, objects_of, refine


def test_refine_changes_the_shape_and_nothing_else(project_file: Path) -> None:
    report = refine(project_file, options=RefineOptions(selection=ObjectSelection(path_classes=("Tumor",))))
    now = objects_of(project_file)
    assert now.keys() == {item.object_id for item in OBJECTS}
    square = now[OBJECTS[0].object_id]
    assert square.geometry.equals(SQUARE.buffer(3))
    assert square.measurements["Score"] == 1.0
    assert square.measurements["SAM score"] == 0.8
    assert square.metadata["qupath-sam.model"] == "fake"
    assert (square.name, square.path_class) == ("square", "Tumor")
    assert [now[item.object_id] for item in OBJECTS[1:]] == list(OBJECTS[1:])
    assert Tally.of(report.decisions) == Tally({"refined": 3, "refused": 3}, {"locked": 3})
    assert not report.stopped
    assert all(image.error == "" for image in report.images)


def test_metadata_of_the_outline_before_go(project_file: Path) -> None:
    _, images = select_images(project_file, ("1",))
    clicked = {
        "by": "hand",
        "qupath-sam.clicks": "+5,5",
        "SAM model": "other",
        "SAM clicks": "+5,5",
        "SAM remark": "mine",
    }
    for provenance in (True, False):
        (change,) = refine_image(
            images[0],
            [annotation(SQUARE, metadata=clicked)],
            RefineOptions(provenance=provenance),
            GrowingPredictor(),
            ServerReadsSlides(),
        ).edit.changes
        assert change.exact_metadata == {"by": "hand", "SAM remark": "mine", **change.metadata}
        assert ("qupath-sam.model" in change.metadata) is provenance


def test_dry_run_changes_no_file(project_file: Path) -> None:
    before = plain_project.all_bytes(project_file)
    report = refine(project_file, run=RunOptions("refine", dry=True))
    assert Tally.of(report.decisions).actions["refined"] == 9
    assert plain_project.all_bytes(project_file) == before


def test_a_failure_of_geos_is_one_object_s(project_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = refine(project_file, predictor=FailingGeometry())
    assert [image.error for image in report.images] == [""] * 3
    failed = [d for d in report.decisions if d.refusal is Refusal.FAILED]
    assert {d.object_id for d in failed} == {OBJECTS[1].object_id}
    assert "side location conflict); draw the outline again" in failed[0].remark
    assert Tally.of(report.decisions).actions["refined"] == 6

    def fails(old: Any, new: Any) -> float:
        if old.bounds[0] == 300:
            raise GEOSException("TopologyException: side location conflict")
        return intersection_over_union(old, new)

    monkeypatch.setattr("qupath_sam.engine.refine.intersection_over_union", fails)
    report = refine(project_file, run=RunOptions("refine", dry=True))
    assert {d.object_id for d in report.decisions if d.refusal is Refusal.INVALID} == {OBJECTS[1].object_id}
    assert Tally.of(report.decisions).actions["refined"] == 6


def test_a_call_that_takes_too_long_is_halved(project_file: Path) -> None:
    class Slow(GrowingPredictor):
        def predict(self, image: Any, objects: Any, **keywords: Any) -> Any:
            if len(objects) > 2:
                raise DeadlineExceeded("too long")
            return super().predict(image, objects, **keywords)

    class Hanging(GrowingPredictor):
        def predict(self, image: Any, objects: Any, **keywords: Any) -> Any:
            raise DeadlineExceeded("too long")

    _, images = select_images(project_file, ("1",))
    many = [annotation(shapely.box(x, 10, x + 50, 60)) for x in range(10, 900, 100)]
    proposal = refine_image(images[0], many, RefineOptions(), Slow(), ServerReadsSlides())
    assert [change.object_id for change in proposal.edit.changes] == [item.object_id for item in many]
    points = [annotation(Point(x, 50), roi="Points") for x in range(10, 900, 100)]
    segmented = segment_image(images[0], points, SegmentOptions({"Tumor": "Tumor"}), Slow(), ServerReadsSlides())
    assert len(segmented.edit.additions) == len(points)
    with pytest.raises(DeadlineExceeded):
        refine_image(images[0], many, RefineOptions(), Hanging(), ServerReadsSlides())


def test_annotations_of_one_id_are_left_alone(project_file: Path) -> None:
    """QuPath makes such twins when one file is imported twice; which of them is meant cannot be said."""
    twin = replace(OBJECTS[0], wkb=shapely.to_wkb(shapely.box(10, 10, 50, 50)))
    _, images = select_images(project_file, ("1",))
    proposal = refine_image(images[0], [*OBJECTS, twin], RefineOptions(), GrowingPredictor(), ServerReadsSlides())
    assert Tally.of(proposal.decisions).refusals == {"another annotation has the same id": 2, "locked": 1}
    assert OBJECTS[0].object_id not in {change.object_id for change in proposal.edit.changes}


def test_object_at_fault_is_found(project_file: Path) -> None:
    class Refuses(GrowingPredictor):
        def predict(self, image: Any, objects: Any, **keywords: Any) -> Any:
            if any(item.object_id == OBJECTS[1].object_id for item in objects):
                raise SlideNotFound("not here")
            return super().predict(image, objects, **keywords)

    report = refine(project_file, predictor=Refuses())
    assert Tally.of(report.decisions).refusals == {"locked": 3, "the server could not answer": 3}
    assert Tally.of(report.decisions).actions["refined"] == 6


def test_large_outlines_are_asked_for_along_their_border(project_file: Path) -> None:
    large = annotation(shapely.box(100, 100, 800, 700))
    fill(project_file, [large], "1")
    predictor = GrowingPredictor(by=4)
    _, images = select_images(project_file, ("1",))
    options = RefineOptions(ObjectSelection(path_classes=("Tumor",)), mpp=1.0, window_px=256)
    proposal = refine_image(images[0], [large], options, predictor, ServerReadsSlides())
    assert len(predictor.calls) > 10
    for _, prompts, window in predictor.calls:
        assert window is not None
        assert window.region is not None
        assert (window.region.width, window.downsample) == (256, 1.0)
        assert prompts[0].outline is not None
        assert shapely.box(*window.region.bounds).covers(prompts[0].outline)
    (change,) = proposal.edit.changes
    grown = large.geometry.buffer(4)
    assert shapely.from_wkb(change.new_wkb).symmetric_difference(grown).area < 0.1 * (grown.area - large.geometry.area)
    assert "windows along the border" in proposal.decisions[0].remark


@pytest.mark.parametrize(("answer", "refusal"), [(Polygon(), Refusal.EMPTY), (Point(9, 9).buffer(5), Refusal.LOW_IOU)])
def test_a_large_outline_along_which_nothing_was_found_is_left_alone(
    project_file: Path, answer: Polygon, refusal: Refusal
) -> None:
    class Finds(GrowingPredictor):
        def answer(self, prompts: Any, window: Any) -> Polygon:
            return answer

    large = annotation(shapely.box(100, 100, 800, 700))
    _, images = select_images(project_file, ("1",))
    options = RefineOptions(ObjectSelection(path_classes=("Tumor",)), mpp=1.0)
    proposal = refine_image(images[0], [large], options, Finds(), ServerReadsSlides())
    assert not proposal.edit
    assert [decision.refusal for decision in proposal.decisions] == [refusal]


@pytest.mark.parametrize(
    ("new", "score", "cut_off", "expected"),
    [
        (SQUARE.buffer(2), 0.9, False, None),
        (Polygon(), 0.9, False, Refusal.EMPTY),
        (Polygon([(100, 100), (200, 200), (200, 100), (100, 150)]), 0.9, False, Refusal.INVALID),
        (shapely.box(-5, 100, 200, 200), 0.9, False, Refusal.OUTSIDE),
        (SQUARE, 0.1, False, Refusal.LOW_SCORE),
        (SQUARE, 0.9, True, Refusal.CUT_OFF),
        (SQUARE.buffer(60), 0.9, False, Refusal.AREA_CHANGE),
        (SQUARE.buffer(-20), 0.9, False, Refusal.AREA_CHANGE),
        (shapely.affinity.translate(SQUARE, 60, 0), 0.9, False, Refusal.LOW_IOU),
    ],
)
def test_guards(new: Polygon, score: float, cut_off: bool, expected: Refusal | None) -> None:
    guards = Guards(min_iou=0.5, max_area_change=2.0, min_score=0.2)
    assert guards.refusal(SQUARE, new, score=score, touches_window_edge=cut_off, extent=EXTENT) is expected


@pytest.mark.parametrize(
    ("item", "refusal"),
    [
        (annotation(Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])), Refusal.OLD_INVALID),
        (annotation(shapely.box(2000, 0, 2100, 100)), Refusal.OLD_OUTSIDE),
        (annotation(SQUARE, locked=True), Refusal.LOCKED),
    ],
)
def test_hopeless_outlines_are_not_asked_about(project_file: Path, item: ImageObject, refusal: Refusal) -> None:
    predictor = GrowingPredictor()
    _, images = select_images(project_file, ("1",))
    proposal = refine_image(images[0], [item], RefineOptions(), predictor, ServerReadsSlides())
    assert [decision.refusal for decision in proposal.decisions] == [refusal]
    assert not predictor.calls
    assert not proposal.edit


@pytest.mark.parametrize("kept_by", ["children", "size"])
def test_a_region_is_redrawn_only_where_its_class_is_named(project_file: Path, kept_by: str) -> None:
    """On 0.1.0 `project refine` without a class redrew the rectangle that a person works in."""
    large = kept_by == "size"
    region = annotation(shapely.box(100, 100, 800, 700) if large else SQUARE, None, children=0 if large else 300)
    inside = annotation(shapely.box(300, 300, 380, 380), parent_id=region.object_id)
    _, images = select_images(project_file, ("1",))
    predictor = GrowingPredictor()
    proposal = refine_image(images[0], [region, inside], RefineOptions(), predictor, ServerReadsSlides())
    assert [change.object_id for change in proposal.edit.changes] == [inside.object_id]
    refusal = Refusal.LARGER_THAN_WINDOW if large else Refusal.HAS_CHILDREN
    assert [d.refusal for d in proposal.decisions if d.object_id == region.object_id] == [refusal]
    assert len(predictor.calls) == 1
    assert "name its class" in refusal.value
    named = RefineOptions(ObjectSelection(path_classes=("Unclassified",)))
    proposal = refine_image(images[0], [region, inside], named, predictor, ServerReadsSlides())
    assert [change.object_id for change in proposal.edit.changes] == [region.object_id]


WITH_HOLE = shapely.box(0, 0, 400, 300).difference(shapely.box(100, 100, 200, 170))
IN_TWO = shapely.union_all([shapely.box(0, 0, 300, 300), shapely.box(350, 0, 450, 100)])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (WITH_HOLE, shapely.box(2, 0, 400, 300).difference(shapely.box(104, 98, 205, 172)), None),
        # 7,000 px2 became a sliver of 145, or nothing: the whole hardly shows it.
        (WITH_HOLE, shapely.box(0, 0, 400, 300).difference(shapely.box(100, 100, 110, 114.5)), Refusal.HOLE_LOST),
        (WITH_HOLE, shapely.box(0, 0, 400, 300), Refusal.HOLE_LOST),
        (WITH_HOLE, shapely.box(0, 0, 400, 300).difference(shapely.box(250, 100, 350, 170)), Refusal.HOLE_LOST),
        (IN_TWO, shapely.union_all([shapely.box(2, 0, 300, 298), shapely.box(352, 2, 455, 104)]), None),
        (IN_TWO, shapely.box(0, 0, 300, 300), Refusal.PART_LOST),
        (IN_TWO, shapely.box(0, 0, 450, 300), Refusal.PART_LOST),
        (IN_TWO, shapely.union_all([shapely.box(0, 0, 300, 300), shapely.box(350, 0, 390, 30)]), Refusal.PART_LOST),
    ],
)
def test_every_part_and_hole_is_matched(old: Any, new: Any, expected: Refusal | None) -> None:
    extent = Region(-10, -10, 1000, 1000)
    guards = Guards()
    assert guards.refusal(old, new, score=1, touches_window_edge=False, extent=extent) is expected
    assert intersection_over_union(old, new) > 0.7
    if expected is Refusal.HOLE_LOST:  # the hole is 7000 px2
        for least, unseen in ((6999, expected), (7001, None)):
            given = guards.refusal(old, new, score=1, touches_window_edge=False, extent=extent, least_area=least)
            assert given is unseen


def test_a_square_stays_in_one_piece(project_file: Path) -> None:
    """A square of 40 px came back in four parts."""
    square = annotation(shapely.box(100, 100, 140, 140))
    scraps = [shapely.box(100, 137, 108, 140), shapely.box(137, 100, 140, 106), shapely.box(150, 150, 160, 160)]

    class InFour(GrowingPredictor):
        def answer(self, prompts: Any, window: Any) -> Any:
            return shapely.union_all([shapely.box(100, 100, 136, 136), *scraps])

    _, images = select_images(project_file, ("1",))
    proposal = refine_image(images[0], [square], RefineOptions(), InFour(), ServerReadsSlides())
    (change,) = proposal.edit.changes
    assert shapely.from_wkb(change.new_wkb).equals(shapely.box(100, 100, 136, 136))


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_strangers_go_and_nothing_else(seed: int) -> None:
    chance = np.random.default_rng(seed)
    boxes = [shapely.box(x, y, x + w, y + h) for x, y, w, h in chance.uniform((0, 0, 5, 5), (90, 90, 40, 40), (8, 4))]
    old, new = shapely.union_all(boxes[:4]), shapely.union_all(boxes[4:])
    kept = without_strangers(new, old)
    parts = [part.wkb for part in parts_of(new)]
    assert all(part.wkb in parts for part in parts_of(kept)), "a part has changed"
    assert kept.is_valid
    assert without_strangers(kept, old).equals(kept)
    assert without_strangers(old, old).equals(old)
    if len(parts_of(kept)) < len(parts):
        assert len(parts_of(kept)) <= len(parts_of(old))
        assert all(part.intersection(old).area > 0 for part in parts_of(kept))


def test_locked_objects_are_refined_on_request(project_file: Path) -> None:
    _, images = select_images(project_file, ("1",))
    options = RefineOptions(selection=ObjectSelection(locked=True))
    proposal = refine_image(
        images[0], [annotation(SQUARE, locked=True)], options, GrowingPredictor(), ServerReadsSlides()
    )
    assert len(proposal.edit.changes) == 1


def test_selection() -> None:
    image = ImageEntry("1", "a.svs", {}, 1000, 800, 0.5, Path())

    def chosen(**values: Any) -> list[int]:
        selected = ObjectSelection(**values).select(OBJECTS, image)
        return [OBJECTS.index(item) for item in selected]

    assert chosen() == [0, 1, 2, 3]
    assert chosen(path_classes=("Tumor",)) == [0, 2]
    assert chosen(path_classes=("Unclassified", "Stroma")) == [1, 3]
    assert chosen(not_classes=("Tumor",)) == [1, 3]
    assert chosen(names=("squ*",)) == [0]
    assert chosen(min_area=2400) == [0, 1]
    assert chosen(max_area=900) == [2, 3]
    assert ObjectSelection(min_area=2400).select(OBJECTS, replace(image, mpp=None)) == [*OBJECTS[:4]]
    with pytest.raises(ProjectError, match="no QuPath project"):
        select_images(Path("/nowhere"), ())


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_prompts_of_an_outline(seed: int) -> None:
    chance = np.random.default_rng(seed)
    outline = shapely.MultiPoint(chance.uniform((0, 0), (1000, 800), (8, 2))).convex_hull
    hole = outline.centroid.buffer(np.sqrt(outline.area) / 6)
    outline = outline.difference(hole)
    prompts = prompts_from_outline(outline, EXTENT, PromptOptions(interior=3, exterior=3))
    assert prompts.outline is outline
    assert prompts.box is not None
    assert shapely.box(*prompts.box.bounds).covers(outline)
    assert shapely.box(*EXTENT.bounds).covers(shapely.box(*prompts.box.bounds))
    prompts.check_inside(EXTENT)
    for click in prompts.clicks:
        for point in click.points:
            assert outline.contains(Point(point)) is (click.label is Label.POSITIVE)
    assert {click.label for click in prompts.clicks} == {Label.POSITIVE, Label.NEGATIVE}


def test_deepest_points_reach_every_part() -> None:
    two = shapely.union_all([Point(0, 0).buffer(10), Point(50, 0).buffer(8)])
    first, second = deepest_points(two, 2, within=two.bounds)
    assert Point(first).distance(Point(0, 0)) < 0.5
    assert Point(second).distance(Point(50, 0)) < 0.5
    assert deepest_points(two, 0, within=two.bounds) == ()
    assert len(deepest_points(Point(0, 0).buffer(1), 50, within=(-1, -1, 1, 1))) < 50


def test_scale_of_images_without_a_pixel_size_is_a_downsample(project_file: Path) -> None:
    _, images = select_images(project_file, ("1",))
    predictor = GrowingPredictor()
    options = SegmentOptions({"Tumor": "Tumor"}, window=WindowRequest(mpp=2.0))
    for image in (images[0], replace(images[0], mpp=0.5)):
        segment_image(image, OBJECTS, options, predictor, ServerReadsSlides())
    assert [window for _, _, window in predictor.calls] == [WindowRequest(downsample=2.0), WindowRequest(mpp=2.0)]


def test_pushed_pixels_show_the_object_and_its_surroundings(project_file: Path) -> None:
    pushed: list[dict[str, Any]] = []

    class Server:
        def push_pixels(self, data: bytes, **values: Any) -> Pushed:
            pushed.append(values | {"data": data})
            return Pushed(b"digest")

    class Pixels:
        def pixels(
            self, image: ImageEntry, region: tuple[int, int, int, int], downsample: float, *, z: int = 0, t: int = 0
        ) -> tuple[int, int, bytes]:
            assert (z, t, downsample) == (2, 1, 1.0)
            return region[2], region[3], bytes(region[2] * region[3] * 3)

    _, images = select_images(project_file, ("1",))
    reference = PushedPixels(Pixels(), Server()).reference(images[0], Plane(-1, 2, 1), (10.5, 20, 110, 60))
    assert reference == Pushed(b"digest")
    assert pushed[0]["region"] == Region(0, 0, 366, 316)
    assert pushed[0]["pixel_size"] == (366, 316)
    assert pushed[0]["image_size"] == (1000, 800)
    assert pushed[0]["rendering"] == RENDERING
    with pytest.raises(ProjectError, match="outside"):
        region_around((5000, 5000, 5001, 5001), EXTENT)


@pytest.mark.parametrize(
    ("name", "depends"),
    [
        ("Area µm^2", True),
        ("Area px^2", True),
        ("Length µm", True),
        ("Max diameter µm", True),
        ("Circularity", True),
        ("Solidity", True),
        ("Nucleus: Area µm^2", True),
        ("Nucleus/Cell area ratio", True),
        ("ROI: 2.00 µm per pixel: Hematoxylin: Mean", True),
        ("SAM score", True),
        ("SAM IoU with old outline", True),
        ("Positive %", False),
        ("Num Detections", False),
        ("Square: Diameter 25.0 µm: 2.00 µm per pixel: Red: Mean", True),
        ("Tumor area µm^2", True),
        ("my classifier: Total annotated area mm^2", True),
        ("my classifier: Tumor %", False),
        ("Area of concern", False),
        ("Perimeter invasion", False),
    ],
)
def test_measurements_of_shape(name: str, depends: bool) -> None:
    assert depends_on_shape(name) is depends


def test_shares_that_a_pixel_classifier_has_found_are_of_the_shape() -> None:
    names = ["c: Tumor %", "c: Tumor area mm^2", "Tumor %", "Stroma %", "Stroma area px^2", "%", "by eye %"]
    assert [name for name in names if depends_on_shape(name, names)] == [*names[:2], *names[3:5]]


def test_iou() -> None:
    assert intersection_over_union(SQUARE, SQUARE) == 1
    assert intersection_over_union(SQUARE, shapely.box(150, 100, 250, 200)) == pytest.approx(1 / 3)
    assert intersection_over_union(Polygon(), Polygon()) == 0
    assert len(prediction([SQUARE, Polygon()]).results[1].outlines) == 0
