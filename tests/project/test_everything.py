"""All objects of a project's regions, through a real server with its fake model; only QuPath is stood in for."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
import tifffile
from shapely.geometry import Point
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.cli.benchmarks.project import make_project
from qupath_sam.cli.project import _asked
from qupath_sam.cli.project_everything import EverythingInProjectOptions, region_classes
from qupath_sam.client.local import LocalClient
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.errors import ServerUnavailable
from qupath_sam.project.everything import KINDS, EverythingOptions, everything_in_image
from qupath_sam.project.layout import ImageEntry, Project
from qupath_sam.project.objects import ImageContents, ImageObject, Kind
from qupath_sam.project.predictor import ServerReadsSlides
from qupath_sam.project.refine import Proposal
from qupath_sam.project.run import RunOptions, RunReport, run_project
from qupath_sam.project.undo import undo_run
from qupath_sam.qupath.fingerprint import fingerprint
from qupath_sam.types.choices import Effort
from qupath_sam.types.refinements import Refusal
from qupath_sam.types.region_requests import RegionRequest
from tests.project.plain_editor import PlainEditor, fill, read_objects

DISCS = [(x, y) for x in (150, 300, 450) for y in (150, 300, 450)]
RADIUS = 30
#: Of the slides, as `make_project` describes them.
SIDE = 2048


def annotation(shape: Any, path_class: str, roi: str = "Polygon", **values: Any) -> ImageObject:
    return ImageObject(str(uuid.uuid4()), Kind.ANNOTATION, roi, shapely.to_wkb(shape), path_class=path_class, **values)


def objects() -> list[ImageObject]:
    return [
        annotation(shapely.box(80, 80, 520, 380), "Region*"),
        annotation(Point(DISCS[0]).buffer(RADIUS), "Example*"),
    ]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two slides with nine discs each; the region of each holds six, and one of them is the example."""
    project = make_project(tmp_path, 2)
    rows, columns = np.mgrid[:600, :600] + 0.5
    pixels = np.full((SIDE, SIDE, 3), 235, np.uint8)
    for x, y in DISCS:
        pixels[:600, :600][np.hypot(columns - x, rows - y) < RADIUS] = (120, 60, 140)
    for image in project.images:
        resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(project.folder / image.name, pixels, tile=(256, 256), photometric="rgb", **resolution)
        image.folder.mkdir(parents=True)
        fill(project.file, objects(), image.entry_id)
    return project


@pytest.fixture(scope="module")
def client() -> Iterator[LocalClient]:
    with LocalClient(EngineSettings(model="fake", device="cpu")) as made:
        yield made


OPTIONS = EverythingOptions({"Region*": "Disc"}, like=("Example*",), request=RegionRequest(effort=Effort.FAST))


def run(project: Project, client: Any, options: EverythingOptions = OPTIONS, **settings: Any) -> RunReport:
    def propose(worker: int, image: ImageEntry, contents: ImageContents) -> Proposal:
        return everything_in_image(image, contents.objects, options, client, ServerReadsSlides())

    stop = settings.pop("stop", None)
    settings = {"kinds": KINDS, **settings}
    return run_project(project, project.images, propose, PlainEditor(), RunOptions("everything", **settings), stop=stop)


def detections(image: ImageEntry) -> list[ImageObject]:
    return [item for item in read_objects(image).values() if item.kind is Kind.DETECTION]


def hit(found: Sequence[ImageObject]) -> set[tuple[int, int]]:
    return {xy for xy in DISCS if any(item.geometry.centroid.distance(Point(xy)) < 8 for item in found)}


def test_what_is_like_the_examples_becomes_detections_below_the_region(project: Project, client: LocalClient) -> None:
    report = run(project, client)
    assert [image.error for image in report.images] == ["", ""]
    for image in project.images:
        found = detections(image)
        assert hit(found) == {xy for xy in DISCS if xy[1] < 400}
        region = next(item for item in read_objects(image).values() if item.path_class == "Region*")
        assert {item.parent_id for item in found} == {region.object_id}
        assert {item.path_class for item in found} == {"Disc"}
        assert all(0 < item.measurements["SAM likeness"] <= 1 and item.measurements["SAM score"] > 0 for item in found)
        marks = {"qupath-sam.model": "fake", "qupath-sam.found": "like", "qupath-sam.found_class": "Disc"}
        assert all(item.metadata == {**marks, "qupath-sam.outline": fingerprint(item.geometry)} for item in found)


