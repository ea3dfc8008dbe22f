"""Runs over a project without QuPath: what is asked, what is decided, what is written, stopped, resumed, undone."""

from __future__ import annotations

import json
import threading
import uuid
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

from qupath_sam.client.images import Pushed, Slide
from qupath_sam.errors import DeadlineExceeded, InvalidRequest, ProjectError, ServerUnavailable, SlideNotFound
from qupath_sam.project.decisions import Action, Decision, Tally, load, save
from qupath_sam.project.filesystem import Filesystem
from qupath_sam.project.guards import Guards, Refusal, intersection_over_union
from qupath_sam.project.layout import ImageEntry, read_project
from qupath_sam.project.measurements import depends_on_shape
from qupath_sam.project.objects import ImageContents, ImageObject, Kind, Plane
from qupath_sam.project.predictor import RENDERING, PushedPixels, ServerReadsSlides, region_around
from qupath_sam.project.prompts import PromptOptions, deepest_points, prompts_from_outline
from qupath_sam.project.refine import Proposal, RefineOptions, refine_image
from qupath_sam.project.run import RunOptions, RunReport, decisions_of, run_project, select_images
from qupath_sam.project.segment import SegmentOptions, prompted_objects, segment_image
from qupath_sam.project.selection import ObjectSelection
from qupath_sam.project.store import ProjectStore
from qupath_sam.project.undo import inverse, undo_run
from qupath_sam.prompts import Label
from qupath_sam.regions import Region
from qupath_sam.slides.location import PathMap
from qupath_sam.windows import WindowRequest
from tests.project import plain_project
from tests.project.plain_editor import GrowingPredictor, PlainEditor, fill, prediction, read_objects

EXTENT = Region(0, 0, 1000, 800)


def annotation(shape: Any, path_class: str | None = "Tumor", roi: str = "Polygon", **values: Any) -> ImageObject:
    return ImageObject(
        str(uuid.uuid4()), Kind.ANNOTATION, roi, shapely.to_wkb(shape), path_class=path_class, probability=0.5, **values
    )


SQUARE = shapely.box(100, 100, 200, 200)
OBJECTS = (
    annotation(SQUARE, name="square", measurements={"Score": 1.0}, metadata={"by": "hand"}),
    annotation(shapely.box(300, 300, 420, 380), "Stroma"),
    annotation(shapely.box(500, 100, 560, 160), "Tumor: Positive", locked=True),
    annotation(shapely.box(500, 500, 560, 560), None, plane=Plane(-1, 2, 1)),
    annotation(Point(5, 5), "Tumor", "Points"),
)


@pytest.fixture
def project_file(tmp_path: Path) -> Path:
    file = plain_project.make(tmp_path / "project")
    project = json.loads(file.read_text())
    for entry in project["images"]:
        entry["serverBuilder"]["metadata"] |= {"width": 1000, "height": 800}
    file.write_text(json.dumps(project))
    for entry_id in "123":
        fill(file, OBJECTS, entry_id)
    return file


def refine(
    project_file: Path,
    *,
    editor: PlainEditor | None = None,
    predictor: Any = None,
    options: RefineOptions | None = None,
    source: Any = None,
    run: RunOptions | None = None,
    **keywords: Any,
) -> RunReport:
    project, images = select_images(project_file, ())
    predictor = predictor or GrowingPredictor()

    def propose(worker: int, image: ImageEntry, contents: ImageContents) -> Proposal:
        return refine_image(
            image, contents.objects, options or RefineOptions(), predictor, source or ServerReadsSlides()
        )

    return run_project(project, images, propose, editor or PlainEditor(), run or RunOptions("refine"), **keywords)


def objects_of(project_file: Path, entry_id: str = "1") -> dict[str, ImageObject]:
    return read_objects(read_project(project_file).image(entry_id))


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
    before = _everything(project_file)
    report = refine(project_file, run=RunOptions("refine", dry=True))
    assert Tally.of(report.decisions).actions["refined"] == 9
    assert _everything(project_file) == before


