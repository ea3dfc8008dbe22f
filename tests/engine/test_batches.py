"""A device without room is asked for less at a time, and says so when nothing is left to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from qupath_sam.engine.batches import Failure, run_batch
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.errors import OutOfMemory
from qupath_sam.models.jobs import Job


@dataclass
class Device:
    """Has room for so many objects in a call; ``freed`` more once memory has been freed."""

    room: int
    freed: int = 0

    def __post_init__(self) -> None:
        self.calls: list[int] = []
        self.times_freed = 0

    def free(self) -> None:
        self.times_freed += 1
        self.room += self.freed
        self.freed = 0


@dataclass(frozen=True, eq=False)
class Squares(Job[list[int]]):
    """A job of several objects."""

    device: Device
    numbers: tuple[int, ...]

    def run_with(self, others: Sequence[Squares]) -> list[list[int]]:
        count = sum(len(job.numbers) for job in (self, *others))
        self.device.calls.append(count)
        if count > self.device.room:
            raise OutOfMemory("no room; ask for fewer")
        return [[n * n for n in job.numbers] for job in (self, *others)]

    def halves(self) -> tuple[Squares, Squares] | None:
        middle = len(self.numbers) // 2
        if not middle:
            return None
        return replace(self, numbers=self.numbers[:middle]), replace(self, numbers=self.numbers[middle:])


@pytest.mark.parametrize("room", [1, 2, 3, 5, 100])
def test_every_answer_comes_in_as_many_calls_as_it_takes(room: int) -> None:
    device = Device(room)
    jobs = [Squares(device, tuple(range(start, start + 4))) for start in (0, 10, 20)]
    assert run_batch(jobs, free=device.free) == [[n * n for n in job.numbers] for job in jobs]
    assert max(count for count in device.calls if count <= room) >= min(room, 2) // 2


def test_an_object_that_has_no_room_alone_is_refused_and_the_worker_goes_on() -> None:
    device = Device(0)
    with InferenceWorker(free=device.free) as worker:
        with pytest.raises(OutOfMemory):
            worker.run(Squares(device, (1, 2)))
        assert device.times_freed
        device.room = 2
        assert worker.run(Squares(device, (1, 2))) == [1, 4]


def test_what_is_freed_is_used() -> None:
    device = Device(0, freed=1)
    assert run_batch([Squares(device, (3,))], free=device.free) == [[9]]
    assert device.times_freed == 1


def test_one_job_without_room_does_not_take_the_others_with_it() -> None:
    device, full = Device(10), Device(0)
    outcomes = run_batch([Squares(device, (2,)), Squares(full, (3,))], free=device.free)
    # The first job of a call runs for all: the second is alone when it fails.
    assert outcomes[0] == [4]
    assert outcomes[1] == [9] or isinstance(outcomes[1], Failure)
