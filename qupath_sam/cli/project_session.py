"""What the project commands share: QuPath's process and the servers, progress and signals, the report at the end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from qupath_sam.cli.project_options import ModelOptions, ReportedRunOptions
    from qupath_sam.client import Access, SamClient
    from qupath_sam.project.jvm.worker import QuPathWorker
    from qupath_sam.project.layout import Project
    from qupath_sam.project.predictor import ImageSource, Predictor
    from qupath_sam.project.run import ImageReport, Propose, RunOptions, RunReport
    from qupath_sam.types.service import ModelInfo


class Session:
    """QuPath's process and the servers of one command."""

    def __init__(self, editor: QuPathWorker, servers: Sequence[tuple[Predictor, ImageSource]]) -> None:
        self.editor = editor
        self._servers = servers

    @classmethod
    @contextmanager
    def open(
        cls,
        addresses: Sequence[str],
        path_map: Sequence[str],
        heap: str,
        limit_s: float,
        *,
        push_pixels: bool,
        access: Access | None = None,
    ) -> Iterator[Session]:
        """Start what is needed; ended with the block.

        Args:
            addresses: of the servers; none runs the model in this process.
            path_map: ``CLIENT=SERVER`` prefixes.
            heap: of QuPath's process, as Java writes it.
            limit_s: longest wait for QuPath, seconds.
            push_pixels: send pixels instead of having the servers open slides.
            access: encryption and token, the same for all servers.
        """
        from qupath_sam.errors import InvalidRequest
        from qupath_sam.project.predictor import PushedPixels, ServerReadsSlides
        from qupath_sam.slides.location import PathMap

        if push_pixels and not addresses:
            raise InvalidRequest("--push-pixels sends pixels to a server; name it with --server")
        with ExitStack() as stack:
            editor = stack.enter_context(_worker(heap, limit_s))
            reads = ServerReadsSlides(PathMap.parse(path_map))
            servers: list[tuple[Predictor, ImageSource]] = []
            for address in addresses:
                from qupath_sam.client import SamClient
                from qupath_sam.client.sam import PATIENT_PAUSES_S

                patient = SamClient(address, access=access, busy_pauses_s=PATIENT_PAUSES_S, batch=True)
                client = stack.enter_context(patient)
                client.capabilities()  # says at once where nothing answers
                servers.append((client, PushedPixels(editor, client) if push_pixels else reads))
            if not addresses:
                from qupath_sam.client.local import LocalClient

                servers.append((stack.enter_context(LocalClient()), reads))
            yield cls(editor, servers)

    @classmethod
    def of(cls, model: ModelOptions, run: ReportedRunOptions) -> AbstractContextManager[Session]:
        """Take what a command's options ask for; see `open`."""
        return cls.open(
            model.server or [],
            model.path_map or [],
            run.heap,
            run.time_limit,
            push_pixels=model.push_pixels,
            access=model.access,
        )

    @classmethod
    @contextmanager
    def open_without_server(cls, heap: str, limit_s: float) -> Iterator[Session]:
        """Open a session with QuPath's process only."""
        with _worker(heap, limit_s) as editor:
            yield cls(editor, ())

    @property
    def servers(self) -> int:
        """How many there are."""
        return len(self._servers)

    def server(self, worker: int) -> tuple[Predictor, ImageSource]:
        """Return the server for one of the workers, in turn."""
        return self._servers[worker % len(self._servers)]

    def window_px(self, model: str) -> int:
        """Return the side of the window that a model sees.

        Raises:
            ModelError: one of the servers has no model of that name, or not its weights.
        """
        from qupath_sam.client import SamClient

        clients = [predictor for predictor, _ in self._servers if isinstance(predictor, SamClient)]
        if clients:
            first, *_ = [_offered(client, model) for client in clients]
            return first.input_size
        from qupath_sam.engine.model_choice import model_for
        from qupath_sam.models.registry import DEFAULT_MODEL
        from qupath_sam.models.weights.store import ModelStore

        return ModelStore().find(model_for(model) or DEFAULT_MODEL).capabilities.input_size


