"""What is read of a project's own files, as QuPath, editors and crashes leave them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qupath_sam.errors import ProjectError
from qupath_sam.project.jvm.worker import QuPathWorker
from qupath_sam.project.layout import check_saved, count_objects, read_project
from qupath_sam.project.notices import notices
from qupath_sam.project.objects import Kind, Plane
from qupath_sam.project.predictor import ServerReadsSlides
from qupath_sam.project.run import select_images
from qupath_sam.slides.location import PathMap
from tests.project import plain_project


@pytest.fixture
def project_file(tmp_path: Path) -> Path:
    return plain_project.make(tmp_path / "project")


def _edit(file: Path, **changes: Any) -> None:
    """Change the second image of a project, or the project itself."""
    content = json.loads(file.read_text())
    content["images"][1] |= changes
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"serverBuilder": None}, "serverBuilder is null"),
        ({"serverBuilder": "x"}, "serverBuilder is"),
        ({"serverBuilder": {"metadata": {"width": "wide"}}}, "wide"),
    ],
)
def test_an_odd_entry_hides_no_other_image(project_file: Path, changes: dict, reason: str) -> None:
    _edit(project_file, **changes)
    project = read_project(project_file)
    assert [image.name for image in project.images] == ["slide 1.svs", "slide 3.svs"]
    (odd,) = project.unusable
    assert str(odd).startswith("slide 2.svs: ")
    assert reason in str(odd)
    assert any("slide 2.svs" in text for text in notices(project))
    assert len(select_images(project_file, ())[1]) == 2
    with pytest.raises(ProjectError, match=r"slide 2.svs: "):
        select_images(project_file, ("slide 2.svs",))


@pytest.mark.parametrize("entry", [None, [], 3, {}, {"imageName": "x"}])
def test_entries_that_are_no_images_are_named(project_file: Path, entry: object) -> None:
    content = json.loads(project_file.read_text())
    content["images"].append(entry)
    project_file.write_text(json.dumps(content))
    project = read_project(project_file)
    assert (len(project.images), len(project.unusable)) == (3, 1)


@pytest.mark.parametrize(
    "calibration",
    [None, [], {"pixelWidth": None}, {"pixelWidth": {"value": None, "unit": "\u00b5m"}, "pixelHeight": {}}, {"x": 1}],
)
def test_an_image_without_a_pixel_size_is_an_image(project_file: Path, calibration: object) -> None:
    _edit(project_file, serverBuilder={"metadata": {"width": 5, "height": None, "pixelCalibration": calibration}})
    image = read_project(project_file).images[1]
    assert (image.width, image.height, image.mpp) == (5, 0, None)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_skipped(project_file: Path, encoding: str) -> None:
    project_file.write_text(project_file.read_text(), encoding)
    project = read_project(project_file)
    assert len(project.images) == 3
    summary = project.images[0].summary_file
    summary.write_text(summary.read_text(), encoding)
    assert count_objects(project.images[0]) == {"nObjects": 0}


def test_a_project_file_that_qupath_was_saving_is_named(project_file: Path) -> None:
    project_file.rename(project_file.with_name("project.qpproj.backup"))
    with pytest.raises(ProjectError, match=r"interrupted.*rename project.qpproj.backup"):
        read_project(project_file)


def test_half_a_save_is_no_empty_image(project_file: Path) -> None:
    """As a power cut leaves it: the old data under another name, the new one not there yet."""
    first, second, third = read_project(project_file).images
    first.summary_file.write_bytes(plain_project.summary("1", 61))
    first.data_file.rename(first.folder / "data.qpdata.bkp")
    second.summary_file.write_bytes(plain_project.summary("2", 61))
    second.data_file.unlink()
    third.summary_file.write_bytes(plain_project.summary("3", 1))
    third.data_file.unlink()  # saved without objects, or never: nothing is lost
    with QuPathWorker() as worker:
        with pytest.raises(ProjectError, match="interrupted while saving"):
            worker.read(first, (Kind.ANNOTATION,))
        with pytest.raises(ProjectError, match="saved 60 objects"):
            worker.read(second)
    check_saved(third)


def _moved(tmp_path: Path, project_file: Path, *, slide: str, saved_at: str) -> Path:
    """A project whose file states other places than those where it and its slides are."""
    content = json.loads(project_file.read_text())
    content["uri"] = saved_at
    content["images"] = content["images"][:1]
    content["images"][0]["serverBuilder"] = {
        "builderType": "rotated",
        "builder": {"builderType": "uri", "uri": slide, "args": []},
        "metadata": {"width": 100, "height": 80},
    }
    project_file.write_text(json.dumps(content))
    return project_file


@pytest.mark.parametrize(
    ("saved_at", "slide"),
    [
        ("file:/old/place/project/project.qpproj", "file:///old/place/slides/a%20b.svs"),
        ("file:///D:/lab/project/project.qpproj", "file:/d:/lab/slides/a%20b.svs"),
        ("file:////server/share/project/project.qpproj", "file://server/share/slides/a%20b.svs"),
    ],
)
def test_slides_that_moved_with_their_project_are_found(
    tmp_path: Path, project_file: Path, saved_at: str, slide: str
) -> None:
    (tmp_path / "slides").mkdir()
    found = tmp_path / "slides" / "a b.svs"
    found.write_bytes(b"")
    project = read_project(_moved(tmp_path, project_file, slide=slide, saved_at=saved_at))
    (image,) = project.images
    assert image.slide_builder["builder"]["uri"] == found.as_uri()
    assert image.server_builder["builder"]["uri"] == slide, "what is saved stays as the project has it"
    asked = json.loads(str(ServerReadsSlides().reference(image, Plane(), (0, 0, 9, 9)).location))
    assert asked["builder"]["uri"] == found.as_uri()
    mapped = ServerReadsSlides(PathMap(((str(tmp_path), "/mnt"),))).reference(image, Plane(), (0, 0, 9, 9))
    assert json.loads(str(mapped.location))["builder"]["uri"] == "/mnt/slides/a b.svs"
    assert any("moved" in text and found.as_uri() in text for text in notices(project))


@pytest.mark.parametrize(
    ("saved_at", "slide"),
    [
        ("file:/old/place/project/project.qpproj", "file:///old/place/slides/missing.svs"),
        ("file:/old/place/project/project.qpproj", "https://somewhere/slides/a%20b.svs"),
        ("file:/C:/lab/project/project.qpproj", "file:/D:/lab/slides/a%20b.svs"),
        ("", "file:///old/place/slides/a%20b.svs"),
        (None, "file:///old/place/slides/a%20b.svs"),
    ],
)
def test_what_is_not_beside_a_moved_project_stays_as_it_is(
    tmp_path: Path, project_file: Path, saved_at: Any, slide: str
) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a b.svs").write_bytes(b"")
    (image,) = read_project(_moved(tmp_path, project_file, slide=slide, saved_at=saved_at)).images
    assert image.moved_builder is None
    assert image.slide_builder == image.server_builder


def test_a_slide_that_is_where_the_project_says_is_not_looked_for_elsewhere(tmp_path: Path, project_file: Path) -> None:
    for folder in ("old/slides", "slides"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.svs").write_bytes(b"")
    slide = (tmp_path / "old" / "slides" / "a.svs").as_uri()
    saved_at = (tmp_path / "old" / "project" / "project.qpproj").as_uri()
    _moved(tmp_path, project_file, slide=slide, saved_at=saved_at)
    assert read_project(project_file).images[0].moved_builder is None
    shutil.rmtree(tmp_path / "old")
    assert read_project(project_file).images[0].moved_builder is not None
