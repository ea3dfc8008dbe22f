"""Run as a program: writes a project over and over and is killed each time; prints what the survivor found.

``python -m tests.project.crash_story FOLDER TRIALS SEED``. A program of its own, because it forks.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

from qupath_sam.project.store.commit import ProjectStore
from qupath_sam.project.store.lock import ProjectLock
from tests.project import plain_project
from tests.project.dying import DyingFilesystem

KILLED = 9


class PowerCutError(BaseException):
    """Stands for the end of the process where there is no fork."""


def attempt(project_file: Path, version: int, filesystem: DyingFilesystem) -> None:
    """What a process does: take the lock, repair, tidy up, write every image."""
    with ProjectLock(project_file.parent) as lock:
        store = ProjectStore(project_file, lock=lock, filesystem=filesystem)
        store.recover()
        store.prune(keep=2)
        run = store.begin("refine", {"version": version})
        plain_project.write_versions(store, project_file, run, version)
        run.journal.append("end")


def killed(project_file: Path, version: int, die_at: int, seed: int) -> bool:
    """Make an attempt that dies at a step; whether it did die."""
    if not hasattr(os, "fork"):

        def cut() -> None:
            raise PowerCutError

        try:
            attempt(project_file, version, DyingFilesystem(die_at, cut, seed))
        except PowerCutError:
            return True
        return False
    child = os.fork()
    if child == 0:
        code = 1
        try:
            attempt(project_file, version, DyingFilesystem(die_at, lambda: os._exit(KILLED), seed))
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), f"the writer failed with {code}"
    return code == KILLED


def tell(folder: Path, trials: int, seed: int) -> dict[str, int]:
    """The whole story; raises AssertionError where an image is torn or anything else has changed."""
    project_file = plain_project.make(folder)
    untouched = plain_project.everything_else(project_file)
    chance = random.Random(seed)
    rehearsal = DyingFilesystem(10**9, lambda: None)
    attempt(project_file, 0, rehearsal)
    at = dict.fromkeys(("1", "2", "3"), 0)
    counts = {"killed": 0, "old": 0, "new": 0, "finished": 0}
    for version in range(1, trials + 1):
        dead = killed(project_file, version, chance.randint(1, rehearsal.steps + 20), chance.randrange(10**9))
        counts["killed" if dead else "finished"] += 1
        if chance.random() < 0.7:  # else the next attempt, which may die in the middle of it, has to repair
            with ProjectLock(folder) as lock:
                ProjectStore(project_file, lock=lock).recover()
            for image in at:
                now = plain_project.version_of(project_file, image)
                assert now in range(at[image], version + 1), f"image {image} went from {at[image]} to {now}"
                assert dead or now == version
                counts["new" if now == version else "old"] += 1
                at[image] = now
            assert plain_project.everything_else(project_file) == untouched, "something else has changed"
    return counts


if __name__ == "__main__":
    print(json.dumps(tell(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
