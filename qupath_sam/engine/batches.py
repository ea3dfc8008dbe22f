"""Run jobs in one call of the model, each with its own outcome; a device that is full is asked for less at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qupath_sam.errors import OutOfMemory
from qupath_sam.models.jobs import Interrupted, Job


def run_batch(jobs: Sequence[Job[Any]], *, free: Callable[[], None]) -> list[Any]:
    """Return an outcome for each job: its answer, or the exception that it ends with.

    Where the device has no room, memory is freed and half of the work is tried at a time, down to one object. A job
    whose error would be that of all runs alone, so that an error is that of one job; `Interrupted` is that of all.

    Args:
        jobs: at least one; they can share a call.
        free: lets go of what the device can do without.
    """
    outcomes = _attempt(jobs)
    if not isinstance(outcomes, Failure):
        return outcomes
    if outcomes.is_a(Interrupted):
        return [Failure(Interrupted()) for _ in jobs]
    full = outcomes.is_a(OutOfMemory)
    if full:
        free()
    elif len(jobs) == 1:
        return [outcomes]
    if len(jobs) == 1:
        return [_in_less_memory(jobs[0], free=free)]
    middle = len(jobs) // 2 if full else 1
    return [*run_batch(jobs[:middle], free=free), *run_batch(jobs[middle:], free=free)]


def _attempt(jobs: Sequence[Job[Any]]) -> list[Any] | Failure:
    """Return the answers of one call, or what it ended with."""
    try:
        answers = jobs[0].run_with(jobs[1:])
        if len(answers) != len(jobs):
            raise RuntimeError(f"the model gave {len(answers)} answers to {len(jobs)} jobs")
        return answers
    except BaseException as error:
        return Failure(error)


class Failure:
    """The outcome of a job that has no answer.

    Args:
        error: what the job ended with.
    """

    __slots__ = ("_error",)

    def __init__(self, error: BaseException) -> None:
        self._error: BaseException | None = error

    def is_a(self, kind: type[BaseException]) -> bool:
        """Return whether the error is of a kind."""
        return isinstance(self._error, kind)

    def take(self) -> BaseException:
        """Return the error, once. Frames in its traceback hold this outcome, so it must not hold the error."""
        error, self._error = self._error, None
        assert error is not None
        return error


def _in_less_memory(job: Job[Any], *, free: Callable[[], None]) -> Any:
    """Run a job in halves; one that has none is tried once more, now that memory is free."""
    halves = job.halves()
    if halves is None:
        again = _attempt([job])
        return again if isinstance(again, Failure) else again[0]
    answers: list[Any] = []
    for half in halves:
        (outcome,) = run_batch([half], free=free)
        if isinstance(outcome, Failure):
            return outcome
        answers += outcome
    return answers