def _offered(client: SamClient, model: str) -> ModelInfo:
    from qupath_sam.errors import UnknownModel, WeightsMissing

    models = client.models()
    found = next((info for info in models if info.name == model or not model), None)
    if found is None:
        known = ", ".join(info.name for info in models)
        raise UnknownModel(f"the server at {client.address} knows no model {model!r}; known: {known}")
    if not found.available:
        raise WeightsMissing(
            f"the server at {client.address} has no weights of {found.name}; "
            f"run `qupath-sam models pull {found.name}` there"
        )
    return found


def _worker(heap: str, limit_s: float) -> QuPathWorker:
    from qupath_sam.project.jvm.worker import QuPathWorker, WorkerOptions

    return QuPathWorker(WorkerOptions(heap=heap, call_limit_s=limit_s))


def say_before(opened: Project, more: Sequence[str] = ()) -> None:
    """Tell what a person should know of the project before a run, such as that QuPath has it open."""
    from qupath_sam.project.notices import notices

    for text in (*notices(opened), *more):
        typer.echo(text, err=True)


def check_report_folder(opened: Project, folder: Path | None, options: RunOptions) -> None:
    """Make the folder of the report now where its name is known: not after hours, to find that nothing can be written.

    Raises:
        InvalidRequest: it cannot be written to.
    """
    from tempfile import TemporaryFile

    from qupath_sam.errors import InvalidRequest

    if folder is None and not options.dry:
        return  # beside the project, which has to be writable in any case
    folder = folder or _report_folder(opened, options, "")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidRequest(
            f"no report can be written to {folder} ({error}); name another folder: --report"
        ) from error


def run_with_progress(
    opened: Project, images: Sequence[Any], propose: Propose, session: Session, options: RunOptions
) -> RunReport:
    """Run with a progress bar.

    Ctrl-C and SIGTERM end the run after the images under way, a second one at once.

    Raises:
        ProjectError: no QuPath on this machine; nothing has been begun.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from qupath_sam.project.run import run_project

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    session.editor.qupath_version()  # where there is none, that is no fault of an image
    with Progress(*columns) as progress, stopping() as stop:
        task = progress.add_task(options.command, total=len(images))

        def begun(todo: int) -> None:
            progress.update(task, total=todo)

        def finished(report: ImageReport) -> None:
            progress.update(task, advance=1)
            outcome = report.error or f"{len(report.decisions)} objects in {report.seconds:.1f} s"
            progress.console.print(f"{report.image.name}: {outcome}", markup=False, highlight=False)

        return run_project(opened, images, propose, session.editor, options, stop=stop, begun=begun, finished=finished)


def run_one_shard(
    opened: Project,
    images: Sequence[Any],
    propose: Propose,
    session: Session,
    text: str,
    asked: Mapping[str, Any],
) -> None:
    """Take images of a job that several tasks share; prints a line for each."""
    from qupath_sam.project.shards import Shard, ShardStore, run_shard

    shard = Shard.parse(text)
    store = ShardStore.of(opened, "refine", asked)
    session.editor.qupath_version()

    def finished(report: ImageReport) -> None:
        outcome = report.error or f"{len(report.decisions)} objects in {report.seconds:.1f} s"
        typer.echo(f"{report.image.name}: {outcome}")

    with stopping() as stop:
        reports = run_shard(images, propose, session.editor, store, shard, stop=stop, finished=finished)
    left = len(store.missing(images))
    waits = f"{left} of {len(images)} images are still to be done" if left else "all images are done"
    typer.echo(f"shard {shard}: {len(reports)} images here; {waits}; then: qupath-sam project merge {opened.file}")
    if any(report.error for report in reports):
        raise typer.Exit(1)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set; a second one ends this process where it stands."""
    stop = threading.Event()

    def ask(*_: object) -> None:
        if stop.is_set():
            _end_at_once()
        stop.set()
        typer.echo("stopping after the image under way; again to stop at once (nothing is lost)", err=True)

    names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), ask) for name in names}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _end_at_once() -> NoReturn:
    """End as if killed: the images' threads cannot be interrupted, and what they write is whole at every moment."""
    for child in multiprocessing.active_children():  # QuPath's process
        child.kill()
    if sys.stdout.isatty():
        os.write(1, b"\x1b[?25h\n")  # the progress bar has hidden the cursor
    os._exit(128 + signal.SIGINT)


