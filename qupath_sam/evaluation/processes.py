"""Evaluation in several processes: each has the model, one tile at a time, and computes as one alone would.

On a CPU, objects of other tiles are worked on while one waits for its distance transforms; on a GPU, the processes take
turns at it. Objects are not decoded together instead: a click's latency would no longer be that of a click.
Results are the same to the last bit however many processes there are, as long as each has the same number of threads.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from qupath_sam.datasets.objects import Selection, Tile
from qupath_sam.errors import OutOfMemory
from qupath_sam.evaluation.protocol import Protocol
from qupath_sam.evaluation.results import ObjectResult
from qupath_sam.evaluation.run import Choices, Evaluation
from qupath_sam.machine.threads import configure_torch, prepare_process
from qupath_sam.models.load import load_segmenter


@dataclass(frozen=True, slots=True)
class Job:
    """What every process gets at its start.

    Attributes:
        model: name.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: of torch in each process.
        protocol, choices: as of `qupath_sam.evaluation.run.Evaluation`.
        workers: processes that do the job.
    """

    model: str
    device: str
    threads: int
    protocol: Protocol
    choices: Choices
    workers: int


class EvaluationProcesses:
    """Some processes for one job, started by the first `submit`. A context manager.

    Leaving it by an error ends the processes at once; nothing of the tiles under way is kept.
    """

    def __init__(self, job: Job) -> None:
        # Threads, CUDA and a JVM's handles do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(job.workers, mp_context=context, initializer=_start, initargs=(job,))

    def submit(self, tile: Tile, selection: Selection, object_ids: tuple[str, ...]) -> Future[list[ObjectResult]]:
        """Score the named objects of a tile."""
        return self._pool.submit(_score, tile, selection, object_ids)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the processes.

        Raises:
            OutOfMemory: one of them was killed.
        """
        if error is not None:
            _end(self._pool)
        self._pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise OutOfMemory(
                "a process of the evaluation was killed, most likely for want of memory; use fewer --workers "
                "(with --resume-dir the run goes on where it stopped)"
            ) from error


def _end(pool: ProcessPoolExecutor) -> None:
    """End at once: Ctrl-C must not wait for twenty clicks on every object of a tile."""
    for process in list((pool._processes or {}).values()):  # `kill_workers` is new in Python 3.14
        process.kill()


#: Of this process, once `_start` has run.
_evaluation: Evaluation | None = None


def _start(job: Job) -> None:
    """Load the model, once for all tiles of this process."""
    global _evaluation
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    threading.Thread(target=_end_with_parent, name="ends with the parent", daemon=True).start()
    prepare_process()
    configure_torch(job.threads)
    model = load_segmenter(job.model, device=job.device)
    _evaluation = Evaluation(model, protocol=job.protocol, choices=job.choices, workers=job.workers)


def _end_with_parent() -> None:
    """End when the parent has ended: one that was killed cannot end its processes, which would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _score(tile: Tile, selection: Selection, object_ids: tuple[str, ...]) -> list[ObjectResult]:
    assert _evaluation is not None
    started = time.perf_counter()
    view = selection.view(tile)
    return list(_evaluation.score(view, object_ids, reading_s=time.perf_counter() - started))
