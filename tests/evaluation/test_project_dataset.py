"""A QuPath project's annotations as a data set: without QuPath where that goes, and with a real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely
from shapely.geometry import Point, box

from qupath_sam.errors import InvalidRequest, ProjectError
from qupath_sam.evaluation.datasets.annotated import AnnotationChoices
from qupath_sam.evaluation.objects import Selection
from qupath_sam.project.dataset import ProjectChoices, project_dataset
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import ImageContents, ImageObject, Kind, Plane
from qupath_sam.project.selection import ImageSelection
from qupath_sam.slides.location import PathMap
from tests.evaluation.test_annotated import areas, reasons
from tests.evaluation.test_slide_datasets import write_tiff


class WrittenObjects:
    """Objects by entry id; an image without any is broken."""

    def __init__(self, objects: dict[str, list[ImageObject]]) -> None:
        self.objects = objects

    def qupath_version(self) -> str:
        return "0.7.0"

    def read(self, image: ImageEntry, kinds: tuple[Kind, ...] = (Kind.ANNOTATION,)) -> ImageContents:
        if image.entry_id not in self.objects:
            raise ProjectError("data.qpdata is truncated; restore it")
        found = tuple(item for item in self.objects[image.entry_id] if item.kind in kinds)
        return ImageContents(found, len(found))


def annotation(shape, path_class: str | None = "Tumor", **values) -> ImageObject:
    return ImageObject("id", Kind.ANNOTATION, "Polygon", shapely.to_wkb(shape), path_class=path_class, **values)


def write_project(folder: Path, *images: dict) -> Path:
    """A project whose images lie in ``folder/slides``: by name, with metadata."""
    (folder / "slides").mkdir(parents=True)
    entries = []
    for number, image in enumerate(images, start=1):
        path = folder / "slides" / image["file"]
        if not path.exists() and image.get("there", True):
            write_tiff(path, (600, 600), 0.5)
        builder = {
            "builderType": "uri",
            "providerClassName": "qupath.lib.images.servers.openslide.OpenslideServerBuilder",
            "uri": image.get("uri", path.as_uri()),
            "args": [],
        }
        entry = {"serverBuilder": builder, "entryID": number, "imageName": image.get("name", image["file"])}
        entries.append({**entry, "metadata": image.get("metadata", {})})
    file = folder / "project.qpproj"
    file.write_text(json.dumps({"version": "0.7.0", "images": entries}), encoding="utf-8")
    return file


def test_annotations_of_all_images_with_patients_as_groups(tmp_path) -> None:
    file = write_project(
        tmp_path / "my project",
        {"file": "a.tif", "metadata": {"Patient": "P1"}},
        {"file": "b.tif", "metadata": {"Patient": "P1"}},
        {"file": "c.tif"},
    )
    reader = WrittenObjects(
        {
            "1": [annotation(box(0, 0, 50, 50)), annotation(Point(3, 3)), annotation(box(0, 0, 9, 9), "Stroma")],
            "2": [annotation(box(0, 0, 40, 40), locked=True), annotation(box(0, 0, 30, 30), plane=Plane(-1, 1, 0))],
            "3": [annotation(box(0, 0, 20, 20), "Tumor: Positive")],
        }
    )
    choices = ProjectChoices(AnnotationChoices(("Tumor",)), group_by="Patient")
    dataset = project_dataset(file, reader, choices)
    assert dataset.name == "my project"
    assert areas(dataset) == [400, 1600, 2500]
    assert [t.group for t in dataset.tiles] == ["P1", "P1", "c.tif"]
    assert reasons(dataset) == [
        "a.tif: 1 annotations have no area",
        "b.tif: 1 annotations are on another plane than z 0, t 0",
    ]
    assert project_dataset(file, reader, ProjectChoices()).groups == {"a.tif", "b.tif", "c.tif"}
    some = ProjectChoices(images=ImageSelection(("b*",)))
    assert [t.group for t in project_dataset(file, reader, some).tiles] == ["b.tif"]
    with pytest.raises(InvalidRequest, match="known: Patient"):
        project_dataset(file, reader, ProjectChoices(group_by="Case"))


def test_images_that_cannot_be_read_are_named_and_the_rest_evaluated(tmp_path) -> None:
    file = write_project(
        tmp_path / "p", {"file": "a.tif"}, {"file": "gone.tif", "there": False}, {"file": "damaged.tif"}
    )
    reader = WrittenObjects({"1": [annotation(box(0, 0, 50, 50))], "2": [annotation(box(0, 0, 50, 50))]})
    dataset = project_dataset(file, reader, ProjectChoices())
    assert areas(dataset) == [2500]
    damaged, gone = reasons(dataset)
    assert damaged.startswith("damaged.tif: data.qpdata is truncated")
    assert gone.startswith("gone.tif: 1 annotations: ")


def test_images_of_one_name_and_slides_that_lie_elsewhere_now(tmp_path) -> None:
    file = write_project(
        tmp_path / "p",
        {"file": "a.tif", "name": "slide", "uri": "file:/D:/lab/a.tif"},
        {"file": "b.tif", "name": "slide", "uri": "file:/D:/lab/b.tif"},
    )
    reader = WrittenObjects({"1": [annotation(box(0, 0, 50, 50))], "2": [annotation(box(0, 0, 40, 40))]})
    path_map = PathMap.parse([f"D:\\lab={tmp_path / 'p' / 'slides'}"])
    dataset = project_dataset(file, reader, ProjectChoices(path_map=path_map))
    assert areas(dataset) == [1600, 2500]
    assert dataset.groups == {"1 slide", "2 slide"}
    assert all(Selection().view(tile).objects for tile in dataset.tiles)


def test_without_qupath_the_project_is_an_error_not_an_empty_set(tmp_path) -> None:
    class NoQuPath(WrittenObjects):
        def qupath_version(self) -> str:
            raise ProjectError("QuPath cannot be started; install it")

    with pytest.raises(ProjectError, match="cannot be started"):
        project_dataset(write_project(tmp_path / "p", {"file": "a.tif"}), NoQuPath({}), ProjectChoices())
