"""The one thread that calls the models of a device, so that encoder and decoder never compete for the cores.

On 2 cores a 56 ms decoder took 960 ms beside another job of two threads (OpenMP threads spinning at each other's
barriers): one caller that uses all cores beats several that share them.

Jobs of one key that wait when a turn begins share that turn, up to what the model says that it gains by. Nobody waits
for company: what came while the turn before ran is the company.

A person's job does not wait for the end of a long job that nobody waits for: that is interrupted, and runs again. Nor
does such a job begin between two jobs of one click.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from qupath_sam.engine.batches import Failure, run_batch
from qupath_sam.engine.cancellation import CancelToken, check_wanted, seconds_left
from qupath_sam.engine.turns import TurnCounts
from qupath_sam.engine.urgency import Priority, Urgency
from qupath_sam.errors import Cancelled, DeadlineExceeded, QupathSamError, ServerBusy, ServerUnavailable
from qupath_sam.models.jobs import CallJob, Interrupted, Job

__all__ = ["CancelToken", "InferenceWorker", "Priority", "Urgency"]

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A job that waits for its turn. The thread that takes it out of the queue owns its future.

    Attributes:
        first_turn: when its first turn began, on the worker's clock; a job that was interrupted waits once more.
    """

    job: Job[Any]
    future: Future[Any]
    urgency: Urgency
    cancel: CancelToken | None
    deadline: float | None
    client: str
    continues: bool
    began: Callable[[], None] | None
    first_turn: float | None = None

    def claim(self) -> bool:
        """Return whether somebody still waits for the answer; from then on the future cannot be cancelled."""
        return self.first_turn is not None or self.future.set_running_or_notify_cancel()


#: Clients whose last turn is remembered.
_MOST_CLIENTS = 1024
#: A client that asked so many seconds ago is still there, and clicks again.
_STILL_THERE_S = 5.0
#: A job is interrupted no more when its first turn began so many seconds ago: clicks may come without end.
_MOST_DELAY_S = 20.0
#: A click's next job is waited for so long: what lies between two of them takes the host some milliseconds.
_BETWEEN_JOBS_S = 0.05


