"""The commit protocol, without QuPath: nothing is lost, whenever the writer dies."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from qupath_sam.errors import ProjectError
from qupath_sam.project.layout import DATA_FILE, check_data_file, count_objects, read_project
from qupath_sam.project.store.commit import NewData, ProjectStore
from qupath_sam.project.store.filesystem import TEMPORARY_SUFFIX, Filesystem
from qupath_sam.project.store.fingerprint import Fingerprint, same_contents
from qupath_sam.project.store.journal import Journal
from qupath_sam.project.store.lock import LOCK_NAME, ProjectLock
from tests.project import plain_project

HERE = Path(__file__).parent


@pytest.fixture
def project_file(tmp_path: Path) -> Path:
    return plain_project.make(tmp_path / "größe und ort")


@pytest.mark.slow
def test_thousand_kills_leave_every_image_old_or_new(tmp_path: Path) -> None:
    halves = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.project.crash_story", str(tmp_path / f"story {seed}"), "500", str(seed)],
            cwd=HERE.parents[1],
            stdout=subprocess.PIPE,
        )
        for seed in (1, 2)
    ]
    counts = [json.loads(half.communicate()[0]) for half in halves]
    assert sum(count["killed"] for count in counts) > 900
    assert min(count["new"] for count in counts) > 100
    assert min(count["old"] for count in counts) > 100


_ENDLESS = """
import itertools, sys
from pathlib import Path
from tests.project import plain_project
from qupath_sam.project.store.lock import ProjectLock
from qupath_sam.project.store.commit import ProjectStore
file = Path(sys.argv[1])
with ProjectLock(file.parent) as lock:
    store = ProjectStore(file, lock=lock)
    store.recover()
    for version in itertools.count(int(sys.argv[2])):
        store.prune(keep=2)
        run = store.begin("refine", {})
        plain_project.write_versions(store, file, run, version)
        print(version, flush=True)
