"""A call's jobs: queued on the lanes' threads, waited for, and timed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from qupath_sam.engine.urgency import Priority, Urgency
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.models.jobs import Job, Stages
from qupath_sam.types.results import Timings

if TYPE_CHECKING:
    from qupath_sam.engine.call import Call

T = TypeVar("T")


class RunningJobs:
    """Runs jobs for one call.

    Args:
        call: who calls, how patient they are.
        priority: of the jobs.
        timings: gets the times; new ones where None.
    """

    def __init__(self, call: Call, priority: Priority, timings: Timings | None = None) -> None:
        self._call = call
        self._priority = priority
        self.timings = timings if timings is not None else Timings()

    def run(self, worker: InferenceWorker, job: Job[T], *, urgency: Urgency | None = None) -> T:
        """Return the answer of one job; raises as `InferenceWorker.run`."""
        (answer,) = self._round([(worker, job)], urgency or Urgency(self._priority))
        result: T = answer
        return result

    def run_stages(self, all_stages: Sequence[tuple[InferenceWorker, Stages[T]]]) -> list[T]:
        """Return the results of stages. Those on one worker share turns where the model gains by that.

        A job's error ends all stages.

        Args:
            all_stages: each with the worker of its jobs.
        """
        results: dict[int, T] = {}
        answers: dict[int, Any] = dict.fromkeys(range(len(all_stages)))
        first = True
        with ExitStack() as ending:
            for _, stages in all_stages:
                ending.callback(stages.close)
            if self._priority is Priority.INTERACTIVE:
                for worker in {worker for worker, _ in all_stages}:
                    ending.enter_context(worker.series())
            while answers:
                jobs: dict[int, tuple[InferenceWorker, Job[Any]]] = {}
                for number, answer in answers.items():
                    worker, stages = all_stages[number]
                    try:
                        jobs[number] = worker, stages.send(answer)
                    except StopIteration as done:
                        results[number] = done.value
                made = self._round(list(jobs.values()), Urgency(self._priority), continues=not first) if jobs else []
                answers, first = dict(zip(jobs, made, strict=True)), False
        return [results[number] for number in range(len(all_stages))]

    def _round(
        self, jobs: Sequence[tuple[InferenceWorker, Job[Any]]], urgency: Urgency, *, continues: bool = False
    ) -> list[Any]:
        """Queue all jobs, and wait for all answers."""
        submitted = time.perf_counter()
        began: list[float] = []
        waiting: list[tuple[InferenceWorker, Future[Any]]] = []
        call = self._call
        try:
            for worker, job in jobs:
                future = worker.submit(
                    job,
                    priority=urgency,
                    cancel=call.cancel,
                    deadline=call.deadline,
                    client=call.client,
                    continues=continues,
                    began=lambda: began.append(time.perf_counter()),
                )
                waiting.append((worker, future))
                del future
            answers = [worker.result(future, deadline=call.deadline) for worker, future in waiting]
        finally:
            # An error's traceback keeps this frame, and a future keeps the error.
            while waiting:
                waiting.pop()[1].cancel()
        first = min(began)
        self.timings.queue += (first - submitted) * 1e3
        kind = "encode" if jobs[0][1].kind == "encode" else "decode"
        spent = (time.perf_counter() - first) * 1e3
        setattr(self.timings, kind, getattr(self.timings, kind) + spent)
        return answers