class InferenceWorker:
    """Runs calls one at a time on a thread of its own, which starts with the first call.

    Args:
        max_waiting: calls that may wait; the one that runs is not among them.
        clock: what deadlines are measured on, in seconds.
        free: lets go of memory that the device can do without; called on the worker's thread when there is no room.

    Attributes:
        turns: what has been done so far.
    """

    def __init__(
        self,
        *,
        max_waiting: int = 256,
        clock: Callable[[], float] = time.monotonic,
        free: Callable[[], None] = lambda: None,
    ) -> None:
        if max_waiting < 1:
            raise ValueError(f"max_waiting must be at least 1, got {max_waiting}")
        self._max_waiting = max_waiting
        self._clock = clock
        self._free = free
        self.turns = TurnCounts()
        self._changed = threading.Condition()
        self._queue: list[_Waiting] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        #: Number of the last turn of each client, the longest ago first, and when a person last waited for an answer.
        self._turns: OrderedDict[str, int] = OrderedDict()
        self._count = 0
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._running: list[_Waiting] = []
        #: Calls of people that have more jobs to come, and when the last turn of a person's job ended.
        self._series = 0
        self._last_urgent_end = -float("inf")

    @property
    def waiting_by_priority(self) -> dict[Priority, int]:
        """How many calls of each priority wait for their turn."""
        with self._changed:
            counts = Counter(job.urgency.priority for job in self._queue)
        return {priority: counts[priority] for priority in Priority}

    def others_wait(self, client: str) -> bool:
        """Return whether another client waits for answers, or did a moment ago: long turns delay it."""
        now = self._clock()
        with self._changed:
            return any(now - when < _STILL_THERE_S for other, when in self._asked.items() if other != client)

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._queue)

    def submit(
        self,
        call: Callable[[], T] | Job[T],
        *,
        priority: Priority | Urgency = Priority.INTERACTIVE,
        cancel: CancelToken | None = None,
        deadline: float | None = None,
        client: str = "",
        continues: bool = False,
        began: Callable[[], None] | None = None,
    ) -> Future[T]:
        """Queue ``call`` and return at once.

        A call that has started runs to its end, unless a person's call interrupts it: then it waits again, as one that
        has not started. One that waits is dropped, and its place freed, as soon as ``cancel``
        is set or its future is cancelled; one whose deadline has passed when its turn comes, or when its place is
        needed, is dropped then.

        Args:
            call: a job, or what takes nothing; must not submit to this worker and wait.
            priority: an `Urgency` is looked at when the turn is decided, not now.
            cancel: the caller's token.
            deadline: seconds on this worker's clock.
            client: whose call it is; clients take turns.
            continues: the job goes on with work that has had a turn: it is the first of its priority and is not refused
                for want of a place.
            began: called on the worker's thread when the turn begins.

        Returns:
            A future with what ``call`` returns or raises, unchanged; or with `Cancelled`, `DeadlineExceeded`, or
            `ServerBusy` (a background call that had to make room for a click).

        Raises:
            ServerBusy: every place is taken.
            ServerUnavailable: the worker is closed.
        """
        urgency = priority if isinstance(priority, Urgency) else Urgency(priority)
        work = call if isinstance(call, Job) else CallJob(call)
        job = _Waiting(work, Future(), urgency, cancel, deadline, client, continues, began)
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
        call: Callable[[], T] | Job[T],
        *,
        priority: Priority | Urgency = Priority.INTERACTIVE,
        cancel: CancelToken | None = None,
        deadline: float | None = None,
        client: str = "",
        continues: bool = False,
        began: Callable[[], None] | None = None,
    ) -> T:
        """`submit`, and wait for the answer.

        Cancelling, or the deadline, ends the wait only while the call does not run. A running call is waited for: the
        caller cannot stop it, and an embedding once paid for is worth keeping.

        Raises:
            Cancelled: dropped before it started.
            DeadlineExceeded: dropped before it started.
            ServerBusy: every place is taken.
            ServerUnavailable: the worker is closed.
        """
        future = self.submit(
            call, priority=priority, cancel=cancel, deadline=deadline, client=client, continues=continues, began=began
        )
        try:
            return self.result(future, deadline=deadline)
        finally:
            del future  # an error's traceback keeps this frame, and the future keeps the error

    def result(self, future: Future[T], *, deadline: float | None = None) -> T:
        """Wait for what `submit` has returned; see `run`."""
        try:
            if threading.current_thread() is self._thread:
                raise RuntimeError("a call that runs on the worker must not wait for it; call the model directly")
            if deadline is not None:
                wait([future], timeout=seconds_left(deadline, clock=self._clock))
                self._drop(future, _expired())
            return future.result()
        finally:
            future.cancel()  # an interrupted wait leaves nothing behind; for what is done it does nothing
            del future  # an error's traceback keeps this frame, and the future keeps the error

    @contextmanager
    def series(self) -> Iterator[None]:
        """Run several jobs for a person, one after the other, in this context.

        No job that is less urgent begins in the short time between two of them.
        """
        with self._changed:
            self._series += 1
        try:
            yield
        finally:
            with self._changed:
                self._series -= 1
                self._changed.notify_all()

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

    def _enqueue(self, job: _Waiting) -> None:
        if self.waiting >= self._max_waiting:
            self._drop_expired()
        displaced: list[_Waiting] = []
        with self._changed:
            if self._closed:
                raise ServerUnavailable("the server is shutting down; connect again when it is back")
            if len(self._queue) >= self._max_waiting and not job.continues:
                displaced = self._take(self._least_urgent_below(job))
                if not displaced:
                    raise ServerBusy(f"{self._max_waiting} requests wait already; try again in a moment")
            self._queue.append(job)
            if job.urgency.priority is Priority.INTERACTIVE:
                self._asked[job.client] = self._clock()
                self._asked.move_to_end(job.client)
                while len(self._asked) > _MOST_CLIENTS:
                    self._asked.popitem(last=False)
            if self._thread is None:
                # A daemon: a program that forgets to close must still be able to exit.
                self._thread = threading.Thread(target=self._loop, name="inference", daemon=True)
                self._thread.start()
            self._interrupt_for(job)
            self._changed.notify()
        for loser in displaced:
            _fail(loser, ServerBusy("clicks needed this place in the queue; try again in a moment"))

    def _interrupt_for(self, job: _Waiting) -> None:
        """Interrupt the turn that runs, where nobody waits for it and ``job`` is a person's. Needs the lock."""
        if job.urgency.priority is not Priority.INTERACTIVE:
            return
        oldest = self._clock() - _MOST_DELAY_S
        may_wait = [
            each.urgency.priority is not Priority.INTERACTIVE and (each.first_turn is None or each.first_turn > oldest)
            for each in self._running
        ]
        if self._running and all(may_wait):
            self._running[0].job.interrupt()  # the others share its call

    def _least_urgent_below(self, job: _Waiting) -> list[_Waiting]:
        """Return the call that gives way: of the least urgent the one that came last; none where all are as urgent."""
        below = [other for other in reversed(self._queue) if other.urgency.priority < job.urgency.priority]
        return [min(below, key=lambda other: other.urgency.priority)] if below else []

    def _take(self, jobs: list[_Waiting]) -> list[_Waiting]:
        """Take those of ``jobs`` that still wait; they wait no more. Needs the lock."""
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
        while turn := self._next():
            self._execute(turn)
            # Or the last call's pixels stay in memory until the next call.
            del turn

    def _next(self) -> list[_Waiting]:
        """Return the jobs of the next turn, once there is one; none when there will be no more."""
        with self._changed:
            while not self._queue or self._pause() > 0:
                if not self._queue and self._closed:
                    return []
                self._changed.wait(self._pause() if self._queue else None)
            # Sorting keeps the order of equals: of one client the first comes first.
            first, *others = sorted(self._queue, key=self._order, reverse=True)
            turn = [first, *_company(first, others)]
            self._queue = [job for job in self._queue if job not in turn]
            self._running = list(turn)
            for job in turn:
                self._count += 1
                self._turns[job.client] = self._count
                self._turns.move_to_end(job.client)
            while len(self._turns) > _MOST_CLIENTS:
                self._turns.popitem(last=False)
            return turn

    def _pause(self) -> float:
        """Return for how many seconds what waits shall wait for a person's next job; needs the lock."""
        if not self._series or any(job.urgency.priority is Priority.INTERACTIVE for job in self._queue):
            return 0.0
        return self._last_urgent_end + _BETWEEN_JOBS_S - self._clock()

    def _order(self, job: _Waiting) -> tuple[Priority, bool, int]:
        return job.urgency.priority, job.continues, -self._turns.get(job.client, 0)

    def _execute(self, turn: list[_Waiting]) -> None:
        wanted = [job for job in turn if self._is_wanted(job) and self._has_begun(job)]
        if not wanted:
            self._end_turn([])
            return
        started = time.perf_counter()
        jobs = [job.job for job in wanted]
        outcomes = self._outcomes(jobs)
        if any(isinstance(outcome, Failure) and outcome.is_a(Interrupted) for outcome in outcomes):
            turn.clear()
            self._end_turn(wanted)
            return
        self._end_turn([])
        self.turns.add(jobs[0].kind, sum(job.items for job in jobs), time.perf_counter() - started)
        # An error's traceback keeps this frame, and a future keeps the error: the frame must keep no future.
        turn.clear()
        while wanted:
            job, outcome = wanted.pop(0), outcomes.pop(0)
            if isinstance(outcome, Failure):
                job.future.set_exception(outcome.take())
            else:
                job.future.set_result(outcome)
            del job, outcome

    def _end_turn(self, interrupted: list[_Waiting]) -> None:
        """Note that the turn is over; what was interrupted waits again, before what came later."""
        with self._changed:
            if any(job.urgency.priority is Priority.INTERACTIVE for job in self._running):
                self._last_urgent_end = self._clock()
            for job in self._running:
                job.job.forget_interrupt()
            self._running = []
            self._queue = [*interrupted, *self._queue]

    def _outcomes(self, jobs: Sequence[Job[Any]]) -> list[Any]:
        """Return an outcome for each job; no error ends the thread, for all who wait would wait forever."""
        try:
            return list(run_batch(jobs, free=self._free_if_possible))
        except BaseException as error:
            return [Failure(error) for _ in jobs]

    def _free_if_possible(self) -> None:
        """Free memory; an error is logged, and the jobs are tried in the memory that there is."""
        try:
            self._free()
        except Exception:
            log.exception("memory of the device could not be freed")

    def _is_wanted(self, job: _Waiting) -> bool:
        """Return whether the job is to run now; a job whose caller has gone ends here."""
        try:
            check_wanted(job.cancel, job.deadline, clock=self._clock)
        except QupathSamError as unwanted:
            _fail(job, unwanted)
            return False
        return job.claim()

    def _has_begun(self, job: _Waiting) -> bool:
        """Report that the first turn begins, and return whether the job can run; an error of the report is its own."""
        if job.first_turn is not None:
            return True
        job.first_turn = self._clock()
        if job.began is None:
            return True
        try:
            job.began()
        except BaseException as error:
            job.future.set_exception(error)
            return False
        return True


def _company(first: _Waiting, others: Sequence[_Waiting]) -> list[_Waiting]:
    """Return which of the others share the turn of ``first``: as urgent, of its key, as many as the model gains by."""
    key, room = first.job.key, first.job.most_items - first.job.items
    company: list[_Waiting] = []
    if key is None:
        return company
    for other in others:
        fits = other.job.items <= room and other.urgency.priority is first.urgency.priority
        if fits and other.job.key == key:
            company.append(other)
            room -= other.job.items
    return company


def _fail(job: _Waiting, reason: QupathSamError) -> None:
    """Deliver ``reason``, unless the future's holder has cancelled it already."""
    if job.claim():
        job.future.set_exception(reason)


def _expired() -> DeadlineExceeded:
    return DeadlineExceeded("the request ran out of time in the queue; repeat it with a later deadline")


def _ignoring_argument(function: Callable[[], None]) -> Callable[[object], None]:
    return lambda _: function()