def test_undo_is_exact(project_file: Path) -> None:
    before = _everything(project_file)
    report = refine(project_file)
    assert _everything(project_file) != before
    undone = undo_run(read_project(project_file), report.run_id, PlainEditor())
    assert sorted(undone.whole) == ["slide 1.svs", "slide 2.svs", "slide 3.svs"]
    assert _everything(project_file) == before


def test_undo_after_other_work_is_by_object(project_file: Path) -> None:
    report = refine(project_file)
    mine = annotation(shapely.box(1, 1, 9, 9), "New")
    reshaped = OBJECTS[1].object_id
    now = objects_of(project_file)
    now[reshaped] = replace(now[reshaped], wkb=shapely.to_wkb(shapely.box(310, 310, 400, 370)))
    fill(project_file, [*now.values(), mine], "1")
    undone = undo_run(read_project(project_file), "last", PlainEditor())
    assert sorted(undone.whole) == ["slide 2.svs", "slide 3.svs"]
    assert undone.by_object == (("slide 1.svs", 2, 1),)
    after = objects_of(project_file)
    assert after[OBJECTS[0].object_id] == OBJECTS[0]
    assert after[reshaped].wkb == now[reshaped].wkb
    assert after[mine.object_id] == mine
    assert report.run_id != undone.run_id


class FailingGeometry(GrowingPredictor):
    """GEOS fails over the object at 300, 300, as it may where a model runs in this process."""

    def answer(self, prompts: Any, window: WindowRequest | None) -> Any:
        if prompts.bounds[0] > 250 and prompts.bounds[0] < 350:
            raise GEOSException("TopologyException: side location conflict")
        return super().answer(prompts, window)


