"""What runs share that learn from whole crops, a dense head and Segment Any Cell: progress, average, curves, resuming.

Runs that learn from clicks keep sessions besides; theirs is in `qupath_sam.training.run` and `.resume`.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

from qupath_sam.errors import InvalidRequest
from qupath_sam.training.curves import cut_back_rows
from qupath_sam.training.resume import read_state

#: Of the average of the weights: over the last thousand crops or so, fewer in the beginning.
_AVERAGED_CROPS = 1000
_STEPS_A_ROW, _SECONDS_A_SAVE = 10, 120.0
#: Of a report, as of its last step; the others are means over steps.
_AS_OF_NOW = ("step", "epoch", "seconds", "learning_rate")


@dataclass(slots=True)
class Progress:
    """Where a run is: optimiser steps, crops seen, seconds in steps."""

    step: int = 0
    seen: int = 0
    seconds: float = 0.0


class Report(Protocol):
    """One step, or the mean of some: a dataclass of numbers."""

    @property
    def step(self) -> int:
        """Number of the step, from 1."""
        ...


R = TypeVar("R", bound=Report)


def kept_share(step: int, *, batch: int) -> float:
    """Return how much of the average of the weights stays at a step, 0..1.

    Args:
        step: number of the step, from 1.
        batch: crops of a step.
    """
    return min(1 - batch / _AVERAGED_CROPS, step / (step + 10))


def step_to_end(
    steps: Iterable[R], curves: Path, save: Callable[[R | None], None], on_step: Callable[[R], None] | None
) -> R | None:
    """Take all steps, write a row of the curves now and then, and save now and then.

    Args:
        steps: each is taken when it is asked for.
        curves: the file of the curves.
        save: called with the mean of the steps since the last row, between two steps.
        on_step: called with the same after each step.

    Returns:
        The last mean; None where there was no step.
    """
    saved = time.monotonic()
    since: list[R] = []
    row: R | None = None
    for report in steps:
        since.append(report)
        row = mean_report(since)
        if report.step % _STEPS_A_ROW == 0:
            _append(curves, row)
            since.clear()
        if on_step is not None:
            on_step(row)
        if time.monotonic() - saved > _SECONDS_A_SAVE:
            save(row)
            saved = time.monotonic()
    return row


def mean_report(reports: Sequence[R]) -> R:
    """Return the last report, with means over all where a number is not as of a step.

    Args:
        reports: at least one.
    """
    last: Any = reports[-1]
    names = [each.name for each in fields(last) if each.name not in _AS_OF_NOW]
    means = {name: sum(getattr(each, name) for each in reports) / len(reports) for name in names}
    mean: R = type(last)(**{**asdict(last), **means})
    return mean


def cut_back_curves(path: Path, report: type[Any], *, step: int) -> None:
    """Drop rows of steps after ``step``: they were made by a process that was killed before it saved."""
    cut_back_rows(path, [each.name for each in fields(report)], step=step)


def read_same_run(
    path: Path,
    *,
    method: str,
    version: int,
    settings: Mapping[str, Any],
    source: str,
    earlier: Callable[[dict[str, Any]], dict[str, Any]] = lambda settings: settings,
) -> dict[str, Any]:
    """Read the state of a run that is to go on.

    Args:
        path: of the state.
        method, version: of the run's kind.
        settings: of the run now, as JSON values.
        source: tells data and initial weights apart from others.
        earlier: gives settings of an earlier version under today's names.

    Raises:
        InvalidRequest: there is none, or it is of another method, version, settings, data or initial weights.
    """
    state = read_state(path)
    if state.get("method") != method or state["version"] != version:
        raise InvalidRequest(f"{path.parent} holds a run of another method or version; choose another --out")
    before, now = earlier(json.loads(state["settings"])), json.loads(json.dumps(settings))
    # A run may be made longer, or end in a falling rate.
    other = [key for key in now if key not in ("length", "schedule") and before.get(key) != now[key]]
    if other:
        raise InvalidRequest(
            f"{path.parent} holds a run with other settings ({', '.join(other)}); "
            "resume with the same options, or choose another --out"
        )
    if state["source"] != source:
        raise InvalidRequest(
            f"{path.parent} holds a run on other data, or from another model; resume with the same data sets and the "
            "same --init, or choose another --out"
        )
    return state


def _append(path: Path, row: Any) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(row)])
        if new:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" for key, value in asdict(row).items()})
