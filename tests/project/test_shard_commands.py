"""``project refine --shard`` and ``project merge`` as commands: real slides, the fake model; QuPath is stood in for."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qupath_sam.cli import project_session
from qupath_sam.cli.benchmarks.project import make_project
from qupath_sam.cli.project import app
from qupath_sam.errors import InvalidRequest, ProjectError
from qupath_sam.project.layout import ImageEntry, read_project
from qupath_sam.project.objects import ImageContents, Kind
from tests.project.plain_editor import PlainEditor, fill, read_objects
from tests.project.test_with_server import OBJECTS

OPTIONS = ("--model", "fake", "--min-iou", "0.3", "--max-area-change", "4", "--no-thumbnails")


class Killed(BaseException):
    """As a task that the cluster ends: nothing is cleaned up after it."""


class Editor(PlainEditor):
    """May be killed while it reads an image."""

    killed_at = ""

    def qupath_version(self) -> str:
        return "0.7.0"

    def read(self, image: ImageEntry, kinds: Sequence[Kind] = (Kind.ANNOTATION,)) -> ImageContents:
        if image.name == self.killed_at:
            raise Killed
        return super().read(image, kinds)


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch) -> Editor:
    editor = Editor()

    @contextmanager
    def worker(heap: str, limit_s: float) -> Iterator[Editor]:
        yield editor

    monkeypatch.setattr(project_session, "_worker", worker)
    return editor


@pytest.fixture
def project_file(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    project = make_project(tmp_path / "shared", 5)
    for image in project.images:
        image.folder.mkdir(parents=True)
        fill(project.file, OBJECTS, image.entry_id)
    return project.file


def command(name: str, project_file: Path, *more: str) -> Any:
    options = OPTIONS if name == "refine" else ("--no-thumbnails",)
    return CliRunner().invoke(app, [name, str(project_file), *options, *more])


def shard(project_file: Path, text: str) -> Any:
    return command("refine", project_file, "--shard", text)


def outlines(project_file: Path) -> dict[str, dict[str, Any]]:
    """Shape, measurements and metadata of all objects; of where the project lies only what is not a path."""
    return {
        image.name: {
            key: (item.wkb, dict(item.measurements), dict(item.metadata)) for key, item in read_objects(image).items()
        }
        for image in read_project(project_file).images
    }


@pytest.fixture
def alone(project_file: Path, editor: Editor, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """What one run makes of a copy of the project, whose slides are those of the original."""
    copy = tmp_path / "shared" / "alone"
    shutil.copytree(project_file.parent, copy, ignore=lambda *_: ["alone"])
    before = outlines(project_file)
    done = command("refine", copy / project_file.name)
    assert done.exit_code == 0, done.output
    made = outlines(copy / project_file.name)
    assert made != before
    return made


def test_a_merged_project_is_that_of_one_run(
    project_file: Path, editor: Editor, alone: dict[str, dict[str, Any]]
) -> None:
    before = outlines(project_file)
    for number in (1, 2, 3):
        done = shard(project_file, f"{number}/3")
        assert done.exit_code == 0, done.output
    assert "all images are done" in done.output
    assert outlines(project_file) == before, "a shard writes nothing of the project"
    merged = command("merge", project_file)
    assert merged.exit_code == 0, merged.output
    assert outlines(project_file) == alone
    (words,) = re.findall(r"take it back with `qupath-sam project (.+)`", merged.output)
    again = command("merge", project_file)
    assert isinstance(again.exception, ProjectError)
    assert "no shards wait" in str(again.exception)
    undone = CliRunner().invoke(app, shlex.split(words))
    assert undone.exit_code == 0, undone.output
    assert outlines(project_file) == before


def test_a_killed_shard_is_resumed_and_only_what_is_left_is_done(
    project_file: Path, editor: Editor, alone: dict[str, dict[str, Any]]
) -> None:
    names = [image.name for image in read_project(project_file).images]
    editor.killed_at = names[2]
    with pytest.raises(Killed):
        CliRunner().invoke(app, ["refine", str(project_file), *OPTIONS, "--shard", "1/2"], catch_exceptions=False)
    early = command("merge", project_file)
    assert isinstance(early.exception, ProjectError)
    assert "4 of 5 images are not done" in str(early.exception)
    # The claim of the killed task keeps others from its image, until a task of its number comes again.
    other = shard(project_file, "2/2")
    assert other.exit_code == 0
    assert names[2] not in other.output
    assert "1 of 5 images are still to be done" in other.output
    editor.killed_at, reads = "", editor.reads
    resumed = shard(project_file, "1/2")
    assert resumed.exit_code == 0, resumed.output
    assert editor.reads == reads + 1
    assert command("merge", project_file).exit_code == 0
    assert outlines(project_file) == alone


def test_claims_are_files_that_one_task_alone_can_make(
    project_file: Path, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second task begins in the middle of the first, at each of its images: no image is done by both."""
    done: list[str] = []
    inner = Editor()
    original: Callable[..., ImageContents] = Editor.read

    def read(self: Editor, image: ImageEntry, kinds: Sequence[Kind] = (Kind.ANNOTATION,)) -> ImageContents:
        done.append(image.name)
        if self is not inner and len(done) == 1:
            monkeypatch.setattr(project_session, "_worker", lambda *_: _entered(inner))
            assert shard(project_file, "2/2").exit_code == 0
        return original(self, image, kinds)

    monkeypatch.setattr(Editor, "read", read)
    assert shard(project_file, "1/2").exit_code == 0
    assert sorted(done) == sorted(image.name for image in read_project(project_file).images)
    claims = sorted(path.name for path in project_file.parent.rglob("*.claim"))
    assert claims == sorted(f"{image.entry_id}.claim" for image in read_project(project_file).images)


@contextmanager
def _entered(editor: Editor) -> Iterator[Editor]:
    yield editor


def test_part_of_the_images_is_merged_where_that_is_said(project_file: Path, editor: Editor) -> None:
    before = outlines(project_file)
    names = [image.name for image in read_project(project_file).images]
    editor.killed_at = names[1]
    with pytest.raises(Killed):
        CliRunner().invoke(app, ["refine", str(project_file), *OPTIONS, "--shard", "1/1"], catch_exceptions=False)
    editor.killed_at = ""
    assert command("merge", project_file, "--partial").exit_code == 0
    after = outlines(project_file)
    assert [after[name] != before[name] for name in names] == [True, False, False, False, False]
    assert shard(project_file, "1/1").exit_code == 0
    refused = command("merge", project_file)
    assert refused.exit_code == 1
    assert f"{names[0]}: " in refused.output, "what was merged already has changed since its shard read it"
    assert all(outlines(project_file)[name] != before[name] for name in names)


def test_what_is_no_shard_and_what_a_shard_cannot_do_is_said(project_file: Path, editor: Editor) -> None:
    for text in ("0/3", "4/3", "a/b", "slurm"):
        assert isinstance(shard(project_file, text).exception, InvalidRequest)
    dry = command("refine", project_file, "--shard", "1/2", "--dry-run")
    assert isinstance(dry.exception, InvalidRequest)
    assert json.loads(project_file.read_text())["images"], "the project is as it was"