def test_a_failure_of_geos_is_one_object_s(project_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = refine(project_file, predictor=FailingGeometry())
    assert [image.error for image in report.images] == [""] * 3
    failed = [d for d in report.decisions if d.refusal is Refusal.FAILED]
    assert {d.object_id for d in failed} == {OBJECTS[1].object_id}
    assert "side location conflict); draw the outline anew" in failed[0].remark
    assert Tally.of(report.decisions).actions["refined"] == 6

    def fails(old: Any, new: Any) -> float:
        if old.bounds[0] == 300:
            raise GEOSException("TopologyException: side location conflict")
        return intersection_over_union(old, new)

    monkeypatch.setattr("qupath_sam.project.refine.intersection_over_union", fails)
    report = refine(project_file, run=RunOptions("refine", dry=True))
    assert {d.object_id for d in report.decisions if d.refusal is Refusal.FAILED} == {OBJECTS[1].object_id}
    assert Tally.of(report.decisions).actions["refined"] == 6


def test_a_failure_of_geos_is_one_prompt_s(project_file: Path) -> None:
    _, images = select_images(project_file, ("1",))
    boxes = [annotation(shapely.box(x, 300, x + 50, 350), roi="Rectangle") for x in (100, 300, 500)]
    options = SegmentOptions({"Tumor": "Tumor"})
    proposal = segment_image(images[0], boxes, options, FailingGeometry(), ServerReadsSlides())
    assert len(proposal.edit.additions) == 2
    (failed,) = [d for d in proposal.decisions if d.refusal is Refusal.FAILED]
    assert failed.object_id == boxes[1].object_id
    assert "side location conflict" in failed.remark


def test_a_failure_of_geos_is_one_image_s(project_file: Path) -> None:
    project, images = select_images(project_file, ())

    def propose(worker: int, image: ImageEntry, contents: ImageContents) -> Proposal:
        if image.entry_id == "2":
            raise GEOSException("IllegalArgumentException: broken")
        return refine_image(image, contents.objects, RefineOptions(), GrowingPredictor(), ServerReadsSlides())

    report = run_project(project, images, propose, PlainEditor(), RunOptions("refine"))
    assert [bool(image.error) for image in report.images] == [False, True, False]
    assert "broken); draw the outline anew" in report.images[1].error


def test_undo_leaves_points_that_were_moved() -> None:
    moved, stayed = (replace(annotation(SQUARE), wkb=shapely.to_wkb(shapely.Point(x, 5))) for x in (1, 2))
    decisions = [Decision("1", "a", Action.ADDED, item.object_id, new_wkb=item.wkb) for item in (moved, stayed)]
    now = [replace(moved, wkb=shapely.to_wkb(shapely.Point(1, 6))), stayed]
    edit, left = inverse(decisions, now, "r")
    assert edit.removals == (stayed.object_id,)
    assert left == 1


def test_segment_undo_by_object(project_file: Path) -> None:
    project, images = select_images(project_file, ("1",))
    options = SegmentOptions({"Tumor": "Tumor"})

    def propose(worker: int, image: ImageEntry, contents: ImageContents) -> Proposal:
        return segment_image(image, contents.objects, options, GrowingPredictor(), ServerReadsSlides())

    run_project(project, images, propose, PlainEditor(), RunOptions("segment"))
    segmented = objects_of(project_file)
    assert OBJECTS[4].object_id not in segmented
    assert len(segmented) == len(OBJECTS)
    fill(project_file, [*segmented.values(), annotation(SQUARE, "New")], "1")
    undo_run(project, "last", PlainEditor())
    after = objects_of(project_file)
    assert after[OBJECTS[4].object_id] == OBJECTS[4]
    assert len(after) == len(OBJECTS) + 1


def test_undo_goes_on_where_an_image_has_left_the_project(project_file: Path) -> None:
    report = refine(project_file)
    content = json.loads(project_file.read_text())
    del content["images"][0]
    project_file.write_text(json.dumps(content))
    undone = undo_run(read_project(project_file), report.run_id, PlainEditor())
    assert sorted(undone.whole) == ["slide 2.svs", "slide 3.svs"]
    assert [name for name, _ in undone.failed] == ["image 1"]


def test_undo_of_an_undo_after_other_work_says_that_it_cannot(project_file: Path) -> None:
    refine(project_file)
    undo_run(read_project(project_file), "last", PlainEditor())
    fill(project_file, OBJECTS[:2], "1")
    again = undo_run(read_project(project_file), "last", PlainEditor())
    assert sorted(again.whole) == ["slide 2.svs", "slide 3.svs"]
    assert again.by_object == ()
    ((name, reason),) = again.failed
    assert name == "slide 1.svs"
    assert "as a whole only" in reason


def test_undo_leaves_an_outline_alone_that_has_been_drawn_across_itself() -> None:
    bow_tie = shapely.to_wkb(Polygon([(100, 100), (200, 200), (200, 100), (100, 200)]))
    refined = Decision(
        "1", "a", Action.REFINED, OBJECTS[0].object_id, before=OBJECTS[0], new_wkb=shapely.to_wkb(SQUARE.buffer(3))
    )
    edit, left = inverse([refined], [replace(OBJECTS[0], wkb=bow_tie)], "x")
    assert not edit
    assert left == 1


def test_undo_brings_back_prompts_that_lay_in_each_other() -> None:
    gone, outer, middle, inner = (annotation(SQUARE.buffer(-i), "SAM", "Rectangle", name=str(i)) for i in range(4))
    outer = replace(outer, parent_id=gone.object_id)
    middle, inner = replace(middle, parent_id=outer.object_id), replace(inner, parent_id=middle.object_id)
    removed = [Decision("1", "a", Action.REMOVED, item.object_id, before=item) for item in (inner, middle, outer)]
    edit, left = inverse(removed, [], "x")
    assert edit.additions == (replace(outer, parent_id=None), middle, inner)
    assert left == 0


def test_stop_and_resume(project_file: Path) -> None:
    stop = threading.Event()
    options = RunOptions("refine", {"class": "Tumor"})
    first = refine(project_file, run=options, stop=stop, finished=lambda report: stop.set())
    assert first.stopped
    assert len(first.images) == 1
    second = refine(project_file, run=replace(options, resume=True))
    assert second.run_id == first.run_id
    assert second.skipped == ("slide 1.svs",)
    assert len(second.images) == 2
    run = ProjectStore(project_file).run(first.run_id)
    assert len(decisions_of(run)) == 12
    with pytest.raises(ProjectError, match="came to its end"):
        refine(project_file, run=replace(options, resume=True))
    with pytest.raises(ProjectError, match="no unfinished run"):
        refine(project_file, run=RunOptions("refine", {"class": "Stroma"}, resume=True))


def test_lost_server_ends_the_run_and_it_can_be_resumed(project_file: Path) -> None:
    class Dies(GrowingPredictor):
        def predict(self, *args: Any, **keywords: Any) -> Any:
            if len(self.calls) >= 2:  # an image takes two, one for each plane
                raise ServerUnavailable("gone")
            return super().predict(*args, **keywords)

    with pytest.raises(ServerUnavailable):
        refine(project_file, predictor=Dies())
    report = refine(project_file, run=RunOptions("refine", resume=True))
    assert report.skipped == ("slide 1.svs",)
    assert len(report.images) == 2


def test_several_workers_do_each_image_once(project_file: Path) -> None:
    editor = PlainEditor()
    report = refine(project_file, editor=editor, run=RunOptions("refine", workers=3))
    assert sorted(image.image.entry_id for image in report.images) == ["1", "2", "3"]
    assert editor.writes == 3
    assert all(objects_of(project_file, i)[OBJECTS[0].object_id].geometry.equals(SQUARE.buffer(3)) for i in "123")


class BreaksAtTheSecond(PlainEditor):
    def read(self, image: ImageEntry, kinds: Any = ()) -> ImageContents:
        if image.entry_id == "2":
            raise ProjectError("truncated")
        return super().read(image, kinds)


def test_one_broken_image_does_not_stop_the_others(project_file: Path) -> None:
    report = refine(project_file, editor=BreaksAtTheSecond())
    assert [image.error for image in report.images] == ["", "truncated", ""]
    assert objects_of(project_file, "2") == {item.object_id: item for item in OBJECTS}


def test_resuming_tries_failed_images_again(project_file: Path) -> None:
    class Unverified(PlainEditor):
        def verify(self, image: ImageEntry, path: str) -> None:
            if image.entry_id == "2":
                raise ProjectError("not as meant")
            super().verify(image, path)

    first = refine(project_file, editor=Unverified())
    assert [image.error for image in first.images] == ["", "not as meant", ""]
    mended = [*OBJECTS, annotation(shapely.box(1, 1, 9, 9), "New")]
    fill(project_file, mended, "2")  # somebody has mended and saved it
    second = refine(project_file, run=RunOptions("refine", resume=True))
    assert second.run_id == first.run_id
    assert second.skipped == ("slide 1.svs", "slide 3.svs")
    assert [image.error for image in second.images] == [""]
    undo_run(read_project(project_file), first.run_id, PlainEditor())
    assert list(objects_of(project_file, "2").values()) == mended
    assert list(objects_of(project_file, "1").values()) == list(OBJECTS)


def test_an_image_that_the_server_cannot_answer_for_has_failed(project_file: Path) -> None:
    class Blind(GrowingPredictor):
        def predict(self, image: Any, objects: Any, **keywords: Any) -> Any:
            if "2.svs" in str(image.location):
                raise SlideNotFound("not mounted")
            return super().predict(image, objects, **keywords)

    report = refine(project_file, predictor=Blind())
    assert [image.error for image in report.images] == ["", "not mounted", ""]
    assert Tally.of(report.images[1].decisions).refusals == {"the server could not answer": 3, "locked": 1}
    assert [image.error for image in refine(project_file, run=RunOptions("refine", resume=True)).images] == [""]


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


def test_a_run_never_deletes_its_own_backup(project_file: Path) -> None:
    first = refine(project_file, editor=BreaksAtTheSecond())
    ProjectStore(project_file).begin("other", {})
    refine(project_file, run=RunOptions("refine", resume=True, keep_runs=1))
    assert len(undo_run(read_project(project_file), first.run_id, PlainEditor()).whole) == 3


def test_a_file_that_is_held_open_is_the_error_of_its_image(project_file: Path) -> None:
    class Held(Filesystem):
        def replace(self, source: Path, target: Path) -> None:
            if target.name == "data.qpdata" and target.parent.name == "2":
                raise PermissionError(13, "used by another process")
            super().replace(source, target)

    report = refine(project_file, filesystem=Held())
    assert [image.error.partition(" (")[0] for image in report.images] == ["", "cannot be written", ""]
    assert objects_of(project_file, "2") == {item.object_id: item for item in OBJECTS}
    assert not list(project_file.parent.glob("data/*/*.tmp"))
    assert ProjectStore(project_file).recover().rolled_back == ("2",)


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
    options = RefineOptions(mpp=1.0, window_px=256)
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
    proposal = refine_image(images[0], [large], RefineOptions(mpp=1.0), Finds(), ServerReadsSlides())
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


def test_segment_prompts(project_file: Path) -> None:
    objects = [
        annotation(shapely.MultiPoint([(50, 50), (400, 400)]), "SAM", "Points", name="n", plane=Plane(-1, 1, 0)),
        annotation(shapely.box(600, 600, 700, 700), "SAM: big", "Rectangle"),
        annotation(shapely.MultiPoint([(410, 400)]), "SAM*", "Points", plane=Plane(-1, 1, 0)),
        annotation(shapely.box(600, 600, 700, 700), "SAM", "Polygon"),
        annotation(Point(9, 9), "SAM", "Points", locked=True),
        annotation(Point(9, 9), "Tumor", "Points"),
    ]
    objects.append(annotation(Point(650, 650), "SAM", "Points", parent_id=objects[1].object_id))
    options = SegmentOptions({"SAM": "Tumor"})
    each = prompted_objects(objects, options)
    assert [item.source for item in each] == [objects[0], objects[0], objects[1], objects[6]]
    assert [click.label for click in each[1].prompts.clicks] == [Label.POSITIVE, Label.NEGATIVE]
    assert len(each[0].prompts.clicks) == 1
    together = prompted_objects(objects, replace(options, together=True))
    assert len(together) == 3
    assert len(together[0].prompts.clicks[0].points) == 2

    _, images = select_images(project_file, ("1",))
    predictor = GrowingPredictor()
    proposal = segment_image(images[0], objects, options, predictor, ServerReadsSlides())
    added = proposal.edit.additions
    assert [item.path_class for item in added] == ["Tumor"] * 4
    assert [item.plane.z for item in added] == [1, 1, 0, 0]
    assert added[0].name == "n"
    assert added[3].parent_id is None, "its parent was a prompt, which goes"
    assert set(proposal.edit.removals) == {objects[index].object_id for index in (0, 1, 2, 6)}
    assert {call[0].z for call in predictor.calls} == {0, 1}
    keep = segment_image(images[0], objects, replace(options, keep_prompts=True), predictor, ServerReadsSlides())
    assert keep.edit.removals == ()
    assert keep.edit.additions[3].parent_id == objects[1].object_id


def test_a_prompt_at_fault_does_not_take_the_others_with_it(project_file: Path) -> None:
    class Refuses(GrowingPredictor):
        def predict(self, image: Any, objects: Any, **keywords: Any) -> Any:
            if any((item.prompts.clicks[0].points[0]) == (400, 400) for item in objects):
                raise InvalidRequest("not this one")
            return super().predict(image, objects, **keywords)

    points = [annotation(Point(x, x), "SAM", "Points") for x in (50, 400, 200, 5000)]
    _, images = select_images(project_file, ("1",))
    proposal = segment_image(images[0], points, SegmentOptions({"SAM": "SAM"}), Refuses(), ServerReadsSlides())
    assert len(proposal.edit.additions) == 2
    assert set(proposal.edit.removals) == {points[0].object_id, points[2].object_id}
    refused = {decision.object_id: decision.refusal for decision in proposal.decisions if decision.refusal}
    assert refused == {points[1].object_id: Refusal.FAILED, points[3].object_id: Refusal.PROMPT_OUTSIDE}


def test_what_a_model_has_outlined_is_no_prompt(project_file: Path) -> None:
    """A square nucleus becomes a rectangle in QuPath; a second run must not ask about it again."""
    outlined = annotation(SQUARE, "SAM", "Rectangle", metadata={"qupath-sam.model": "fake"})
    assert prompted_objects([outlined], SegmentOptions({"SAM": "SAM"})) == []


def test_scale_of_images_without_a_pixel_size_is_a_downsample(project_file: Path) -> None:
    _, images = select_images(project_file, ("1",))
    predictor = GrowingPredictor()
    options = SegmentOptions({"Tumor": "Tumor"}, window=WindowRequest(mpp=2.0))
    for image in (images[0], replace(images[0], mpp=0.5)):
        segment_image(image, OBJECTS, options, predictor, ServerReadsSlides())
    assert [window for _, _, window in predictor.calls] == [WindowRequest(downsample=2.0), WindowRequest(mpp=2.0)]


def test_prompts_without_an_answer_stay(project_file: Path) -> None:
    class Finds(GrowingPredictor):
        def answer(self, prompts: Any, window: Any) -> Any:
            return Polygon() if prompts.clicks[0].points[0][0] > 300 else super().answer(prompts, window)

    points = annotation(shapely.MultiPoint([(50, 50), (400, 400)]), "SAM", "Points")
    _, images = select_images(project_file, ("1",))
    proposal = segment_image(images[0], [points], SegmentOptions({"SAM": "SAM"}), Finds(), ServerReadsSlides())
    assert len(proposal.edit.additions) == 1
    assert proposal.edit.removals == ()
    assert Tally.of(proposal.decisions) == Tally({"added": 1, "refused": 1}, {"nothing found": 1})


def test_holes_and_specks_of_a_mask_are_cleaned_away(project_file: Path) -> None:
    class Speckled(GrowingPredictor):
        def answer(self, prompts: Any, window: Any) -> Any:
            speck, hole = Point(50, 50).buffer(3), Point(150, 150).buffer(4)
            return SQUARE.difference(hole).difference(Point(120, 120).buffer(10)).union(speck)

    _, images = select_images(project_file, ("1",))
    old = [annotation(SQUARE)]
    cleaned = refine_image(images[0], old, RefineOptions(), Speckled(), ServerReadsSlides()).edit.changes[0]
    shape = shapely.from_wkb(cleaned.new_wkb)
    assert shape.geom_type == "Polygon"
    assert len(shape.interiors) == 1, "the large hole stays"
    options = RefineOptions(clean_share=0)
    raw = refine_image(images[0], old, options, Speckled(), ServerReadsSlides()).edit.changes[0]
    assert len(shapely.get_parts(shapely.from_wkb(raw.new_wkb))) == 2


def test_path_map_reaches_into_the_builder(project_file: Path) -> None:
    _, images = select_images(project_file, ("1",))
    wrapped = {
        "builderType": "rotated",
        "builder": {"builderType": "uri", "uri": "file:/D:/slides/a%20b.svs"},
    }
    image = replace(images[0], server_builder=wrapped)
    source = ServerReadsSlides(PathMap.parse([r"D:\slides=/mnt/slides"]))
    slide = source.reference(image, Plane(-1, 2, 1), (0, 0, 1, 1))
    assert isinstance(slide, Slide)
    assert json.loads(str(slide.location))["builder"]["uri"] == "/mnt/slides/a b.svs"
    assert (slide.z, slide.t, slide.size) == (2, 1, (1000, 800))
    untouched = ServerReadsSlides().reference(image, Plane(), (0, 0, 1, 1))
    assert json.loads(str(untouched.location)) == wrapped


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


def test_decisions_survive_a_file(tmp_path: Path) -> None:
    decisions = [
        Decision("1", "a", Action.REFINED, "x", OBJECTS[0], b"\x01", None, 0.5, 0.25, "r"),
        Decision("1", "a", Action.REFUSED, "y", OBJECTS[3], b"", Refusal.LOW_IOU, 0.1, 0.2),
    ]
    save(tmp_path / "d.json", decisions, Filesystem())
    loaded = list(load(tmp_path / "d.json"))
    assert [repr(decision) for decision in loaded] == [repr(decision) for decision in decisions]
    assert list(load(tmp_path / "none.json")) == []


def test_iou() -> None:
    assert intersection_over_union(SQUARE, SQUARE) == 1
    assert intersection_over_union(SQUARE, shapely.box(150, 100, 250, 200)) == pytest.approx(1 / 3)
    assert intersection_over_union(Polygon(), Polygon()) == 0
    assert len(prediction([SQUARE, Polygon()]).results[1].outlines) == 0


def _everything(project_file: Path) -> dict[str, bytes]:
    folder = project_file.parent
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] != ".qupath-sam"
    }
