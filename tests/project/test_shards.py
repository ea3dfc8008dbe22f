"""Work shared out over tasks: each image once, nothing lost when a task dies, and the same project as one run makes."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from qupath_sam.errors import InvalidRequest, ProjectError, ServerUnavailable
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import ImageContents
from qupath_sam.project.predictor import ServerReadsSlides
from qupath_sam.project.refine import Proposal, RefineOptions, refine_image
from qupath_sam.project.run import Propose, RunOptions, run_project, select_images
from qupath_sam.project.shards import Shard, ShardStore, merged_proposals, run_shard
from qupath_sam.project.undo import undo_run
from tests.project.plain_editor import GrowingPredictor, PlainEditor, fill, read_objects

ASKED = {"image": [], "class": "Tumor"}


def propose_with(predictor: GrowingPredictor) -> Propose:
    def propose(worker: int, image: ImageEntry, contents: ImageContents) -> Proposal:
        return refine_image(image, contents.objects, RefineOptions(), predictor, ServerReadsSlides())

    return propose


def shard(project_file: Path, number: int, count: int = 3, **options: Any) -> list[str]:
    """Run one task; returns the names of the images that it has done."""
    project, images = select_images(project_file, ())
    store = ShardStore.of(project, "refine", ASKED)
    propose = options.pop("propose", propose_with(GrowingPredictor()))
    reports = run_shard(images, propose, PlainEditor(), store, Shard(number, count), **options)
    return [report.image.name for report in reports if not report.error]


def merge(project_file: Path) -> Any:
    project, images = select_images(project_file, ())
    (store,) = ShardStore.all(project)
    command, options = store.job
    return run_project(project, images, merged_proposals(store), PlainEditor(), RunOptions(command, options))


def contents(project_file: Path) -> dict[str, Any]:
    _, images = select_images(project_file, ())
    return {image.name: repr(read_objects(image)) for image in images}


def test_the_merged_project_is_that_of_one_run(project_file, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(project_file.parent, alone)
    before = contents(project_file)
    project, images = select_images(alone / project_file.name, ())
    one = run_project(project, images, propose_with(GrowingPredictor()), PlainEditor(), RunOptions("refine", ASKED))
    done = [name for number in (1, 2, 3) for name in shard(project_file, number)]
    assert sorted(done) == ["slide 1.svs", "slide 2.svs", "slide 3.svs"]
    assert contents(project_file) == before  # nothing is written before the merge
    merged = merge(project_file)
    assert contents(project_file) == contents(alone / project_file.name) != before
    assert [d.action for d in merged.decisions] == [d.action for d in one.decisions]
    undo_run(select_images(project_file, ())[0], merged.run_id, PlainEditor())
    assert contents(project_file) == before


def test_many_tasks_take_each_image_once(project_file):
    project, images = select_images(project_file, ())
    store = ShardStore.of(project, "refine", ASKED)
    taken, go = [], threading.Event()

    def task(number: int) -> None:
        go.wait(30)
        taken.extend(image.name for image in images if store.claim(image.entry_id, Shard(number, 16)))

    threads = [threading.Thread(target=task, args=(number,)) for number in range(1, 17)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert sorted(taken) == ["slide 1.svs", "slide 2.svs", "slide 3.svs"]


def test_a_task_takes_its_own_first_then_what_is_left(project_file):
    assert shard(project_file, 2) == ["slide 2.svs", "slide 1.svs", "slide 3.svs"]
    assert shard(project_file, 1) == []


def test_a_killed_task_is_taken_up_by_the_next_of_its_number(project_file):
    class Killed(BaseException):
        pass

    def killed(worker: int, image: ImageEntry, seen: ImageContents) -> Proposal:
        raise Killed

    with pytest.raises(Killed):
        shard(project_file, 1, propose=killed)
    assert shard(project_file, 2) == ["slide 2.svs", "slide 3.svs"]
    project, images = select_images(project_file, ())
    (store,) = ShardStore.all(project)
    assert [image.name for image in store.missing(images)] == ["slide 1.svs"]
    assert shard(project_file, 1) == ["slide 1.svs"]
    assert not store.missing(images)
    store.remove()
    assert ShardStore.all(project) == []


def test_a_lost_server_leaves_its_image_to_others(project_file):
    def lost(worker: int, image: ImageEntry, seen: ImageContents) -> Proposal:
        raise ServerUnavailable("gone")

    with pytest.raises(ServerUnavailable):
        shard(project_file, 1, propose=lost)
    assert len(shard(project_file, 2)) == 3


def test_a_failing_image_does_not_stop_the_others(project_file):
    good = propose_with(GrowingPredictor())

    def propose(worker: int, image: ImageEntry, seen: ImageContents) -> Proposal:
        if image.entry_id == "1":
            raise ProjectError("broken")
        return good(worker, image, seen)

    assert shard(project_file, 1, propose=propose) == ["slide 2.svs", "slide 3.svs"]
    report = merge(project_file)
    assert ["no shard has finished" in image.error for image in report.images] == [True, False, False]


def test_an_image_that_has_changed_meanwhile_is_left_alone(project_file):
    assert len(shard(project_file, 1)) == 3
    _, images = select_images(project_file, ())
    fill(project_file, list(read_objects(images[1]).values())[1:], images[1].entry_id)
    saved = images[1].data_file.read_bytes()
    report = merge(project_file)
    assert ["was changed after" in image.error for image in report.images] == [False, True, False]
    assert images[1].data_file.read_bytes() == saved


def test_a_broken_result_is_named(project_file):
    shard(project_file, 1)
    project, _ = select_images(project_file, ())
    (store,) = ShardStore.all(project)
    (store.folder / "2.json").write_text("{")
    with pytest.raises(ProjectError, match=r"2\.json is broken"):
        store.result("2")


def test_which_shard(monkeypatch):
    assert Shard.parse("2/8") == Shard(2, 8)
    for name, value in {"MIN": 5, "MAX": 8, "ID": 7}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert Shard.parse("slurm") == Shard(3, 4)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    for text in ("0/8", "9/8", "2", "a/b", "slurm", "-1/2"):
        with pytest.raises(InvalidRequest, match="8/8"):
            Shard.parse(text)
