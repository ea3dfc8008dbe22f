"""The progress bar of ``qupath-sam train``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from qupath_sam.training.loop import StepReport


class Counts(Protocol):
    """How far a run is."""

    @property
    def step(self) -> int:
        """Steps of the optimiser."""
        ...


class Trainer(Protocol):
    """What the bar asks a trainer; see `qupath_sam.training.loop.Trainer`."""

    @property
    def share_done(self) -> float:
        """Share of the run that is done, 0..1."""
        ...

    @property
    def progress(self) -> Counts:
        """How far the run is."""
        ...


R = TypeVar("R", bound=Counts)


def scores_of_clicks(report: StepReport) -> str:
    """Return what the bar says of a step that learns from clicks."""
    first = "" if report.first_iou is None else f" IoU of first answers {report.first_iou:.3f}"
    later = "" if report.later_iou is None else f", of later ones {report.later_iou:.3f}"
    return f"loss {report.loss:.3f}{first}{later}"


@contextmanager
def training_progress(trainer: Trainer, scores: Callable[[R], str]) -> Iterator[Callable[[R], None]]:
    """Show a bar on stderr; yield what to call after each step.

    Args:
        trainer: that steps.
        scores: gives the words at the end of the bar.
    """
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

        def on_step(report: R) -> None:
            bars.update(bar, completed=trainer.share_done, step=report.step, scores=scores(report))

        yield on_step
