"""What a run changed and how it is taken back, exactly or object by object."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import shapely
from shapely.geometry import Polygon

from qupath_sam.project.decisions import Action, Decision
from qupath_sam.project.layout import ImageEntry, read_project
from qupath_sam.project.objects import ImageContents
from qupath_sam.project.predictor import ServerReadsSlides
from qupath_sam.project.refine import Proposal
from qupath_sam.project.run import RunOptions, run_project, select_images
from qupath_sam.project.segment import SegmentOptions, segment_image
from qupath_sam.project.undo import inverse, undo_run
from tests.project import plain_project
from tests.project.plain_editor import GrowingPredictor, PlainEditor, fill
from tests.project.refining import OBJECTS, SQUARE, annotation, objects_of, refine


def test_undo_is_exact(project_file: Path) -> None:
    before = plain_project.all_bytes(project_file)
    report = refine(project_file)
    assert plain_project.all_bytes(project_file) != before
    undone = undo_run(read_project(project_file), report.run_id, PlainEditor())
    assert sorted(undone.whole) == ["slide 1.svs", "slide 2.svs", "slide 3.svs"]
    assert plain_project.all_bytes(project_file) == before


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
