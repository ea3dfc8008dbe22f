"""``qupath-sam project`` without a QuPath: what it says, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qupath_sam.cli.project import _asked, _classes, app
from qupath_sam.cli.project_session import stopping
from qupath_sam.errors import InvalidRequest, ProjectError, ServerUnavailable
from qupath_sam.project.store.commit import ProjectStore
from tests.project import plain_project

run = CliRunner()


@pytest.fixture
def project_file(tmp_path: Path) -> Path:
    return plain_project.make(tmp_path / "project")


def test_info_lists_images_and_runs_and_writes_nothing(project_file: Path) -> None:
    store = ProjectStore(project_file)
    started = store.begin("refine", {})
    plain_project.write_version(store, project_file, started, "1", 4)
    before = {path: path.stat().st_mtime_ns for path in project_file.parent.rglob("*")}
    text = run.invoke(app, ["info", str(project_file)], env={"COLUMNS": "120"})
    assert text.exit_code == 0
    assert "slide 2.svs" in text.output
    assert f"run {started.run_id}: refine, 1 images" in text.output
    assert "unfinished" in text.output
    info = json.loads(run.invoke(app, ["info", str(project_file.parent), "--json"]).output)
    assert [image["name"] for image in info["images"]] == ["slide 1.svs", "slide 2.svs", "slide 3.svs"]
    assert info["images"][0]["objects"] == {"nObjects": 4}
    assert info["runs"][0]["run"] == started.run_id
    assert {path: path.stat().st_mtime_ns for path in project_file.parent.rglob("*")} == before


def test_errors_come_before_anything_is_started(project_file: Path, tmp_path: Path) -> None:
    def error(*arguments: str) -> BaseException | None:
        return run.invoke(app, list(arguments)).exception

    assert isinstance(error("refine", str(tmp_path / "none.qpproj")), ProjectError)
    assert isinstance(error("refine", str(project_file), "--image", "nope"), ProjectError)
    assert isinstance(error("refine", str(project_file), "--push-pixels"), InvalidRequest)
    assert isinstance(error("refine", str(project_file), "--path-map", "nonsense"), InvalidRequest)
    assert isinstance(error("refine", str(project_file), "--server", "127.0.0.1:1"), ServerUnavailable)
    assert isinstance(error("undo", str(project_file), "--run", "nope"), ProjectError)
    assert isinstance(error("import", str(project_file), "a.geojson"), InvalidRequest)
    assert plain_project.version_of(project_file, "1") == 0


def test_import_from_a_folder_for_another_project_says_so(project_file: Path, tmp_path: Path) -> None:
    (tmp_path / "99 other.geojson").write_text("[]")
    error = run.invoke(app, ["import", str(project_file), str(tmp_path)]).exception
    assert isinstance(error, InvalidRequest)
    assert "begins with the image's id" in str(error)
    assert not (project_file.parent / ".qupath-sam").exists()


def test_no_run_is_begun_without_a_qupath(project_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path))
    (tmp_path / "1 slide.geojson").write_text("[]")
    error = run.invoke(app, ["import", str(project_file), str(tmp_path)]).exception
    assert isinstance(error, ProjectError)
    assert "PAQUO_QUPATH_DIR" in str(error)
    assert not (project_file.parent / ".qupath-sam").exists()


def test_a_file_that_cannot_be_imported_leaves_no_run(
    project_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path))
    good = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9]]]}
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2]]]}
    (tmp_path / "2 slide.geojson").write_text(json.dumps([good, bow_tie, None]))
    arguments = ["import", str(project_file), str(tmp_path)]
    error = run.invoke(app, arguments).exception
    assert isinstance(error, InvalidRequest)
    assert "2 of 3 features" in str(error)
    assert "give --skip-bad" in str(error)
    skipped = run.invoke(app, [*arguments, "--skip-bad"])
    assert "2 of 3 features" in skipped.stderr
    assert isinstance(skipped.exception, ProjectError)  # no QuPath here: the file itself was taken
    assert not (project_file.parent / ".qupath-sam").exists()


@pytest.mark.parametrize("command", [["refine"], ["segment", "--class", "SAM"], ["segment"]])
def test_a_report_that_cannot_be_written_is_said_before_the_work(
    project_file: Path, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    report = tmp_path / "file" / "report"
    error = run.invoke(app, [*command, str(project_file), "--dry-run", "--report", str(report)]).exception
    assert isinstance(error, InvalidRequest)
    assert "--report" in str(error)


def test_backups_cannot_be_switched_off(project_file: Path) -> None:
    assert run.invoke(app, ["refine", str(project_file), "--keep-runs", "0"]).exit_code == 2


def test_classes_of_prompts_and_outlines() -> None:
    assert _classes(["SAM=Tumor", "Stroma", "A: b=C"]) == {"SAM": "Tumor", "Stroma": "Stroma", "A: b": "C"}


def test_resuming_depends_on_what_is_done_not_where() -> None:
    options = {"project": Path("a"), "server": ["x"], "resume": True, "path_class": ["Tumor"], "min_iou": 0.5}
    assert _asked(options) == {"path_class": ["Tumor"], "min_iou": 0.5}


def test_a_signal_asks_to_stop() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopping() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
    assert signal.getsignal(signal.SIGINT) is before


_STUCK = """
import threading
from qupath_sam.cli.project_session import stopping
with stopping() as stop:
    threading.Thread(target=threading.Event().wait).start()  # an image under way
    print("begun", flush=True)
    stop.wait()
    print("asked", flush=True)
    threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to one program")
@pytest.mark.timeout(60)
def test_a_second_signal_does_not_wait_for_the_image_under_way() -> None:
    with subprocess.Popen([sys.executable, "-c", _STUCK], stdout=subprocess.PIPE, text=True) as stuck:
        assert stuck.stdout is not None
        try:
            for line in ("begun\n", "asked\n"):
                assert stuck.stdout.readline() == line
                stuck.send_signal(signal.SIGINT)
            assert stuck.wait(timeout=30) == 130
        finally:
            stuck.kill()