def test_a_second_run_replaces_the_first_and_both_are_undone(project: Project, client: LocalClient) -> None:
    before = {image.entry_id: image.data_file.read_bytes() for image in project.images}
    first = run(project, client)
    image = project.images[0]
    ids = {item.object_id for item in detections(image)}
    second = run(project, client)
    again = detections(image)
    assert len(again) == len(ids)
    assert not ids & {item.object_id for item in again}
    for report in (second, first):
        undo_run(project, report.run_id, PlainEditor())
    assert {image.entry_id: image.data_file.read_bytes() for image in project.images} == before


def test_a_second_run_leaves_what_was_clicked(project: Project, client: LocalClient) -> None:
    image = project.images[0]
    region = next(item for item in read_objects(image).values() if item.path_class == "Region*")
    about = {"parent_id": region.object_id, "measurements": {"SAM score": 0.9}}
    clicked = replace(annotation(Point(220, 220).buffer(9), "Disc", **about), kind=Kind.DETECTION)
    fill(project.file, [*read_objects(image).values(), clicked], image.entry_id)
    run(project, client)
    run(project, client)
    assert clicked.object_id in {item.object_id for item in detections(image)}


def changed(project: Project, **changes: Any) -> ImageObject:
    """Change an object that was found in the first image, as a person does in QuPath; it is returned as it was."""
    image = project.images[0]
    first = detections(image)[0]
    replaced = replace(first, **{name: value(first) for name, value in changes.items()})
    items = (replaced if item.object_id == first.object_id else item for item in read_objects(image).values())
    fill(project.file, list(items), image.entry_id)
    return first


def crossing(item: ImageObject) -> bytes:
    """The outline as a person's brush may leave it: it crosses itself, and GEOS intersects no such polygon."""
    left, top, right, bottom = item.geometry.bounds
    ring = [(left, top), (right, top), (right, bottom), (left + 2, bottom), (left + 2, top - 3)]
    return bytes(shapely.to_wkb(shapely.Polygon(ring)))


@pytest.mark.parametrize(
    "changes",
    [
        {"wkb": lambda item: shapely.to_wkb(shapely.affinity.translate(item.geometry, 3, 0))},
        {"wkb": crossing},
        {"path_class": lambda item: "Mitosis"},
        {"name": lambda item: "look here"},
        {"metadata": lambda item: {**item.metadata, "ANNOTATION_DESCRIPTION": "odd"}},
    ],
    ids=["outline", "crossing outline", "class", "name", "description"],
)
def test_a_second_run_leaves_what_a_person_has_changed_and_does_not_find_it_again(
    project: Project, client: LocalClient, changes: dict[str, Any]
) -> None:
    """Only a corrected outline and a lock were left: a class or name that a person gave was lost."""
    image = project.images[0]
    run(project, client)
    first = detections(image)
    touched = changed(project, **changes)
    now = {item.object_id: item for item in detections(image)}
    run(project, client)
    again = {item.object_id: item for item in detections(image)}
    assert again.keys() & now.keys() == {touched.object_id}
    kept, seen = (replace(items[touched.object_id], probability=1) for items in (again, now))  # NaN is unlike itself
    assert kept == seen
    assert len(again) == len(first)


def test_a_second_run_replaces_what_a_classifier_has_classed(project: Project, client: LocalClient) -> None:
    run(project, client)
    touched = changed(project, path_class=lambda item: "Tumor", probability=lambda item: 0.8)
    run(project, client)
    assert touched.object_id not in {item.object_id for item in detections(project.images[0])}


def test_a_region_that_was_drawn_anew_has_what_was_found_in_the_deleted_one_once(
    project: Project, client: LocalClient
) -> None:
    """The objects of the first run lie beside the new region: a second run put the same below it."""
    image = project.images[0]
    run(project, client)
    first = detections(image)
    kept = [replace(item, parent_id=None) for item in first]
    beside = replace(
        kept[0],
        object_id=str(uuid.uuid4()),
        wkb=shapely.to_wkb(shapely.affinity.translate(kept[0].geometry, 0, 1000)),
    )
    fill(project.file, [*objects(), *kept, beside], image.entry_id)
    run(project, client)
    again = detections(image)
    assert {item.object_id for item in again} & {item.object_id for item in first} == set()
    assert len(again) == len(first) + 1
    assert beside.object_id in {item.object_id for item in again}, "it lies in no region"


