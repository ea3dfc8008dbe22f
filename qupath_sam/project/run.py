"""A run over a project: image after image read, worked on, written and noted; stopped cleanly, and taken up again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shapely.errors import GEOSException

from qupath_sam.errors import Cancelled, DeadlineExceeded, ProjectError, QupathSamError, ServerUnavailable
from qupath_sam.project import decisions as rows
from qupath_sam.project.decisions import Decision
from qupath_sam.project.failures import reason_of
from qupath_sam.project.layout import ImageEntry, Project, check_data_file, read_project
from qupath_sam.project.objects import Edit, ImageContents, Kind, Written
from qupath_sam.project.refine import Proposal
from qupath_sam.project.selection import ImageSelection
from qupath_sam.project.store.commit import NewData, ProjectStore, Run
from qupath_sam.project.store.filesystem import Filesystem
from qupath_sam.project.store.fingerprint import Fingerprint
from qupath_sam.project.store.lock import ProjectLock

#: Backups of this many runs are kept by default.
KEEP_RUNS = 10


class Editor(Protocol):
    """Reads and edits images, as `qupath_sam.project.jvm.worker.QuPathWorker`."""

    def read(self, image: ImageEntry, kinds: tuple[Kind, ...] = ...) -> ImageContents:
        """Read the objects of an image."""
        ...

    def write(self, image: ImageEntry, edit: Edit, path: str) -> Written:
        """Save an edited image to ``path``."""
        ...

    def verify(self, image: ImageEntry, path: str) -> None:
        """Compare what the last `write` has saved."""
        ...


#: Says what is to be done to an image, given its annotations. The number is that of the worker (server) that asks.
Propose = Callable[[int, ImageEntry, ImageContents], Proposal]


@dataclass(frozen=True, slots=True)
class ImageReport:
    """The outcome for one image.

    Attributes:
        error: why it was left alone, such as that the server does not see the slide; empty where all went well.
        seconds: from reading to the last byte written.
        recomputed, removed: measurements that depended on a shape.
    """

    image: ImageEntry
    decisions: tuple[Decision, ...]
    seconds: float
    model_s: float = 0.0
    error: str = ""
    recomputed: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class RunReport:
    """The outcome of a run.

    Attributes:
        run_id: as ``undo --run`` takes it; empty for a dry run.
        images: those worked on, in the order in which they were finished.
        skipped: names of those that an earlier part of the run had already done.
        stopped: it was asked to stop before the last image.
        changed: entry ids of the images that were written, those of an earlier part of the run included.
    """

    run_id: str
    folder: Path | None
    images: tuple[ImageReport, ...]
    skipped: tuple[str, ...]
    stopped: bool
    changed: tuple[str, ...] = ()

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All decisions."""
        return tuple(decision for image in self.images for decision in image.decisions)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run.

    Attributes:
        command: name of what is done.
        options: what was asked, as JSON values; a run is resumed only with the same.
        dry: change nothing.
        resume: take up the last unfinished run of the same command and options.
        workers: images worked on at once.
        keep_runs: backups of so many runs are kept.
        kinds: objects that are read of each image.
    """

    command: str
    options: Mapping[str, Any] = field(default_factory=dict)
    dry: bool = False
    resume: bool = False
    workers: int = 1
    keep_runs: int = KEEP_RUNS
    kinds: tuple[Kind, ...] = (Kind.ANNOTATION,)


def run_project(
    project: Project,
    images: Sequence[ImageEntry],
    propose: Propose,
    editor: Editor,
    options: RunOptions,
    *,
    stop: threading.Event | None = None,
    begun: Callable[[int], None] = lambda images: None,
    finished: Callable[[ImageReport], None] = lambda report: None,
    filesystem: Filesystem | None = None,
) -> RunReport:
    """Work on images of a project.

    Args:
        project: as it was read.
        images: those to work on.
        propose: says what is to be done to each; called from ``options.workers`` threads.
        editor: reads and edits.
        options: how.
        stop: set from elsewhere: images under way are finished, no further one is begun.
        begun: called with the number of images that are left to do, before the first.
        finished: called after each image, from this thread.
        filesystem: to write with.

    Raises:
        ProjectError: another process writes to the project, or there is nothing to resume.
        ServerUnavailable: no server answers any more. What was written stays, and can be taken up.
    """
    stop = stop or threading.Event()
    if options.dry:
        work = _Work(None, None, propose, editor, options.kinds)
        reports = list(_each(images, work, options.workers, stop, finished))
        return RunReport("", None, tuple(reports), (), _was_stopped(stop, reports, images))
    filesystem = filesystem or Filesystem()
    with ProjectLock(project.folder) as lock:
        store = ProjectStore(project.file, lock=lock, filesystem=filesystem)
        store.recover()
        run = _resumed(store, options) if options.resume else store.begin(options.command, dict(options.options))
        store.prune(options.keep_runs, sparing=run)
        done = set(run.images("done")) | set(run.images("committed"))
        todo = [image for image in images if image.entry_id not in done]
        begun(len(todo))
        work = _Work(store, run, propose, editor, options.kinds, filesystem)
        reports = list(_each(todo, work, options.workers, stop, finished))
        earlier = tuple(image.name for image in images if image.entry_id in done)
        stopped = _was_stopped(stop, reports, todo)
        if not stopped and not run.ended:
            run.journal.append("end")
        return RunReport(run.run_id, run.folder, tuple(reports), earlier, stopped, tuple(run.changed))


def note_report(project: Project, run_id: str, folder: Path) -> None:
    """Note that a run's report was written: until then the run can be taken up, though all images are done."""
    ProjectStore(project.file).run(run_id).journal.append("reported", folder=str(folder))