def finish(
    opened: Project, result: RunReport, session: Session, folder: Path | None, options: RunOptions, *, thumbnails: bool
) -> None:
    """Report on the whole run, its earlier part included."""
    from qupath_sam.project.report import Heading, write_csv, write_html
    from qupath_sam.project.run import decisions_of, note_report
    from qupath_sam.project.store.commit import ProjectStore

    decisions: Sequence[Any] = result.decisions
    if result.run_id and result.skipped:
        decisions = decisions_of(ProjectStore(opened.file).run(result.run_id))
    folder = folder or _report_folder(opened, options, result.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{options.command.capitalize()}: {opened.folder.name}" + (" (dry run)" if options.dry else "")
    lines = [
        ("project", str(opened.file)),
        ("run", _run_line(opened, result)),
        ("images", f"{len(result.images)} worked on, {len(result.skipped)} done before"),
        ("seconds", f"{sum(image.seconds for image in result.images):.1f}, model {_model_s(result):.1f}"),
        ("measurements of shape", f"{_sum(result, 'recomputed')} recomputed, {_sum(result, 'removed')} removed"),
        ("options", ", ".join(f"{key}={value}" for key, value in options.options.items() if value not in (None, ""))),
    ]
    errors = [(image.image.name, image.error) for image in result.images if image.error]
    write_csv(folder / "report.csv", decisions)
    pixels = session.editor if thumbnails else None
    write_html(folder / "report.html", Heading(title, lines), decisions, opened.images, pixels, errors=errors)
    if result.run_id:
        note_report(opened, result.run_id, folder)
    print_result(opened, result, dry=options.dry)
    typer.echo(f"report: {folder / 'report.html'}")
    exit_if_failed(result)


def _run_line(opened: Project, result: RunReport) -> str:
    if not result.run_id:
        return "dry"
    if not result.changed:
        return f"{result.run_id} (changed nothing)"
    return f"{result.run_id} (undo: {_undo_command(opened, result)})"


def _undo_command(opened: Project, result: RunReport) -> str:
    """Return the command that takes a run back, as any shell takes it."""
    return f'qupath-sam project undo "{opened.file}" --run {result.run_id}'


def _report_folder(opened: Project, options: RunOptions, run_id: str) -> Path:
    return opened.folder / f"qupath-sam {options.command} {run_id}".strip()


def print_result(opened: Project, result: RunReport, *, dry: bool) -> None:
    """Print how many objects were changed or refused, what failed, and how to go on or to undo the run."""
    from qupath_sam.project.decisions import Tally

    tally = Tally.of(result.decisions)
    for name, count in tally.actions.items():
        typer.echo(f"{count} {name}")
    for name, count in tally.refusals.items():
        typer.echo(f"  {count} {name}")
    for name, count in tally.doubts.items():
        typer.echo(f"  {count} added with a doubt ({name}): look at them, or leave them out with --min-score")
    for image in result.images:
        if image.error:
            typer.echo(f"{image.image.name}: {image.error}", err=True)
    if dry:
        typer.echo("dry run: nothing was written")
    elif result.stopped:
        typer.echo(f"stopped; go on with --resume (run {result.run_id})")
    else:
        if any(image.error for image in result.images):
            typer.echo("to try the images that failed again, repeat the command (refine, segment: with --resume)")
        if result.changed:
            typer.echo(f"run {result.run_id}; take it back with `{_undo_command(opened, result)}`")
        else:
            typer.echo(f"run {result.run_id} changed nothing")


def exit_if_failed(result: RunReport) -> None:
    """Exit with status 1 where an image of the run has failed."""
    if any(image.error for image in result.images):
        raise typer.Exit(1)


def _model_s(result: RunReport) -> float:
    return sum(image.model_s for image in result.images)


def _sum(result: RunReport, name: str) -> int:
    return sum(getattr(image, name) for image in result.images)
