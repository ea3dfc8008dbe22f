"""A project's work shared out over the tasks of a cluster: each takes images nobody has taken, one merge writes.

Tasks share nothing but the project's folder. An image is taken by creating a file that must not exist yet, which one
task alone can do, on a network share as well. What is proposed for the image is kept beside; nothing of the project
itself is written before `merged_proposals` hands all of it to one ordinary run, with its backup, report and undo.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapely.errors import GEOSException

from qupath_sam.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    ProjectError,
    QupathSamError,
    ServerUnavailable,
)
from qupath_sam.project import decisions as rows
from qupath_sam.project.failures import reason_of
from qupath_sam.project.layout import ImageEntry, Project
from qupath_sam.project.objects import Edit, Kind, ShapeChange
from qupath_sam.project.refine import Proposal
from qupath_sam.project.run import Editor, ImageReport, Propose
from qupath_sam.project.store.commit import STATE_FOLDER
from qupath_sam.project.store.filesystem import Filesystem
from qupath_sam.project.store.fingerprint import Fingerprint, same_contents


@dataclass(frozen=True, slots=True)
class Shard:
    """One of the tasks that share the work.

    Attributes:
        number: from 1.
        count: of all tasks.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/8``, or ``slurm``, which takes SLURM's variables of an array task.

        Raises:
            InvalidRequest: it is neither.
        """
        if text == "slurm":
            return cls._of_slurm(os.environ)
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise InvalidRequest(f"{text!r} is no shard; say 1/8 to 8/8 for eight of them, or slurm")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def _of_slurm(cls, variables: Mapping[str, str]) -> Shard:
        try:
            first, last, task = (int(variables[f"SLURM_ARRAY_TASK_{name}"]) for name in ("MIN", "MAX", "ID"))
        except (KeyError, ValueError) as error:
            raise InvalidRequest(
                "this is no task of a SLURM array (sbatch --array=1-8); say --shard 1/8 to 8/8 instead"
            ) from error
        return cls(task - first + 1, last - first + 1)

    def order(self, images: Sequence[ImageEntry]) -> list[ImageEntry]:
        """Return the images in the order in which this task tries to take them: its own first, then those left over."""
        own = [image for index, image in enumerate(images) if index % self.count == self.number - 1]
        others = {image.entry_id for image in own}
        return own + [image for image in images if image.entry_id not in others]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True, slots=True)
class Result:
    """A task's proposal for an image.

    Attributes:
        seen: the image's data as the task read it; None where it had none.
        proposal: changes of shapes, and why others stay.
    """

    seen: Fingerprint | None
    proposal: Proposal


class ShardStore:
    """Claims and results of one job, in the project's folder. Safe to use from several processes and machines.

    Args:
        folder: of the job.
        filesystem: to write with.
    """

    def __init__(self, folder: Path, *, filesystem: Filesystem | None = None) -> None:
        self.folder = folder
        self._filesystem = filesystem or Filesystem()

    @classmethod
    def of(cls, project: Project, command: str, options: Mapping[str, Any]) -> ShardStore:
        """Return the store of a job, which is made where it is new: one command with the same options is one job."""
        job = json.dumps({"command": command, "options": dict(options)}, sort_keys=True)
        name = hashlib.sha256(job.encode()).hexdigest()[:12]
        store = cls(_shards_folder(project) / name)
        store._filesystem.make_folder(store.folder)
        with contextlib.suppress(FileExistsError):  # another task was first, with the same
            store._filesystem.write_new(store.folder / "job.json", job.encode())
        return store

    @classmethod
    def all(cls, project: Project) -> list[ShardStore]:
        """Return the jobs of a project that wait to be merged."""
        folder = _shards_folder(project)
        return [cls(job.parent) for job in sorted(folder.glob("*/job.json"))] if folder.is_dir() else []

    @property
    def job(self) -> tuple[str, dict[str, Any]]:
        """Command and options of the job.

        Raises:
            ProjectError: its file is broken.
        """
        try:
            content = json.loads((self.folder / "job.json").read_text(encoding="utf-8"))
            return str(content["command"]), dict(content["options"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ProjectError(f"{self.folder} is broken ({error}); delete it and run the shards again") from error

    def claim(self, entry_id: str, shard: Shard) -> bool:
        """Take an image; false where a task has it already."""
        try:
            self._filesystem.write_new(self._claim(entry_id), str(shard).encode())
        except FileExistsError:
            return False
        return True

    def give_back(self, entry_id: str) -> None:
        """Let others take an image that was not finished."""
        self._filesystem.remove(self._claim(entry_id))

    def give_back_all(self, shard: Shard) -> None:
        """Let go of what an earlier task of this number has taken and not finished: it was killed."""
        for claim in self.folder.glob("*.claim"):
            entry_id = claim.name.removesuffix(".claim")
            if claim.read_text(encoding="utf-8") == str(shard) and not self._result(entry_id).exists():
                self.give_back(entry_id)

    def keep(self, entry_id: str, result: Result) -> None:
        """Keep what is proposed for an image.

        Raises:
            ProjectError: the proposal adds or removes objects.
        """
        self._filesystem.write_atomically(self._result(entry_id), json.dumps(_to_json(result)).encode())

    def result(self, entry_id: str) -> Result | None:
        """Return what is proposed for an image; None where no task has finished it.

        Raises:
            ProjectError: the file is broken.
        """
        path = self._result(entry_id)
        if not path.exists():
            return None
        try:
            return _from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise ProjectError(f"{path} is broken ({error}); delete it and its claim, run a shard again") from error

    def missing(self, images: Sequence[ImageEntry]) -> list[ImageEntry]:
        """Return the images that no task has finished."""
        return [image for image in images if not self._result(image.entry_id).exists()]

    def remove(self) -> None:
        """Delete claims and results: they have been merged."""
        self._filesystem.remove_tree(self.folder)

    def _claim(self, entry_id: str) -> Path:
        return self.folder / f"{entry_id}.claim"

    def _result(self, entry_id: str) -> Path:
        return self.folder / f"{entry_id}.json"


def run_shard(
    images: Sequence[ImageEntry],
    propose: Propose,
    editor: Editor,
    store: ShardStore,
    shard: Shard,
    *,
    stop: threading.Event | None = None,
    finished: Callable[[ImageReport], None] = lambda report: None,
    kinds: tuple[Kind, ...] = (Kind.ANNOTATION,),
) -> list[ImageReport]:
    """Take images, one after another, until none is left, and keep what is proposed for them.

    Args:
        images: of the whole job, the same for all tasks.
        propose: says what is to be done to each.
        editor: reads; nothing is written.
        store: of the job.
        shard: which task this is.
        stop: set from elsewhere: the image under way is finished.
        finished: called after each image.
        kinds: objects that are read.

    Raises:
        ServerUnavailable: no server answers any more; what is done is kept.
    """
    stop = stop or threading.Event()
    store.give_back_all(shard)
    reports = []
    for image in shard.order(images):
        if stop.is_set():
            break
        if store.claim(image.entry_id, shard):
            report = _one(image, propose, editor, store, kinds)
            finished(report)
            reports.append(report)
    return reports


def _one(
    image: ImageEntry, propose: Propose, editor: Editor, store: ShardStore, kinds: tuple[Kind, ...]
) -> ImageReport:
    started = time.monotonic()
    error, model_s = "", 0.0
    decided: tuple[rows.Decision, ...] = ()
    try:
        seen = Fingerprint.of(image.data_file)
        proposal = propose(0, image, editor.read(image, kinds))
        decided, model_s = proposal.decisions, proposal.model_s
        error = rows.why_unanswered(decided)
        if not error:
            store.keep(image.entry_id, Result(seen, proposal))
    except (ServerUnavailable, DeadlineExceeded, Cancelled):
        store.give_back(image.entry_id)
        raise
    except (QupathSamError, OSError, GEOSException) as failure:
        error = reason_of(failure)
    if error:
        store.give_back(image.entry_id)
    return ImageReport(image, decided, time.monotonic() - started, model_s, error=error)


def merged_proposals(store: ShardStore) -> Propose:
    """Return what hands the tasks' proposals to an ordinary run; images that have changed meanwhile fail."""

    def propose(worker: int, image: ImageEntry, contents: object) -> Proposal:
        result = store.result(image.entry_id)
        if result is None:
            raise ProjectError("no shard has finished this image; run the shards again, then merge again")
        if not same_contents(result.seen, Fingerprint.of(image.data_file)):
            raise ProjectError(
                f"was changed after a shard had read it; delete {image.entry_id}.json and .claim in {store.folder}, "
                "run a shard again, then merge again"
            )
        return result.proposal

    return propose


