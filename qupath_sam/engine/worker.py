"""The one thread that calls the models, so that encoder and decoder never compete for the cores.

On 2 cores a 56 ms decoder took 960 ms beside another job of two threads (OpenMP threads spinning at each other's
barriers): one caller that uses all cores beats several that share them.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from qupath_sam.engine.cancellation import CancelToken, check_wanted, seconds_left
from qupath_sam.errors import Cancelled, DeadlineExceeded, QupathSamError, ServerBusy, ServerUnavailable

__all__ = ["CancelToken", "InferenceWorker", "Priority", "Urgency"]

T = TypeVar("T")


class Priority(enum.IntEnum):
    """Who goes first; within one priority the order is first come, first served."""

    #: Nobody waits yet: embedding ahead of the first click.
    BACKGROUND = 0
    #: Somebody waits for the answer: a click, or the embedding that a click needs.
    INTERACTIVE = 1


class Urgency:
    """A priority that rises while the work waits, when somebody more pressed turns out to need it too.

    Without it a click on a window that is being prefetched would wait behind everybody else's clicks.
    """

    def __init__(self, priority: Priority = Priority.INTERACTIVE) -> None:
        self._lock = threading.Lock()
        self._priority = priority

    @property
    def priority(self) -> Priority:
        """The highest priority asked for so far."""
        return self._priority

    def raise_to(self, priority: Priority) -> None:
        """Take over ``priority`` if it is higher."""
        with self._lock:
            self._priority = max(self._priority, priority)


@dataclass(slots=True, eq=False)
class _Job:
    """A call that waits for its turn. Whoever takes it out of the queue owns its future."""

    call: Callable[[], Any]
    future: Future[Any]
    urgency: Urgency
    cancel: CancelToken | None
    deadline: float | None


class InferenceWorker:
    """Runs calls one at a time on a thread of its own, which starts with the first call.

    Args:
        max_waiting: calls that may wait; the one that runs is not among them.
        clock: what deadlines are measured on, in seconds.
    """

    def __init__(self, *, max_waiting: int = 256, clock: Callable[[], float] = time.monotonic) -> None:
        if max_waiting < 1:
            raise ValueError(f"max_waiting must be at least 1, got {max_waiting}")
        self._max_waiting = max_waiting
        self._clock = clock
        self._changed = threading.Condition()
        self._queue: list[_Job] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._queue)

    def submit(
        self,
        call: Callable[[], T],
        *,
        priority: Priority | Urgency = Priority.INTERACTIVE,
        cancel: CancelToken | None = None,
        deadline: float | None = None,
    ) -> Future[T]:
        """Queue ``call`` and return at once.

        A call that has started runs to its end. One that waits is dropped, and its place freed, as soon as ``cancel``
        is set or its future is cancelled; one whose deadline has passed when its turn comes, or when its place is
        needed, is dropped then.

        Args:
            call: takes nothing; must not submit to this worker and wait.
            priority: an `Urgency` is looked at when the turn is decided, not now.
            cancel: the caller's token.
            deadline: seconds on this worker's clock.

        Returns:
            A future with what ``call`` returns or raises, unchanged; or with `Cancelled`, `DeadlineExceeded`, or
            `ServerBusy` (a background call that had to make room for a click).

        Raises:
            ServerBusy: every place is taken.
            ServerUnavailable: the worker is closed.
        """
        urgency = priority if isinstance(priority, Urgency) else Urgency(priority)
        job = _Job(call, Future(), urgency, cancel, deadline)
        try:
            check_wanted(cancel, deadline, clock=self._clock)
        except QupathSamError as unwanted:
            _fail(job, unwanted)
            return job.future
        self._enqueue(job)
        # No callback holds the job, for the future holds the callbacks: pixels would outlive the call.
        future = job.future
        future.add_done_callback(self._drop_cancelled)
        if cancel is not None:
            future.add_done_callback(_ignoring_argument(cancel.add_callback(lambda: self._drop_cancelled(future))))
        return future

    def run(
        self,
        call: Callable[[], T],
        *,
        priority: Priority | Urgency = Priority.INTERACTIVE,
        cancel: CancelToken | None = None,
        deadline: float | None = None,
    ) -> T:
        """`submit`, and wait for the answer.

        Cancelling, or the deadline, ends the wait only while the call has not started. A started call is waited for:
        it cannot be stopped, and an embedding once paid for is worth keeping.

        Raises:
            Cancelled: dropped before it started.
            DeadlineExceeded: dropped before it started.
            ServerBusy: every place is taken.
            ServerUnavailable: the worker is closed.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a call that runs on the worker must not wait for the worker; call the model directly")
        future = self.submit(call, priority=priority, cancel=cancel, deadline=deadline)
        try:
            if deadline is not None:
                wait([future], timeout=seconds_left(deadline, clock=self._clock))
                self._drop(future, _expired())
            return future.result()
        finally:
            future.cancel()  # an interrupted wait leaves nothing behind; for what is done it does nothing
            del future  # an error's traceback keeps this frame, and the future keeps the error

    def close(self, *, drain: bool = False) -> None:
        """Take no more calls and wait for the running one. Those that wait are run first, or fail.

        Args:
            drain: run what waits; otherwise it gets `ServerUnavailable`.
        """
        with self._changed:
            self._closed = True
            dropped = [] if drain else self._take(self._queue)
            self._changed.notify_all()
        for job in dropped:
            _fail(job, ServerUnavailable("the server is shutting down; connect again when it is back"))
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> InferenceWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _enqueue(self, job: _Job) -> None:
        if self.waiting >= self._max_waiting:
            self._drop_expired()
        displaced: list[_Job] = []
        with self._changed:
            if self._closed:
                raise ServerUnavailable("the server is shutting down; connect again when it is back")
            if len(self._queue) >= self._max_waiting:
                displaced = self._take(self._less_urgent_than(job)[-1:])
                if not displaced:
                    raise ServerBusy(f"{self._max_waiting} requests wait already; try again in a moment")
            self._queue.append(job)
            if self._thread is None:
                # A daemon: a program that forgets to close must still be able to exit.
                self._thread = threading.Thread(target=self._loop, name="inference", daemon=True)
                self._thread.start()
            self._changed.notify()
        for loser in displaced:
            _fail(loser, ServerBusy("clicks needed this place in the queue; try again in a moment"))

    def _less_urgent_than(self, job: _Job) -> list[_Job]:
        return [other for other in self._queue if other.urgency.priority < job.urgency.priority]

    def _take(self, jobs: list[_Job]) -> list[_Job]:
        """Those of ``jobs`` that still wait; they wait no more. Needs the lock."""
        taken = [job for job in jobs if job in self._queue]
        self._queue = [job for job in self._queue if job not in taken]
        return taken

    def _drop(self, future: Future[Any], reason: QupathSamError) -> None:
        """Take the call of ``future`` out of the queue, if it still waits there."""
        with self._changed:
            taken = self._take([job for job in self._queue if job.future is future])
        for job in taken:
            _fail(job, reason)

    def _drop_cancelled(self, future: Future[Any]) -> None:
        self._drop(future, Cancelled("the request was cancelled before its turn; send it again if it is still wanted"))

    def _drop_expired(self) -> None:
        now = self._clock()
        with self._changed:
            expired = self._take([job for job in self._queue if job.deadline is not None and now >= job.deadline])
        for job in expired:
            _fail(job, _expired())

    def _loop(self) -> None:
        while (job := self._next()) is not None:
            self._execute(job)
            # Or the last call's pixels stay in memory until the next call.
            del job

    def _next(self) -> _Job | None:
        """The next call, once there is one; None when there will be no more."""
        with self._changed:
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            # max() keeps the first of equals: first come, first served.
            job = max(self._queue, key=lambda waiting: waiting.urgency.priority)
            self._take([job])
            return job

    def _execute(self, job: _Job) -> None:
        try:
            check_wanted(job.cancel, job.deadline, clock=self._clock)
        except QupathSamError as unwanted:
            _fail(job, unwanted)
            return
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            result = job.call()
        except BaseException as error:
            job.future.set_exception(error)
            del job  # the error's traceback keeps this frame, and the future keeps the error
        else:
            job.future.set_result(result)


def _fail(job: _Job, reason: QupathSamError) -> None:
    """Deliver ``reason``, unless the future's holder has cancelled it already."""
    if job.future.set_running_or_notify_cancel():
        job.future.set_exception(reason)


def _expired() -> DeadlineExceeded:
    return DeadlineExceeded("the request ran out of time in the queue; repeat it with a later deadline")


def _ignoring_argument(function: Callable[[], None]) -> Callable[[object], None]:
    return lambda _: function()
