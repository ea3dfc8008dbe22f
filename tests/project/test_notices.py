"""What is said of a project before a run, and of its runs after it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qupath_sam.cli.project import app
from qupath_sam.errors import InvalidRequest, ProjectError
from qupath_sam.project.classes import check_classes
from qupath_sam.project.layout import read_project
from qupath_sam.project.notices import notices
from qupath_sam.project.overwritten import overwritten_since
from qupath_sam.project.qupath_process import is_qupath
from qupath_sam.project.refine import RefineOptions
from qupath_sam.project.run import RunOptions, note_report
from qupath_sam.project.script_backups import FOLDER
from qupath_sam.project.selection import ObjectSelection
from qupath_sam.project.store.commit import ProjectStore
from qupath_sam.project.store.lock import LOCK_NAME, ProjectLock
from qupath_sam.project.undo import undo_run
from tests.project.plain_editor import PlainEditor, fill
from tests.project.refining import OBJECTS, objects_of, refine

run = CliRunner()


@pytest.mark.parametrize(
    ("name", "command", "expected"),
    [
        ("QuPath", ["/opt/QuPath/bin/QuPath"], True),
        ("QuPath-0.7.0.exe", ["C:\\\\QuPath\\\\QuPath-0.7.0.exe"], True),
        ("QuPath-0.6.0 (console).exe", [], True),
        ("java", ["java", "-cp", "x", "qupath.QuPath", "script", "a.groovy"], True),
        ("java", ["java", "-m", "qupath.app/qupath.QuPath"], True),
        ("java", ["java", "-jar", "other.jar"], False),
        ("qupath-sam", ["python", "/venv/bin/qupath-sam", "project", "refine"], False),
        ("qupath-sam.exe", ["qupath-sam.exe"], False),
        ("qupath_sam", [], False),
        ("vim", ["vim", "qupath.QuPath.txt"], False),
    ],
)
def test_qupath_is_told_from_other_programs(name: str, command: list[str], expected: bool) -> None:
    assert is_qupath(name, command) is expected


@pytest.mark.skipif(sys.platform == "win32", reason="a copy of python is no program there")
def test_a_running_qupath_is_said(project_file: Path, tmp_path: Path) -> None:
    program = tmp_path / "QuPath"
    program.symlink_to(Path(sys.executable).resolve())
    command = [str(program), "-S", "-c", "print(1, flush=True); input()", "--project", str(project_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"1"
        said = [text for text in notices(read_project(project_file)) if f"process {process.pid}" in text]
        process.kill()
    assert len(said) == 1
    assert "with this project" in said[0]
    assert f"process {process.pid}" not in " ".join(notices(read_project(project_file)))


def test_another_writer_is_said(project_file: Path) -> None:
    project = read_project(project_file)
    with ProjectLock(project.folder):
        assert any(f"process {os.getpid()} on " in text for text in notices(project))
    assert not any("another qupath-sam" in text for text in notices(project))
    lock = project.folder / LOCK_NAME
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "process_started": 1.0}))
    assert not any("another qupath-sam" in text for text in notices(project)), "its process has ended"


def _info(project_file: Path) -> tuple[str, list[dict]]:
    text = run.invoke(app, ["info", str(project_file)], env={"COLUMNS": "200"}).output
    return text, json.loads(run.invoke(app, ["info", str(project_file), "--json"]).output)["runs"]


def test_an_image_that_was_saved_since_a_run_is_named(project_file: Path) -> None:
    first = refine(project_file)
    assert _info(project_file)[1][0]["overwritten"] == []
    fill(project_file, OBJECTS, "2")  # as Ctrl+S in a window that had the old objects
    text, (described,) = _info(project_file)
    assert described["overwritten"] == ["slide 2.svs"]
    assert "saved by another program since" in text
    project = read_project(project_file)
    (image,) = overwritten_since(project, ProjectStore(project_file))[first.run_id]
    image.data_file.unlink()
    assert _info(project_file)[1][0]["overwritten"] == ["slide 2.svs"]


def test_what_scripts_in_qupath_have_copied_is_named(project_file: Path) -> None:
    (image, *_) = read_project(project_file).images
    copied = project_file.parent / ".qupath-sam" / "script-backups" / "20261130T012000Z"
    (copied / image.entry_id).mkdir(parents=True)
    assert json.loads(run.invoke(app, ["info", str(project_file), "--json"]).output)["script_backups"] == []
    (copied / image.entry_id / "data.qpdata").write_bytes(b"as it was")
    (copied / "99").mkdir()
    (copied / "99" / "data.qpdata").write_bytes(b"of another")
    (backup,) = json.loads(run.invoke(app, ["info", str(project_file), "--json"]).output)["script_backups"]
    assert backup["images"] == [image.name, "entry 99, which is gone"]
    text, _ = _info(project_file)
    assert "before a script in QuPath, 20261130T012000Z" in text
    assert "to go back" in text


def test_scripts_copy_to_where_info_looks() -> None:
    source = Path(__file__).parents[2] / "groovy/client/src/main/java/io/github/qupathsam/client/ProjectBackup.java"
    assert f'FOLDER = "{FOLDER}"' in source.read_text("utf-8")


def test_what_a_later_run_wrote_was_not_overwritten(project_file: Path, tmp_path: Path) -> None:
    first = refine(project_file)
    undo_run(read_project(project_file), first.run_id, PlainEditor())
    assert [described["overwritten"] for described in _info(project_file)[1]] == [[], []]
    copy = shutil.copytree(project_file.parent, tmp_path / "copy", copy_function=shutil.copyfile)
    assert [described["overwritten"] for described in _info(Path(copy) / "project.qpproj")[1]] == [[], []]


NOTHING = RefineOptions(selection=ObjectSelection(("No such class",)))


def test_a_run_that_changed_nothing_is_not_one_to_take_back(project_file: Path) -> None:
    before = objects_of(project_file)
    real = refine(project_file)
    idle = refine(project_file, options=NOTHING, run=RunOptions("refine", {"class": "none"}))
    assert (len(real.changed), idle.changed) == (3, ())
    text, runs = _info(project_file)
    assert [described["images"] for described in runs] == [3, 0]
    assert "refine, changed nothing" in text
    assert undo_run(read_project(project_file), "last", PlainEditor()).whole == tuple(f"slide {n}.svs" for n in "123")
    assert objects_of(project_file) == before


def test_runs_that_changed_nothing_push_no_backup_out(project_file: Path) -> None:
    real = refine(project_file)
    for number in range(4):
        refine(project_file, options=NOTHING, run=RunOptions("refine", {"number": number}, keep_runs=2))
    runs = [each.run_id for each in ProjectStore(project_file).runs()]
    assert len(runs) == 3
    assert runs[0] == real.run_id


def test_nothing_to_undo_is_said(project_file: Path) -> None:
    refine(project_file, options=NOTHING)
    with pytest.raises(ProjectError, match="no run that changed something"):
        undo_run(read_project(project_file), "last", PlainEditor())


def test_a_run_without_a_report_can_be_taken_up(project_file: Path, tmp_path: Path) -> None:
    """Killed between its last image and its report."""
    options = RunOptions("refine", {"class": "Tumor"})
    first = refine(project_file, run=options)
    assert "without a report (--resume)" in " ".join(_info(project_file)[0].split())
    again = refine(project_file, run=replace(options, resume=True))
    assert (again.run_id, again.images, len(again.skipped), again.changed) == (first.run_id, (), 3, first.changed)
    note_report(read_project(project_file), again.run_id, tmp_path)
    assert "--resume" not in _info(project_file)[0]
    with pytest.raises(ProjectError, match="came to its end"):
        refine(project_file, run=replace(options, resume=True))


def _count(project_file: Path, **classes: int) -> None:
    for image in read_project(project_file).images:
        hierarchy = {"nObjects": 3, "annotationClassificationCounts": classes}
        image.summary_file.write_text(json.dumps({"hierarchy": hierarchy}))


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("Tumour", "Tumor"),
        ("tumor", "Tumor"),
        ("stroma", "Stroma"),
        ("Gland: Lumnen", "Gland: Lumen"),
        ("gland", "Gland"),
    ],
)
def test_a_misspelt_class_is_an_error_that_names_the_right_one(project_file: Path, wanted: str, near: str) -> None:
    _count(project_file, Tumor=1, Stroma=1, **{"Gland: Lumen": 1})
    images = read_project(project_file).images
    for classes in (([wanted], ()), (["Tumor", wanted], ()), (["Tumor"], [wanted])):
        with pytest.raises(InvalidRequest, match=f"did you mean '{near}'"):
            check_classes(images, *classes)
    error = run.invoke(app, ["refine", str(project_file), "--class", wanted]).exception
    assert isinstance(error, InvalidRequest)
    error = run.invoke(app, ["segment", str(project_file), "--class", f"{wanted}=Tumor"]).exception
    assert isinstance(error, InvalidRequest)
    assert not (project_file.parent / ".qupath-sam").exists()


def test_classes_that_are_there_or_derived_pass_and_others_are_named(project_file: Path) -> None:
    _count(project_file, Tumor=1, Unclassified=1, **{"Gland: Lumen": 1})
    images = read_project(project_file).images
    for name in ("Tumor", "Gland", "Gland: Lumen", "Unclassified"):
        assert check_classes(images, [name]) == []
    assert check_classes(images, []) == []
    (said,) = check_classes(images, ["Tumor", "Necrosis"])
    assert "Necrosis" in said
    with pytest.raises(InvalidRequest, match="name one of: 'Gland: Lumen', 'Tumor', 'Unclassified'"):
        check_classes(images, ["Necrosis"])


def test_without_counts_no_class_is_doubted(project_file: Path) -> None:
    assert check_classes(read_project(project_file).images, ["Tumour"]) == []