def _shards_folder(project: Project) -> Path:
    return project.folder / STATE_FOLDER / "shards"


def _to_json(result: Result) -> dict[str, Any]:
    edit = result.proposal.edit
    if edit.additions or edit.removals:
        raise ProjectError("shards change shapes only; run commands that add objects without --shard")
    return {
        "seen": None if result.seen is None else result.seen.to_json(),
        "step": edit.step,
        "changes": [
            {
                "object_id": change.object_id,
                "old_wkb": change.old_wkb.hex(),
                "new_wkb": change.new_wkb.hex(),
                "measurements": dict(change.measurements),
                "metadata": dict(change.metadata),
            }
            for change in edit.changes
        ],
        "decisions": rows.to_json(result.proposal.decisions),
        "model_s": result.proposal.model_s,
    }


def _from_json(content: dict[str, Any]) -> Result:
    edit = Edit(changes=tuple(_changes(content["changes"])), step=content["step"])
    proposal = Proposal(edit, tuple(rows.from_json(content["decisions"])), content["model_s"])
    return Result(Fingerprint.from_json(content["seen"]), proposal)


def _changes(found: Sequence[dict[str, Any]]) -> Iterator[ShapeChange]:
    for change in found:
        shapes = {name: bytes.fromhex(change[name]) for name in ("old_wkb", "new_wkb")}
        yield ShapeChange(**(change | shapes))
