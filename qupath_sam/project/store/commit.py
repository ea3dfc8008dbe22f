"""The commit protocol: an image's data is wholly old or wholly new, whatever happens, and can be put back.

One image is written like this, each step on disk before the next:

1. everything in the image's folder is copied to the run's backup, with hashes;
2. the new data goes to a temporary file beside the old one, is read again and compared;
3. the journal says what is about to happen, with the hashes of old and new;
4. if the data has not changed since it was read, the temporary file replaces it in one step;
5. summary.json follows, and the journal says that all is done.

data.qpdata is the truth. After a crash `ProjectStore.recover` finds each image of step 3 without step 5, sees by the
hash whether step 4 took place, and brings summary.json in line or clears the temporary files away. Nothing here
knows Java: the data is bytes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qupath_sam.errors import ProjectError
from qupath_sam.project.layout import ImageEntry, checked_entry_id, read_project
from qupath_sam.project.store.filesystem import TEMPORARY_SUFFIX, Filesystem
from qupath_sam.project.store.fingerprint import Fingerprint, same_contents
from qupath_sam.project.store.journal import Journal
from qupath_sam.project.store.lock import ProjectLock

STATE_FOLDER = ".qupath-sam"


@dataclass(frozen=True, slots=True)
class NewData:
    """The contents that a writer puts into the temporary file.

    Attributes:
        summary: contents of summary.json that belong to it; None leaves summary.json alone.
    """

    summary: bytes | None


#: Writes an image's new data to the given path and says what belongs to it. Raises to give the image up.
Write = Callable[[Path], NewData]

#: Reads the given file again and raises unless it holds what was meant.
Verify = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Run:
    """One run over a project: its backups and its journal.

    Attributes:
        run_id: short name, as ``undo --run`` takes it.
        folder: ``.qupath-sam/backups/<utc>-<run id>``.
        journal: what was done.
    """

    run_id: str
    folder: Path
    journal: Journal

    def images(self, event: str) -> list[str]:
        """Return the entry ids of all images with that event, in order, each once."""
        return list(dict.fromkeys(str(record["image"]) for record in self.journal if record["event"] == event))

    @property
    def begun(self) -> dict[str, Any]:
        """The first event: command, options, time; empty where a crash came before it."""
        return next((record for record in self.journal if record["event"] == "begin"), {})

    @property
    def changed(self) -> list[str]:
        """Entry ids of the images that it wrote; of a run without any there is nothing to take back."""
        return self.images("committed")

    @property
    def failed(self) -> list[str]:
        """Entry ids of the images that it could not work on, and has not worked on since."""
        failed: dict[str, None] = {}
        for record in self.journal:
            if record["event"] == "failed":
                failed[str(record["image"])] = None
            elif record["event"] in ("committed", "done"):
                failed.pop(str(record["image"]), None)
        return list(failed)

    @property
    def ended(self) -> bool:
        """Whether it came to its end, past all images; some of them may have failed."""
        return self._has("end")

    @property
    def reported(self) -> bool:
        """Whether its report was written."""
        return self._has("reported")

    def written(self) -> dict[str, Fingerprint | None]:
        """Return the fingerprint of what it last wrote for each image, by entry id.

        None where it took the data away.
        """
        prepared: dict[str, Fingerprint | None] = {}
        written: dict[str, Fingerprint | None] = {}
        for record in self.journal:
            if record["event"] == "prepared":
                prepared[str(record["image"])] = Fingerprint.from_json(record["new"])
            elif record["event"] == "committed" and str(record["image"]) in prepared:
                written[str(record["image"])] = prepared[str(record["image"])]
        return written

    def _has(self, event: str) -> bool:
        return any(record["event"] == event for record in self.journal)


@dataclass(frozen=True, slots=True)
class Recovery:
    """The findings of `ProjectStore.recover`: entry ids by what had happened to them."""

    completed: tuple[str, ...]
    rolled_back: tuple[str, ...]
    foreign: tuple[str, ...]


class ProjectStore:
    """Replaces data of one project's images. Use it while holding the project's lock."""

    def __init__(self, project_file: Path, *, lock: ProjectLock | None = None, filesystem: Filesystem | None = None):
        self._project_file = project_file
        self._lock = lock
        self._filesystem = filesystem or Filesystem()
        self._backups = project_file.parent / STATE_FOLDER / "backups"

    # Runs

    def begin(self, command: str, options: dict[str, Any]) -> Run:
        """Start a run: its folder, a copy of the project's own files, and its journal."""
        run_id = uuid.uuid4().hex[:8]
        folder = self._backups / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{run_id}"
        self._filesystem.make_folder(folder)
        project = self._project_file.parent
        for file in (self._project_file, project / "classifiers" / "classes.json"):
            if file.is_file():
                self._filesystem.copy_new(file, folder / file.name)
        run = Run(run_id, folder, Journal(folder / "journal.jsonl", self._filesystem))
        run.journal.append("begin", command=command, options=options, run=run_id)
        return run

    def runs(self) -> list[Run]:
        """Return all runs that still have a backup, oldest first."""
        if not self._backups.is_dir():
            return []
        return [
            Run(folder.name.rpartition("-")[2], folder, Journal(folder / "journal.jsonl", self._filesystem))
            for folder in sorted(self._backups.iterdir())
            if folder.is_dir()
        ]

    def run(self, run_id: str) -> Run:
        """Return the run of that id, or `ProjectError` naming the known ones."""
        runs = self.runs()
        for run in runs:
            if run_id in (run.run_id, run.folder.name):
                return run
        known = ", ".join(run.run_id for run in runs) or "none"
        raise ProjectError(f"no run {run_id!r} is backed up in this project; known: {known}")

    def prune(self, keep: int, *, sparing: Run | None = None) -> list[str]:
        """Delete the backups of all but the newest ``keep`` runs and of ``sparing``; returns the ids of the deleted.

        Runs that changed nothing are counted apart: they push no backup out.
        """
        runs = self.runs()
        kept = [run for changed in (True, False) for run in [r for r in runs if bool(r.changed) is changed][-keep:]]
        folders = {run.folder for run in kept} | ({sparing.folder} if sparing is not None else set())
        gone = [run for run in runs if run.folder not in folders]
        for run in gone:
            self._filesystem.remove_tree(run.folder)
        return [run.run_id for run in gone]

    # One image

    def commit(
        self, run: Run, image: ImageEntry, *, seen: Fingerprint | None, write: Write, verify: Verify
    ) -> Fingerprint:
        """Replace an image's data.

        Args:
            run: keeps the backup.
            image: as it was when it was read.
            seen: fingerprint of data.qpdata when it was read; None where there was none.
            write: puts the new data into a temporary file.
            verify: reads it again.

        Returns:
            Fingerprint of the new data.

        Raises:
            ProjectError: the image has changed since it was read, or ``write`` or ``verify`` gave it up.
                The image is as it was.
        """
        temporary = image.data_file.with_name(image.data_file.name + TEMPORARY_SUFFIX)
        self._check_unchanged(image, seen)
        self._back_up(run, image, seen)
        self._filesystem.make_folder(image.folder)
        self._filesystem.remove(temporary)
        try:
            new_data = write(temporary)
            self._filesystem.sync(temporary)
            verify(temporary)
            new = Fingerprint.of(temporary)
            if new is None:
                raise ProjectError(f"{temporary} has vanished; is something cleaning up in the project?")
            self._exchange(run, image, seen, new, new_data.summary)
        except Exception:
            self._filesystem.remove(temporary)
            raise
        return new

    def undo(self, run: Run, undone: Run, image: ImageEntry) -> None:
        """Put back what ``undone`` replaced, byte by byte, as part of ``run``.

        Raises:
            ProjectError: the image has been changed since that run, or its backup is damaged.
        """
        written = self.written(undone, image.entry_id)
        if not same_contents(Fingerprint.of(image.data_file), written):
            raise ProjectError(
                f"image {image.name!r} has been changed since run {undone.run_id}; "
                "only what that run wrote and nobody touched can be put back"
            )
        manifest = _manifest(undone, image.entry_id)
        backup = undone.folder / image.entry_id
        old = manifest.get(image.data_file.name)
        if old is None:
            self._back_up(run, image, written)
            self._exchange(run, image, written, None, None)
            return

        def write(path: Path) -> NewData:
            self._filesystem.copy_new(backup / image.data_file.name, path)
            summary = backup / image.summary_file.name
            return NewData(summary.read_bytes() if summary.exists() else None)

        def verify(path: Path) -> None:
            if not same_contents(Fingerprint.of(path), old):
                raise ProjectError(f"the backup {backup} is damaged; nothing was put back")

        self.commit(run, image, seen=written, write=write, verify=verify)

    def written(self, run: Run, entry_id: str) -> Fingerprint | None:
        """Return the fingerprint of what ``run`` last wrote for an image."""
        return run.written().get(entry_id)

    # After a crash

    def recover(self) -> Recovery:
        """Bring every image that a crash caught half-way to wholly old or wholly new. Safe to repeat."""
        completed, rolled_back, foreign = [], [], []
        for run, record in self._pending():
            entry_id = checked_entry_id(record["image"])
            data_file = self._project_file.parent / "data" / entry_id / "data.qpdata"
            current = Fingerprint.of(data_file)
            if same_contents(current, Fingerprint.from_json(record["new"])):
                self._finish(run, entry_id, data_file)
                completed.append(entry_id)
            elif same_contents(current, Fingerprint.from_json(record["old"])):
                run.journal.append("aborted", image=entry_id, reason="interrupted")
                rolled_back.append(entry_id)
            else:
                run.journal.append("aborted", image=entry_id, reason="changed by another program")
                foreign.append(entry_id)
        for leftover in self._project_file.parent.glob(f"data/*/*{TEMPORARY_SUFFIX}"):
            self._filesystem.remove(leftover)
        return Recovery(tuple(completed), tuple(rolled_back), tuple(foreign))

    def _pending(self) -> Iterator[tuple[Run, dict[str, Any]]]:
        for run in self.runs():
            pending: dict[str, dict[str, Any]] = {}
            for record in run.journal:
                if record["event"] == "prepared":
                    pending[str(record["image"])] = record
                elif record["event"] in ("committed", "aborted"):
                    pending.pop(str(record["image"]), None)
            for record in pending.values():
                yield run, record

    # Steps

    def _back_up(self, run: Run, image: ImageEntry, seen: Fingerprint | None) -> None:
        """Copy the image's folder; a manifest with hashes says that the copy is whole."""
        manifest_file = run.folder / f"{image.entry_id}.manifest.json"
        if manifest_file.exists():
            if same_contents(_manifest(run, image.entry_id).get(image.data_file.name), seen):
                return
            if image.entry_id in run.images("committed"):
                raise ProjectError(f"run {run.run_id} has already written image {image.name!r}; start a new run")
            self._filesystem.remove(manifest_file)  # that write came to nothing, and the image was changed since
        backup = run.folder / image.entry_id
        if backup.exists():  # a crash came before the manifest
            self._filesystem.remove_tree(backup)
        self._filesystem.make_folder(backup)
        manifest: dict[str, Any] = {}
        files = sorted(image.folder.iterdir()) if image.folder.is_dir() else []
        for file in files:
            if file.is_file() and not file.name.endswith(TEMPORARY_SUFFIX):
                self._filesystem.copy_new(file, backup / file.name)
                copied, original = Fingerprint.of(backup / file.name), Fingerprint.of(file)
                if copied is None or original is None or not same_contents(copied, original):
                    raise ProjectError(f"{file} changes while it is backed up; close the image in QuPath")
                manifest[file.name] = original.to_json()
        self._filesystem.sync_folder(backup)
        document = {"image": image.entry_id, "name": image.name, "files": manifest}
        self._filesystem.write_atomically(manifest_file, json.dumps(document, indent=1).encode())

    def _exchange(
        self,
        run: Run,
        image: ImageEntry,
        old: Fingerprint | None,
        new: Fingerprint | None,
        summary: bytes | None,
    ) -> None:
        staged = _staged_summary(run, image.entry_id)
        self._filesystem.remove(staged)
        if summary is not None:
            self._filesystem.write_new(staged, summary)
        run.journal.append(
            "prepared",
            image=image.entry_id,
            old=old.to_json() if old else None,
            new=new.to_json() if new else None,
        )
        try:
            self._check_unchanged(image, old)
        except ProjectError:
            run.journal.append("aborted", image=image.entry_id, reason="changed by another program")
            raise
        if new is None:
            self._filesystem.remove(image.data_file)
        else:
            temporary = image.data_file.with_name(image.data_file.name + TEMPORARY_SUFFIX)
            self._filesystem.replace(temporary, image.data_file)
        self._finish(run, image.entry_id, image.data_file)

    def _finish(self, run: Run, entry_id: str, data_file: Path) -> None:
        staged = _staged_summary(run, entry_id)
        summary_file = data_file.with_name("summary.json")
        if not data_file.exists():
            self._filesystem.remove(summary_file)
        elif staged.exists():
            self._filesystem.write_atomically(summary_file, staged.read_bytes())
        run.journal.append("committed", image=entry_id)

    def _check_unchanged(self, image: ImageEntry, seen: Fingerprint | None) -> None:
        if self._lock is not None:
            self._lock.check()
        if not same_contents(Fingerprint.of(image.data_file), seen):
            raise ProjectError(
                f"image {image.name!r} has been changed since it was read; close it in QuPath and run again"
            )
        current = read_project(self._project_file).image(image.entry_id)
        if current.server_builder != image.server_builder:
            raise ProjectError(f"the project now opens image {image.name!r} in another way; run again")


def _staged_summary(run: Run, entry_id: str) -> Path:
    return run.folder / f"{entry_id}.summary.json"


def _manifest(run: Run, entry_id: str) -> dict[str, Fingerprint | None]:
    try:
        manifest = json.loads((run.folder / f"{entry_id}.manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProjectError(f"run {run.run_id} holds no backup of image {entry_id}; nothing to put back") from error
    return {name: Fingerprint.from_json(value) for name, value in manifest["files"].items()}
