"""Stages of a call: an error of one job ends all of them, in the server as where they run alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qupath_sam.engine.call import Call
from qupath_sam.engine.running_jobs import RunningJobs
from qupath_sam.engine.urgency import Priority
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.errors import OutOfMemory
from qupath_sam.models.jobs import CallJob, Stages, alone


def stages_of(ended: list[str], name: str, call: Callable[[], int]) -> Stages[int]:
    try:
        first = yield CallJob(call)
        second = yield CallJob(lambda: first + 1)
        return second
    finally:
        ended.append(name)


def no_room() -> int:
    raise OutOfMemory("no room")


def test_results_come_in_the_order_of_the_stages() -> None:
    ended: list[str] = []
    with InferenceWorker() as worker:
        jobs = RunningJobs(Call(), Priority.INTERACTIVE)
        both = [(worker, stages_of(ended, str(i), lambda i=i: 10 * i)) for i in (1, 2)]
        assert jobs.run_stages(both) == [11, 21]
    assert sorted(ended) == ["1", "2"]
    assert alone(stages_of(ended, "alone", lambda: 30)) == 31


def test_an_error_ends_the_stages_of_all() -> None:
    ended: list[str] = []
    with InferenceWorker() as worker:
        jobs = RunningJobs(Call(), Priority.INTERACTIVE)
        both = [(worker, stages_of(ended, "bad", no_room)), (worker, stages_of(ended, "good", lambda: 1))]
        with pytest.raises(OutOfMemory):
            jobs.run_stages(both)
        assert sorted(ended) == ["bad", "good"]
    with pytest.raises(OutOfMemory):
        alone(stages_of(ended, "alone", no_room))
    assert ended[-1] == "alone"