def decisions_of(run: Run) -> list[Decision]:
    """Return all decisions of a run about images that it wrote or left alone."""
    images = dict.fromkeys([*run.images("committed"), *run.images("done")])
    return [decision for entry_id in images for decision in rows.load(rows_file(run, entry_id))]


def rows_file(run: Run, entry_id: str) -> Path:
    """Return the file of a run's decisions about an image."""
    return run.folder / f"{entry_id}.decisions.json"


def write_edit(
    store: ProjectStore, run: Run, image: ImageEntry, seen: Fingerprint | None, edit: Edit, editor: Editor
) -> Written:
    """Commit one edit; the caller sees to it that no other write is under way."""
    written: list[Written] = []

    def write(path: Path) -> NewData:
        written.append(editor.write(image, edit, str(path)))
        return NewData(written[0].summary)

    def verify(path: Path) -> None:
        check_data_file(path)
        editor.verify(image, str(path))

    store.commit(run, image, seen=seen, write=write, verify=verify)
    return written[0]


@dataclass(frozen=True)
class _Work:
    """All that the work on one image needs."""

    store: ProjectStore | None
    run: Run | None
    propose: Propose
    editor: Editor
    kinds: tuple[Kind, ...]
    filesystem: Filesystem = field(default_factory=Filesystem)
    one_writer: threading.Lock = field(default_factory=threading.Lock)

    def image(self, worker: int, image: ImageEntry) -> ImageReport:
        """Read, propose, write. Errors of the image end up in its report; those of the server are raised."""
        started = time.monotonic()
        decisions: tuple[Decision, ...] = ()
        try:
            seen = Fingerprint.of(image.data_file)
            proposal = self.propose(worker, image, self.editor.read(image, self.kinds))
            decisions = proposal.decisions
            if reason := rows.why_unanswered(decisions):
                return self._failed(image, started, reason, decisions)
            written = self._write(image, seen, proposal)
        except (ServerUnavailable, DeadlineExceeded, Cancelled):
            raise
        except (QupathSamError, OSError, GEOSException) as error:
            reason = reason_of(error)
            if not isinstance(error, QupathSamError | GEOSException):  # so Windows says that a program holds the file
                reason = f"cannot be written ({error}); close it in QuPath, see that there is room on the disk"
            return self._failed(image, started, reason)
        seconds = time.monotonic() - started
        return ImageReport(
            image, decisions, seconds, proposal.model_s, recomputed=written.recomputed, removed=written.removed
        )

    def _failed(
        self, image: ImageEntry, started: float, reason: str, decisions: tuple[Decision, ...] = ()
    ) -> ImageReport:
        if self.run is not None:
            self.run.journal.append("failed", image=image.entry_id, reason=reason)
        return ImageReport(image, decisions, time.monotonic() - started, error=reason)

    def _write(self, image: ImageEntry, seen: Fingerprint | None, proposal: Proposal) -> Written:
        written = Written(b"", 0, 0)
        if self.store is None or self.run is None:
            return written
        with self.one_writer:
            rows.save(rows_file(self.run, image.entry_id), proposal.decisions, self.filesystem)
            if proposal.edit:
                written = write_edit(self.store, self.run, image, seen, proposal.edit, self.editor)
            self.run.journal.append("done", image=image.entry_id)
        return written


def _each(
    images: Sequence[ImageEntry],
    work: _Work,
    workers: int,
    stop: threading.Event,
    finished: Callable[[ImageReport], None],
) -> Iterator[ImageReport]:
    """Work on images, as many at once as there are workers; none is begun after ``stop``."""
    waiting = list(reversed(images))
    with _pool(workers) as pool:
        free = list(range(max(1, workers)))
        running: dict[Future[ImageReport], int] = {}
        while running or (waiting and not stop.is_set()):
            while waiting and free and not stop.is_set():
                worker = free.pop(0)
                running[pool.submit(work.image, worker, waiting.pop())] = worker
            # A short wait, so that this (main) thread gets to handle signals on Windows as well.
            ready, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in ready:
                free.append(running.pop(future))
                try:
                    report = future.result()
                except QupathSamError:
                    stop.set()  # the others finish what they have begun
                    raise
                finished(report)
                yield report


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="qupath-sam image") as pool:
        yield pool


def _resumed(store: ProjectStore, options: RunOptions) -> Run:
    for run in reversed(store.runs()):
        begun = run.begun
        if begun.get("command") == options.command and begun.get("options") == dict(options.options):
            if run.ended and not run.failed and run.reported:
                raise ProjectError(f"run {run.run_id} with these options came to its end; leave out --resume")
            return run
    raise ProjectError(f"no unfinished run of {options.command!r} with these options to resume; leave out --resume")


def _was_stopped(stop: threading.Event, reports: Sequence[ImageReport], images: Sequence[ImageEntry]) -> bool:
    return stop.is_set() and len(reports) < len(images)


def select_images(project_file: Path, patterns: Sequence[str]) -> tuple[Project, list[ImageEntry]]:
    """Read a project, and the images of it whose name or entry id matches a pattern (all where there is none).

    Raises:
        ProjectError: no project, or no image matches.
    """
    project = read_project(project_file)
    selection = ImageSelection(tuple(patterns))
    images = [image for image in project.images if selection.matches(image)]
    if not images:
        unusable = f" ({'; '.join(map(str, project.unusable))})" if project.unusable else ""
        which = f"matches {', '.join(patterns)}" if patterns else "can be worked on"
        raise ProjectError(f"no image of {project.file} {which}{unusable}; see `qupath-sam project info`")
    return project, images