def test_a_run_for_everything_leaves_what_was_found_by_examples(project: Project, client: LocalClient) -> None:
    image = project.images[0]
    run(project, client)
    first = {item.object_id for item in detections(image)}
    run(project, client, replace(OPTIONS, like=()))
    assert first <= {item.object_id for item in detections(image)}


def test_a_run_that_loses_its_server_goes_on_with_the_next_image(project: Project, client: LocalClient) -> None:
    class Dying:
        calls = 0

        def segment_region(self, *arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls > 1:
                raise ServerUnavailable("the server has gone; start it again")
            return client.segment_region(*arguments, **options)

    with pytest.raises(ServerUnavailable):
        run(project, Dying())
    assert [bool(detections(image)) for image in project.images] == [True, False]
    resumed = run(project, client, resume=True)
    assert len(resumed.skipped) == len(resumed.images) == 1
    assert all(detections(image) for image in project.images)


def test_a_stopped_run_finishes_its_image(project: Project, client: LocalClient) -> None:
    stop = threading.Event()

    class Stopping:
        def segment_region(self, *arguments: Any, **options: Any) -> Any:
            stop.set()
            return client.segment_region(*arguments, **options)

    report = run(project, Stopping(), stop=stop)
    assert report.stopped
    assert [bool(detections(image)) for image in project.images] == [True, False]


def test_a_region_beside_the_image_does_not_take_the_others_with_it(project: Project, client: LocalClient) -> None:
    image = project.images[0]
    fill(project.file, [*objects(), annotation(shapely.box(9000, 0, 9100, 90), "Region*: far")], image.entry_id)
    report = run(project, client)
    (refused,) = [each for each in report.decisions if each.refusal is not None]
    assert refused.refusal is Refusal.FAILED
    assert "outside the image" in refused.remark
    assert hit(detections(image)) == {xy for xy in DISCS if xy[1] < 400}


def test_without_a_region_the_whole_image_is_one_where_asked(project: Project, client: LocalClient) -> None:
    for image in project.images:
        fill(project.file, objects()[1:], image.entry_id)
    run(project, client)
    assert not any(detections(image) for image in project.images)
    whole = EverythingOptions({"Region*": "Disc"}, True, ("Example*",), request=RegionRequest(effort=Effort.FAST))
    run(project, client, whole)
    assert all(hit(detections(image)) == set(DISCS) for image in project.images)
    assert {item.parent_id for item in detections(project.images[0])} == {None}


def test_points_are_examples_and_others_are_not_wanted(project: Project, client: LocalClient) -> None:
    seen: list[RegionRequest] = []

    class Noting:
        def segment_region(self, image: Any, request: RegionRequest, *, model: str = "") -> Any:
            seen.append(request)
            return iter(())

    points = annotation(shapely.MultiPoint([DISCS[1], DISCS[2]]), "Example*", "Points")
    other = annotation(Point(DISCS[3]).buffer(RADIUS), "Ignore*")
    fill(project.file, [*objects(), points, other], project.images[0].entry_id)
    options = EverythingOptions({"Region*": None}, like=("Example*",), unlike=("Ignore*",), mpp=0.5)
    run(project, Noting(), options)
    assert [example.label.name for example in seen[0].examples] == ["POSITIVE"] * 3 + ["NEGATIVE"]
    assert [example.place for example in seen[0].examples[1:3]] == [DISCS[1], DISCS[2]]
    assert seen[0].mpp == 0.5


def test_options_are_checked_before_the_work(project: Project) -> None:
    def fails(*arguments: str) -> str:
        ended = CliRunner().invoke(app, ["project", "segment", str(project.file), *arguments])
        assert ended.exit_code != 0
        return f"{ended.output}{ended.exception}"

    assert "add --everything" in fails("--like", "Example*")
    assert "leave --together" in fails("--everything", "--together")
    assert "go with --like" in fails("--everything", "--unlike", "Ignore*")
    assert "leave --push-pixels out" in fails("--everything", "--push-pixels", "--server", "x:1")


def test_options_are_kept_as_json() -> None:
    asked = _asked({"every": EverythingInProjectOptions(everything=True, effort=Effort.FAST)})
    assert asked["effort"] == "fast"
    assert region_classes(["Region*", "A=B"]) == {"Region*": None, "A": "B"}
