"""A QuPath project's annotations as a data set: without QuPath where that goes, and with a real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely
import typer
from shapely.geometry import Point, Polygon, box
from typer.testing import CliRunner

from qupath_sam.cli.evaluate import evaluate
from qupath_sam.cli.train import train
from qupath_sam.datasets import open_dataset
from qupath_sam.datasets.annotated import AnnotationChoices
from qupath_sam.datasets.objects import Selection
from qupath_sam.datasets.seen import check_unseen, groups_seen_in
from qupath_sam.errors import InvalidRequest, ProjectError
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.project.dataset import ProjectChoices, project_dataset
from qupath_sam.project.exchange import export_image
from qupath_sam.project.jvm.worker import QuPathWorker
from qupath_sam.project.layout import ImageEntry, read_project
from qupath_sam.project.objects import ImageContents, ImageObject, Kind, Plane
from qupath_sam.project.selection import ImageSelection
from qupath_sam.slides.location import PathMap
from qupath_sam.training.data import training_data
from qupath_sam.training.run import CHECKPOINT_FILE
from tests.datasets.test_annotated import areas, reasons
from tests.datasets.test_slide_datasets import write_tiff


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


@pytest.mark.parametrize("group_by", ["", "Patient"])
def test_a_model_that_was_trained_on_patients_has_seen_their_slides(tmp_path, group_by) -> None:
    file = write_project(
        tmp_path / "project",
        *({"file": f"{name}.tif", "metadata": {"Patient": f"P {name}"}} for name in ("a", "b")),
    )
    reader = WrittenObjects({number: [annotation(box(0, 0, 50, 50))] for number in ("1", "2")})
    patient_a = ProjectChoices(images=ImageSelection(("a.tif",)), group_by="Patient")
    data = training_data([project_dataset(file, reader, patient_a)])
    assert data.groups == {"project": ["P a"]}
    assert data.groups_seen == {"project": ["P a", "a.tif"]}
    seen = {(name, group) for name, some in data.groups_seen.items() for group in some}
    with pytest.raises(InvalidRequest, match=r"1 group\(s\) of project .*\((P a|a.tif)\)"):
        check_unseen("tuned", seen, [project_dataset(file, reader, ProjectChoices(group_by=group_by))])


@pytest.mark.parametrize("group_by", ["", "Patient"])
def test_a_model_that_was_trained_on_the_exported_slides_has_seen_the_project(tmp_path, group_by) -> None:
    file = write_project(
        tmp_path / "project",
        *({"file": f"{name}.tif", "metadata": {"Patient": f"P {name}"}} for name in ("a", "b", "c")),
    )
    reader = WrittenObjects({number: [annotation(box(0, 0, 50, 50))] for number in ("1", "2", "3")})
    data = project_dataset(file, reader, ProjectChoices(group_by=group_by))
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "b.tif").write_bytes((tmp_path / "project" / "slides" / "b.tif").read_bytes())
    feature = {"type": "Feature", "geometry": json.loads(shapely.to_geojson(box(0, 0, 50, 50))), "properties": {}}
    (exported / "b.geojson").write_text(json.dumps(feature), encoding="utf-8")
    groups = training_data([open_dataset(f"geojson:{exported}")]).groups_seen
    seen = {(name, group) for name, some in groups.items() for group in some}
    with pytest.raises(InvalidRequest, match=r"1 group\(s\) of project .*\((P b|b.tif)\)"):
        check_unseen("tuned", seen, [data])
    check_unseen("tuned", {("exported", "bb"), ("exported", "tif"), ("exported", "d.tif")}, [data])


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


@pytest.mark.qupath
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_project_of_qupath_and_its_export_hold_the_same_objects(small_project, tmp_path) -> None:
    tumour = AnnotationChoices(("Tumor",))
    (tmp_path / "exported").mkdir()
    with QuPathWorker() as qupath:
        dataset = project_dataset(small_project, qupath, ProjectChoices(tumour))
        for entry in read_project(small_project).images:
            export_image(entry, qupath.read(entry).objects, tmp_path / "exported")
            slide = f"slide {int(entry.entry_id) - 1}.tiff"
            (tmp_path / "exported" / slide).write_bytes((small_project.parents[1] / slide).read_bytes())
    exported = open_dataset(f"geojson:{tmp_path / 'exported'}", annotations=tumour)
    names = [f"slide {number}.tiff" for number in range(4)]
    hole, parts, locked = (
        Polygon([(300, 300), (1000, 320), (980, 1000), (310, 990)]).area
        - Polygon([(500, 500), (520, 700), (700, 690), (690, 510)]).area,
        Polygon([(1200, 300), (1400, 310), (1390, 500), (1210, 490)]).area + 100 * 100,
        200 * 200,
    )
    for read in (dataset, exported):
        assert areas(read) == pytest.approx(sorted([hole, parts, locked] * 4), rel=0.01)
        assert [r for r in reasons(read) if "another plane" in r] == [
            f"{name}: 1 annotations are on another plane than z 0, t 0" for name in names
        ]
    assert dataset.groups == set(names)
    digests = [
        sorted(o.digest for tile in read.tiles for o in Selection().view(tile).objects) for read in (dataset, exported)
    ]
    assert digests[0] == digests[1]


@pytest.mark.qupath
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command_on_a_project_of_qupath(small_project, tmp_path) -> None:
    (small_project.parents[1] / "slide 2.tiff").unlink()
    app = typer.Typer()
    app.command()(evaluate)
    options = ["--class", "Tumor", "--model", "fake", "--max-clicks", "3", "--json", str(tmp_path / "report.json")]
    result = CliRunner().invoke(app, ["--project", str(small_project), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "small: left out of slide 2.tiff: 3 annotations: " in result.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["results"]["fake"]["small"]["n"] == 9
    assert report["results"]["fake"]["small"]["groups"] == 3
    assert report["protocol"]["annotations"]["classes"] == ["Tumor"]
    assert report["protocol"]["annotations"]["group_by"] is None
    said = report["protocol"]["datasets"]["small"]
    assert said["crop"] is None
    assert [each["image"] for each in said["left_out"]].count("slide 2.tiff") == 2


@pytest.mark.qupath
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_is_tuned_on_a_project_and_then_not_measured_on_it(small_project, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("QUPATH_SAM_HOME", str(tmp_path / "home"))
    app = typer.Typer()
    app.command()(train)
    options = ["--class", "Tumor", "--image", "slide 1.tiff", "--crops", "2", "--accumulate", "1", "--steps", "1"]
    options += ["--device", "cpu", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["--project", str(small_project), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    seen = groups_seen_in(tmp_path / "out" / CHECKPOINT_FILE, ModelStore())
    assert ("small", "slide 1.tiff") in seen
    with QuPathWorker() as qupath:
        rest, trained = (
            project_dataset(small_project, qupath, ProjectChoices(images=ImageSelection((name,))))
            for name in ("slide 0.tiff", "slide 1.tiff")
        )
    check_unseen("mine", seen, [rest])
    with pytest.raises(InvalidRequest, match=r"slide 1\.tiff"):
        check_unseen("mine", seen, [trained])
