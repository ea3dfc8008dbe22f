"""The course of a run as a CSV file: one row every few steps, appended, cut back to the step a run resumes at."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from qupath_sam.machine.files import atomic_write
from qupath_sam.training.loop import StepReport

CURVES_FILE = "curves.csv"


@dataclass(frozen=True, slots=True)
class CurveRow:
    """The optimiser steps since the row before.

    Attributes:
        step, epoch, prompts, seconds, learning_rate: as of the last of them.
        loss: mean over their answers.
        first_iou, later_iou: mean IoU of their first and of their later answers. None, as the loss, where there were
            none.
    """

    step: int
    epoch: float
    prompts: int
    seconds: float
    learning_rate: float
    loss: float | None
    first_iou: float | None
    later_iou: float | None


_COLUMNS = [each.name for each in fields(CurveRow)]


def row_of(reports: Sequence[StepReport]) -> CurveRow:
    """Return the row of some steps, in which every answer counts alike, whichever step it was given in.

    Raises:
        ValueError: there are no steps.
    """
    if not reports:
        raise ValueError("a row of the curves needs at least one step")
    last = reports[-1]
    return CurveRow(
        step=last.step,
        epoch=last.epoch,
        prompts=last.prompts,
        seconds=last.seconds,
        learning_rate=last.learning_rate,
        loss=_mean((report.loss, report.answers) for report in reports),
        first_iou=_mean((report.first_iou, report.first_answers) for report in reports),
        later_iou=_mean((report.later_iou, report.answers - report.first_answers) for report in reports),
    )


def append_row(path: Path, row: CurveRow) -> None:
    """Add a row; the file and its header are made where there is none."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow({key: _written(value) for key, value in asdict(row).items()})


def cut_back(path: Path, *, step: int) -> None:
    """Drop rows of steps after ``step``: they were made by a process that was killed before it saved."""
    cut_back_rows(path, _COLUMNS, step=step)


def cut_back_rows(path: Path, columns: Sequence[str], *, step: int) -> None:
    """Return the same of a file with these columns, of which one is ``step``."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def _mean(values: Iterable[tuple[float | None, int]]) -> float | None:
    """Return the mean of values by their weights; None where nothing has any."""
    known = [(value, weight) for value, weight in values if value is not None and weight]
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known) if known else None


def _written(value: float | None) -> str:
    """Write counts in full, and six digits of what was measured."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"
