"""The progress bar of ``qupath-sam train``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from qupath_sam.training.loop import Progress, StepReport


class Trainer(Protocol):
    """What the bar asks a trainer; see `qupath_sam.training.loop.Trainer`."""

    @property
    def share_done(self) -> float:
        """Share of the run that is done, 0..1."""
        ...

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        ...


@contextmanager
def training_progress(trainer: Trainer) -> Iterator[Callable[[StepReport], None]]:
    """Show a bar on stderr; yield what to call after each step."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("step {task.fields[step]}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[scores]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("", total=1.0, step=trainer.progress.step, scores="")

        def on_step(report: StepReport) -> None:
            first = "" if report.first_iou is None else f" IoU of first answers {report.first_iou:.3f}"
            later = "" if report.later_iou is None else f", of later ones {report.later_iou:.3f}"
            scores = f"loss {report.loss:.3f}{first}{later}"
            bars.update(bar, completed=trainer.share_done, step=report.step, scores=scores)

        yield on_step
