"""Where a real QuPath is, and a project that it has made; tests that need it are marked ``qupath`` and skip without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.project import plain_project
from tests.project.plain_editor import fill
from tests.project.refining import OBJECTS

HERE = Path(__file__).parent


@lru_cache(maxsize=1)
def _find_qupath() -> str:
    """Empty where QuPath is there, else why not. In a process of its own: paquo's search must not leave anything."""
    script = (
        "import paquo; from paquo._config import to_kwargs, settings; from paquo.jpype_backend import find_qupath; "
        "print(find_qupath(**to_kwargs(settings))[0])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else "no QuPath on this machine (set PAQUO_QUPATH_DIR to its folder)"


@pytest.fixture(scope="session")
def qupath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Skips where there is no QuPath; else the folder to which a Java that crashes says why, not the checkout."""
    if missing := _find_qupath():
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("java-crashes")
    given = os.environ.get("JAVA_TOOL_OPTIONS", "")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JAVA_TOOL_OPTIONS", f"{given} -XX:ErrorFile={folder / 'hs_err_pid%p.log'}".strip())
        yield folder


def _qupath_project(*arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.project.qupath_project", *arguments],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.fixture(scope="session")
def made_project(qupath: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images with all that can be lost, one with 10,000 detections; use a copy."""
    folder = tmp_path_factory.mktemp("made") / "project"
    _qupath_project("make", str(folder), "2", "10000")
    return folder


@pytest.fixture
def real_project(made_project: Path, tmp_path: Path) -> Path:
    """A copy of `made_project`; returns its project.qpproj."""
    return Path(shutil.copytree(made_project, tmp_path / "projekt ü")) / "project.qpproj"


@pytest.fixture
def small_project(qupath: Path, tmp_path: Path) -> Path:
    """Four images with few objects; returns its project.qpproj."""
    folder = tmp_path / "small"
    _qupath_project("make", str(folder), "4", "50")
    return folder / "project.qpproj"


@pytest.fixture
def twenty_images(qupath: Path, tmp_path: Path) -> Path:
    """Twenty images, each with regions, children, holes, parts and planes; returns its project.qpproj."""
    folder = tmp_path / "twenty"
    _qupath_project("make", str(folder), "20", "50")
    return folder / "project.qpproj"


def dump(project_file: Path) -> list[dict[str, dict[str, Any]]]:
    """For each image, by object id, what QuPath says of each object."""
    target = project_file.parent.with_suffix(".json")
    _qupath_project("dump", str(project_file.parent), str(target))
    images = json.loads(target.read_text(encoding="utf-8"))
    return [{item["id"]: item for item in image} for image in images]


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