"""


def test_sigkill_at_any_moment(project_file: Path) -> None:
    untouched = plain_project.everything_else(project_file)
    chance = random.Random(0)
    version = 1
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", _ENDLESS, str(project_file), str(version)],
            cwd=HERE.parents[1],
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline(), "the writer wrote nothing"
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(timeout=chance.uniform(0, 0.15))
        writer.kill()
        writer.communicate()
        with ProjectLock(project_file.parent) as lock:
            ProjectStore(project_file, lock=lock).recover()
        versions = [plain_project.version_of(project_file, image) for image in ("1", "2", "3")]
        assert max(versions) - min(versions) <= 1
        assert min(versions) >= version, "what was reported as written is gone"
        assert plain_project.everything_else(project_file) == untouched
        version = max(versions) + 1


def test_undo_brings_the_bytes_back(project_file: Path) -> None:
    store = ProjectStore(project_file)
    before = plain_project.all_bytes(project_file)
    run = store.begin("refine", {})
    plain_project.write_versions(store, project_file, run, 7)
    assert [plain_project.version_of(project_file, image) for image in "123"] == [7, 7, 7]
    undo = store.begin("undo", {"run": run.run_id})
    for image in read_project(project_file).images:
        store.undo(undo, store.run(run.run_id), image)
    assert plain_project.all_bytes(project_file) == before
    again = store.begin("undo", {"run": undo.run_id})
    store.undo(again, undo, read_project(project_file).image("2"))
    assert [plain_project.version_of(project_file, image) for image in "123"] == [0, 7, 0]


def test_undo_leaves_later_work_alone(project_file: Path) -> None:
    store = ProjectStore(project_file)
    run = store.begin("refine", {})
    image = read_project(project_file).image("1")
    plain_project.write_version(store, project_file, run, "1", 1)
    image.data_file.write_bytes(plain_project.data("1", 55))
    with pytest.raises(ProjectError, match="changed since run"):
        store.undo(store.begin("undo", {}), run, image)
    assert image.data_file.read_bytes() == plain_project.data("1", 55)


def test_undo_refuses_a_damaged_backup(project_file: Path) -> None:
    store = ProjectStore(project_file)
    run = store.begin("refine", {})
    plain_project.write_version(store, project_file, run, "1", 1)
    (run.folder / "1" / DATA_FILE).write_bytes(b"rotten")
    with pytest.raises(ProjectError, match="damaged"):
        store.undo(store.begin("undo", {}), run, read_project(project_file).image("1"))
    assert plain_project.version_of(project_file, "1") == 1


def test_image_without_data_is_created_and_undone(project_file: Path) -> None:
    image = read_project(project_file).image("2")
    image.data_file.unlink()
    image.summary_file.unlink()
    before = plain_project.all_bytes(project_file)
    store = ProjectStore(project_file)
    run = store.begin("import", {})
    plain_project.write_version(store, project_file, run, "2", 3)
    assert plain_project.version_of(project_file, "2") == 3
    store.undo(store.begin("undo", {}), run, image)
    assert plain_project.all_bytes(project_file) == before


@pytest.mark.parametrize("moment", ["before writing", "while writing"])
def test_somebody_else_saves_meanwhile(project_file: Path, moment: str) -> None:
    store = ProjectStore(project_file)
    run = store.begin("refine", {})
    image = read_project(project_file).image("1")
    seen = Fingerprint.of(image.data_file)
    theirs = plain_project.data("1", 99)
    if moment == "before writing":
        image.data_file.write_bytes(theirs)

    def write(path: Path) -> NewData:
        path.write_bytes(plain_project.data("1", 1))
        image.data_file.write_bytes(theirs)
        return NewData(None)

    with pytest.raises(ProjectError, match="close it in QuPath"):
        store.commit(run, image, seen=seen, write=write, verify=lambda path: None)
    assert image.data_file.read_bytes() == theirs
    assert not list(project_file.parent.glob(f"data/*/*{TEMPORARY_SUFFIX}"))
    assert store.recover().foreign == ()


def test_failed_verification_changes_nothing(project_file: Path) -> None:
    store = ProjectStore(project_file)
    before = plain_project.all_bytes(project_file)
    image = read_project(project_file).image("1")

    def write(path: Path) -> NewData:
        path.write_bytes(b"nonsense")
        return NewData(b"{}")

    def verify(path: Path) -> None:
        raise ProjectError("2 objects are missing")

    with pytest.raises(ProjectError, match="2 objects"):
        store.commit(store.begin("refine", {}), image, seen=Fingerprint.of(image.data_file), write=write, verify=verify)
    assert plain_project.all_bytes(project_file) == before


def test_recovery_does_not_touch_what_another_program_saved_after_the_crash(project_file: Path) -> None:
    class Crash(BaseException):
        pass

    class CrashAfterPrepared(Filesystem):
        def replace(self, source: Path, target: Path) -> None:
            if target.name == DATA_FILE:
                raise Crash
            super().replace(source, target)

    store = ProjectStore(project_file, filesystem=CrashAfterPrepared())
    with pytest.raises(Crash):
        plain_project.write_version(store, project_file, store.begin("refine", {}), "1", 1)
    data_file = read_project(project_file).image("1").data_file
    data_file.write_bytes(plain_project.data("1", 42))
    recovery = ProjectStore(project_file).recover()
    assert recovery.foreign == ("1",)
    assert data_file.read_bytes() == plain_project.data("1", 42)
    assert not list(project_file.parent.glob(f"data/*/*{TEMPORARY_SUFFIX}"))
    assert ProjectStore(project_file).recover() == type(recovery)((), (), ())


def test_a_run_writes_an_image_once(project_file: Path) -> None:
    store = ProjectStore(project_file)
    run = store.begin("refine", {})
    plain_project.write_version(store, project_file, run, "1", 1)
    with pytest.raises(ProjectError, match="start a new run"):
        plain_project.write_version(store, project_file, run, "1", 2)
    assert plain_project.version_of(project_file, "1") == 1


def test_prune_keeps_the_newest(project_file: Path) -> None:
    store = ProjectStore(project_file)
    ids = [store.begin("refine", {}).run_id for _ in range(3)]
    kept = {run.run_id for run in store.runs()} - set(store.prune(keep=2))
    assert len(kept) == 2
    assert kept == {run.run_id for run in store.runs()}
    assert kept <= set(ids)
    with pytest.raises(ProjectError, match="known: "):
        store.run("nope")


def test_lock_of_a_living_process_is_respected(project_file: Path) -> None:
    with ProjectLock(project_file.parent) as lock:
        with pytest.raises(ProjectError, match="is being written by process"):
            ProjectLock(project_file.parent).__enter__()
        lock.check()
    assert not (project_file.parent / LOCK_NAME).exists()


def test_lock_of_a_dead_process_is_taken_over(project_file: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from qupath_sam.project.store.lock import ProjectLock; "
        "ProjectLock(Path(sys.argv[1])).__enter__(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(project_file.parent)], check=True, cwd=HERE.parents[1])
    assert (project_file.parent / LOCK_NAME).exists()
    with ProjectLock(project_file.parent) as lock:
        lock.check()


def test_lock_of_a_reused_process_number_is_taken_over(project_file: Path) -> None:
    import socket

    holder = {"host": socket.gethostname(), "pid": psutil.Process().pid, "process_started": 1.0, "token": "x"}
    (project_file.parent / LOCK_NAME).write_text(json.dumps(holder))
    with ProjectLock(project_file.parent) as lock:
        lock.check()


def test_lock_of_another_machine_needs_age(project_file: Path) -> None:
    import os

    path = project_file.parent / LOCK_NAME
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "process_started": 1.0, "token": "x"}))
    with pytest.raises(ProjectError, match="elsewhere"):
        ProjectLock(project_file.parent).__enter__()
    os.utime(path, (1, 1))
    with ProjectLock(project_file.parent) as lock:
        lock.check()


def test_a_lost_lock_stops_the_writer(project_file: Path) -> None:
    with ProjectLock(project_file.parent) as lock:
        store = ProjectStore(project_file, lock=lock)
        run = store.begin("refine", {})
        path = project_file.parent / LOCK_NAME
        path.write_text(json.dumps({"host": "elsewhere", "token": "another"}))
        with pytest.raises(ProjectError, match="taken"):
            plain_project.write_version(store, project_file, run, "1", 1)
    assert plain_project.version_of(project_file, "1") == 0
    assert path.exists(), "the other's lock was removed"


def test_journal_survives_a_torn_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", Filesystem())
    journal.append("begin", run="a")
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'\n{"event": "prepared", "ima')
    journal.append("end")
    assert [record["event"] for record in journal] == ["begin", "end"]


@pytest.mark.parametrize("cut", [0, 3, 100, -1])
def test_truncated_data_is_seen_before_java_reads_it(project_file: Path, cut: int) -> None:
    image = read_project(project_file).image("1")
    check_data_file(image.data_file)
    image.data_file.write_bytes(image.data_file.read_bytes()[:cut])
    with pytest.raises(ProjectError, match="truncated"):
        check_data_file(image.data_file)


def test_interrupted_save_of_qupath_is_seen(project_file: Path) -> None:
    image = read_project(project_file).image("1")
    image.data_file.with_name("data.qpdata.bkp").write_bytes(b"")
    with pytest.raises(ProjectError, match="open the image in QuPath"):
        check_data_file(image.data_file)


def test_project_file_is_read(project_file: Path) -> None:
    project = read_project(project_file.parent)
    assert [image.name for image in project.images] == ["slide 1.svs", "slide 2.svs", "slide 3.svs"]
    assert (project.images[0].width, project.images[0].mpp) == (100, None)
    assert count_objects(project.images[0]) == {"nObjects": 0}
    with pytest.raises(ProjectError, match="project info"):
        project.image("17")
    with pytest.raises(ProjectError, match="no QuPath project"):
        read_project(project_file.parent / "other.qpproj")
    project_file.write_text("[]")
    with pytest.raises(ProjectError, match="cannot be read"):
        read_project(project_file)


def test_fingerprints_compare_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    a, b = Fingerprint.of(tmp_path / "a"), Fingerprint.of(tmp_path / "b")
    assert same_contents(a, b)
    assert Fingerprint.of(tmp_path / "c") is None
    assert same_contents(None, None)
    assert not same_contents(a, None)
    assert a is not None
    assert Fingerprint.from_json(a.to_json()) == a


@pytest.mark.parametrize(
    "entry_id", ["../../elsewhere", "..", ".", "", "/etc", "C:\\x", "1/../..", "1\0", "x", "\u0661", "-1", None]
)
def test_an_entry_id_that_is_no_number_leads_nowhere(project_file: Path, entry_id: str | None) -> None:
    content = json.loads(project_file.read_text("utf-8"))
    content["images"][0]["entryID"] = entry_id
    project_file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ProjectError, match="no number"):
        read_project(project_file)


def test_a_journal_leads_nowhere_either(project_file: Path) -> None:
    """It lies in the project's folder, where it may have been changed."""
    victim = project_file.parent.parent / "victim"
    victim.mkdir()
    (victim / "summary.json").write_text("{}")
    run = ProjectStore(project_file).begin("refine", {})
    run.journal.append("prepared", image="../../victim", old=None, new=None)
    with pytest.raises(ProjectError, match="no number"):
        ProjectStore(project_file).recover()
    assert (victim / "summary.json").exists()
