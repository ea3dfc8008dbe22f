"""Runs as such: stopped, resumed, by several workers, with images that fail."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.errors import GEOSException

from qupath_sam.client.images import Slide
from qupath_sam.errors import ProjectError, ServerUnavailable, SlideNotFound
from qupath_sam.project.decisions import Action, Decision, Tally, load, save
from qupath_sam.project.layout import ImageEntry, read_project
from qupath_sam.project.objects import ImageContents, Plane
from qupath_sam.project.predictor import ServerReadsSlides
from qupath_sam.project.refine import Proposal, RefineOptions, refine_image
from qupath_sam.project.run import RunOptions, decisions_of, note_report, run_project, select_images
from qupath_sam.project.store.commit import ProjectStore
from qupath_sam.project.store.filesystem import Filesystem
from qupath_sam.project.undo import undo_run
from qupath_sam.slides.location import PathMap
from qupath_sam.types.refinements import Refusal
from tests.project.plain_editor import GrowingPredictor, PlainEditor, fill
from tests.project.refining import OBJECTS, SQUARE, annotation, objects_of, refine


def test_a_failure_of_geos_is_one_image_s(project_file: Path) -> None:
    project, images = select_images(project_file, ())

    def propose(worker: int, image: ImageEntry, contents: ImageContents) -> Proposal:
        if image.entry_id == "2":
            raise GEOSException("IllegalArgumentException: broken")
        return refine_image(image, contents.objects, RefineOptions(), GrowingPredictor(), ServerReadsSlides())

    report = run_project(project, images, propose, PlainEditor(), RunOptions("refine"))
    assert [bool(image.error) for image in report.images] == [False, True, False]
    assert "broken); draw the outline again" in report.images[1].error


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
    note_report(read_project(project_file), run.run_id, project_file.parent)
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


def test_decisions_survive_a_file(tmp_path: Path) -> None:
    decisions = [
        Decision("1", "a", Action.REFINED, "x", OBJECTS[0], b"\x01", None, 0.5, 0.25, "r"),
        Decision("1", "a", Action.REFUSED, "y", OBJECTS[3], b"", Refusal.LOW_IOU, 0.1, 0.2),
    ]
    save(tmp_path / "d.json", decisions, Filesystem())
    loaded = list(load(tmp_path / "d.json"))
    assert [repr(decision) for decision in loaded] == [repr(decision) for decision in decisions]
    assert list(load(tmp_path / "none.json")) == []
