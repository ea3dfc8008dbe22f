"""The process around QuPath: what happens when it hangs, dies, refuses or is not there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from qupath_sam.errors import ProjectError
from qupath_sam.project.jvm.worker import QuPathWorker, WorkerOptions
from qupath_sam.project.layout import ImageEntry
from tests.project import fake_bridges

IMAGE = ImageEntry("1", "a", {}, 10, 10, None, Path())
REPOSITORY = Path(__file__).parents[2]
BRIDGE = REPOSITORY / "qupath_sam" / "project" / "jvm" / "bridge.py"


def test_answers_errors_and_one_process_for_many_calls() -> None:
    with QuPathWorker(WorkerOptions(heap="123m"), serve=fake_bridges.answers) as worker:
        first = worker.qupath_version()
        with pytest.raises(ProjectError, match="two objects are missing"):
            worker.verify(IMAGE, "x")
        assert worker.qupath_version() == first
        assert "-Xmx123m" in first
        assert worker.peak_rss_bytes > 1_000_000
        pid = int(first.split()[0])
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


def test_a_hanging_call_is_killed_and_the_next_one_starts_afresh() -> None:
    with QuPathWorker(WorkerOptions(call_limit_s=1.0), serve=fake_bridges.answers) as worker:
        pid = int(worker.qupath_version().split()[0])
        with pytest.raises(ProjectError, match="did not answer within 1 s"):
            worker.pixels(IMAGE, (0, 0, 1, 1), 1.0)
        assert not psutil.pid_exists(pid)
        assert int(worker.qupath_version().split()[0]) != pid


def test_a_dying_process_is_an_error() -> None:
    with QuPathWorker(serve=fake_bridges.answers) as worker:
        with pytest.raises(ProjectError, match="died"):
            worker.read(IMAGE)
        assert worker.qupath_version()


def test_a_process_that_does_not_start() -> None:
    with QuPathWorker(serve=fake_bridges.refuses) as worker, pytest.raises(ProjectError, match="cannot be started"):
        worker.qupath_version()
    with (
        QuPathWorker(WorkerOptions(start_limit_s=1.0), serve=fake_bridges.never_starts) as worker,
        pytest.raises(ProjectError, match="did not answer"),
    ):
        worker.qupath_version()


def test_nothing_is_started_before_the_first_call() -> None:
    children = len(psutil.Process().children())
    with QuPathWorker(serve=fake_bridges.answers):
        assert len(psutil.Process().children()) == children


def test_no_qupath_is_said_in_one_line(tmp_path: Path) -> None:
    """With the real bridge, and a folder in which there is no QuPath."""
    script = tmp_path / "script.py"
    script.write_text(
        "from qupath_sam.project.jvm.worker import QuPathWorker\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        QuPathWorker().qupath_version()\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    import os

    environment = {**os.environ, "PAQUO_QUPATH_DIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.startswith("ProjectError QuPath cannot be started")
    assert "PAQUO_QUPATH_DIR" in result.stdout


def test_only_the_bridge_knows_paquo_and_java() -> None:
    for path in (REPOSITORY / "qupath_sam").rglob("*.py"):
        names = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            for name in _imported(node)
        }
        if path != BRIDGE:
            assert "jpype" not in names, path
            assert "paquo" not in names or path.parent.name == "checks", "doctor only asks where QuPath is"


def test_importing_the_package_starts_no_java() -> None:
    script = (
        "import sys, qupath_sam.project.run, qupath_sam.project.jvm.worker, qupath_sam.project.jvm.bridge, "
        "qupath_sam.cli.project; print(sorted({'paquo', 'jpype', 'torch'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert result.stdout.strip() == "[]"


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
