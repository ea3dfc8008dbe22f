"""The inference worker: one call at a time, in the right order, and no place lost. No test sleeps to synchronise."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from qupath_sam.engine.worker import CancelToken, InferenceWorker, Priority, Urgency
from qupath_sam.errors import Cancelled, DeadlineExceeded, OutOfMemory, ServerBusy, ServerUnavailable
from qupath_sam.models.fake import FakeSegmenter
from qupath_sam.models.jobs import EncodeJob, Interrupted, Job

PATIENCE = 30.0  # seconds until a test that hangs is a test that fails


class Clock:
    """Seconds that pass only on demand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Blocker:
    """Keeps a worker busy with one call until released, so that a test can fill the queue behind it."""

    def __init__(self, worker: InferenceWorker) -> None:
        self.started, self.release = threading.Event(), threading.Event()
        self.future: Future[bool] = worker.submit(self._block)
        assert self.started.wait(PATIENCE)

    def _block(self) -> bool:
        self.started.set()
        return self.release.wait(PATIENCE)


@pytest.fixture
def worker() -> Iterator[InferenceWorker]:
    with InferenceWorker(max_waiting=4) as worker:
        yield worker


@pytest.fixture
def blocker(worker: InferenceWorker) -> Iterator[Blocker]:
    blocker = Blocker(worker)
    yield blocker
    blocker.release.set()


def append_to(order: list[str], name: str) -> Callable[[], None]:
    return lambda: order.append(name)


def test_the_thread_starts_with_the_first_call_and_ends_with_close() -> None:
    before = threading.active_count()
    worker = InferenceWorker()
    assert threading.active_count() == before
    thread = worker.run(threading.current_thread)
    assert thread is not threading.current_thread()
    assert worker.run(threading.current_thread) is thread
    worker.close()
    assert not thread.is_alive()


def test_results_and_errors_travel_unchanged(worker: InferenceWorker) -> None:
    answer, error = object(), LookupError("the model's own")

    def fail() -> None:
        raise error

    assert worker.run(lambda: answer) is answer
    with pytest.raises(LookupError) as caught:
        worker.run(fail)
    assert caught.value is error
    assert worker.run(lambda: 7) == 7


def test_a_timeout_of_the_call_itself_is_not_taken_for_the_deadline(worker: InferenceWorker) -> None:
    error = TimeoutError("reading took too long")

    def fail() -> None:
        raise error

    with pytest.raises(TimeoutError) as caught:
        worker.run(fail, deadline=time.monotonic() + PATIENCE)
    assert caught.value is error


def test_never_two_calls_at_once() -> None:
    inside, seen, gate = threading.Lock(), list[bool](), threading.Barrier(8)

    def call() -> None:
        free = inside.acquire(blocking=False)
        seen.append(free)
        if free:
            inside.release()

    def client(worker: InferenceWorker) -> None:
        gate.wait()
        for _ in range(50):
            worker.run(call)

    with InferenceWorker() as worker:
        clients = [threading.Thread(target=client, args=(worker,)) for _ in range(8)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
    assert seen == [True] * 400


def test_clicks_go_before_background_calls_each_first_come_first_served(
    worker: InferenceWorker, blocker: Blocker
) -> None:
    order: list[str] = []
    plan = [("p1", Priority.BACKGROUND), ("c1", Priority.INTERACTIVE), ("p2", Priority.BACKGROUND)]
    plan.append(("c2", Priority.INTERACTIVE))
    futures = [worker.submit(append_to(order, name), priority=priority) for name, priority in plan]
    blocker.release.set()
    wait(futures, PATIENCE)
    assert order == ["c1", "c2", "p1", "p2"]


def test_a_prefetch_that_a_click_comes_to_need_goes_with_the_clicks(worker: InferenceWorker, blocker: Blocker) -> None:
    order: list[str] = []
    urgency = Urgency(Priority.BACKGROUND)
    futures = [
        worker.submit(append_to(order, "prefetch"), priority=urgency),
        worker.submit(append_to(order, "click")),
    ]
    urgency.raise_to(Priority.INTERACTIVE)
    urgency.raise_to(Priority.BACKGROUND)
    blocker.release.set()
    wait(futures, PATIENCE)
    assert order == ["prefetch", "click"]


def test_a_full_queue_refuses_and_the_next_free_place_is_taken(worker: InferenceWorker, blocker: Blocker) -> None:
    waiting = [worker.submit(lambda: None) for _ in range(4)]
    with pytest.raises(ServerBusy, match="try again"):
        worker.submit(lambda: None)
    waiting[2].cancel()
    assert worker.waiting == 3
    worker.submit(lambda: None)
    assert worker.waiting == 4


def test_a_click_takes_the_place_of_the_newest_prefetch(worker: InferenceWorker, blocker: Blocker) -> None:
    prefetches = [worker.submit(lambda: "prefetched", priority=Priority.BACKGROUND) for _ in range(4)]
    click = worker.submit(lambda: "clicked")
    with pytest.raises(ServerBusy):
        prefetches[3].result(PATIENCE)
    with pytest.raises(ServerBusy):
        worker.submit(lambda: None, priority=Priority.BACKGROUND)
    blocker.release.set()
    assert click.result(PATIENCE) == "clicked"
    assert [future.result(PATIENCE) for future in prefetches[:3]] == ["prefetched"] * 3


def test_cancelling_frees_the_place_at_once(worker: InferenceWorker, blocker: Blocker) -> None:
    called, token = list[str](), CancelToken()
    future = worker.submit(append_to(called, "cancelled"), cancel=token)
    token.cancel()
    assert worker.waiting == 0
    with pytest.raises(Cancelled):
        future.result(0)
    blocker.release.set()
    worker.run(append_to(called, "after"))
    assert called == ["after"]


def test_a_blocked_caller_is_released_by_its_token(worker: InferenceWorker, blocker: Blocker) -> None:
    token, errors = CancelToken(), list[BaseException]()

    def client() -> None:
        try:
            worker.run(lambda: None, cancel=token)
        except Cancelled as error:
            errors.append(error)

    thread = threading.Thread(target=client)
    thread.start()
    token.cancel()  # before or after it is queued: both must release
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(errors) == 1
    assert worker.waiting == 0


def test_what_is_cancelled_or_late_already_takes_no_place(worker: InferenceWorker, blocker: Blocker) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        worker.run(lambda: None, cancel=token)
    with pytest.raises(DeadlineExceeded):
        worker.run(lambda: None, deadline=time.monotonic() - 1)
    assert worker.waiting == 0


def test_a_call_that_has_started_runs_to_its_end_for_a_caller_that_has_gone(worker: InferenceWorker) -> None:
    token = CancelToken()

    def call() -> str:
        token.cancel()
        return "embedding"

    assert worker.run(call, cancel=token) == "embedding"


def test_the_deadline_ends_the_wait_for_a_turn(worker: InferenceWorker, blocker: Blocker) -> None:
    with pytest.raises(DeadlineExceeded, match="later deadline"):
        worker.run(lambda: None, deadline=time.monotonic() + 0.02)
    assert worker.waiting == 0
    assert not blocker.future.done()


def test_a_late_call_is_dropped_when_its_turn_or_its_place_comes_up() -> None:
    clock, called = Clock(), list[str]()
    with InferenceWorker(max_waiting=2, clock=clock) as worker:
        blocker = Blocker(worker)
        late = [worker.submit(append_to(called, "late"), deadline=5.0) for _ in range(2)]
        clock.now = 5.0
        timely = worker.submit(append_to(called, "timely"), deadline=9.0)
        assert worker.waiting == 1
        stale = worker.submit(append_to(called, "stale"), deadline=6.0)
        clock.now = 7.0
        blocker.release.set()
        wait([*late, timely, stale], PATIENCE)
    assert called == ["timely"]
    assert [type(future.exception()) for future in (*late, stale)] == [DeadlineExceeded] * 3


class Pixels:
    """What a call holds on to; ``released`` is set when nobody does any more."""

    def __init__(self) -> None:
        self.released = threading.Event()
        weakref.finalize(self, self.released.set)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What a reference cycle keeps, stays: nobody can say when the collector will run."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_an_idle_worker_and_a_living_token_hold_nothing(worker: InferenceWorker) -> None:
    token, pixels = CancelToken(), Pixels()
    released = pixels.released
    worker.run(partial(type, pixels), cancel=token)
    del pixels
    assert released.wait(5)


@pytest.mark.usefixtures("no_collector")
def test_a_failed_call_leaves_no_pixels_behind(worker: InferenceWorker) -> None:
    def fail(held: Pixels) -> None:
        raise ValueError("no room")

    pixels = Pixels()
    released = pixels.released
    with pytest.raises(ValueError, match="no room") as caught:
        worker.run(partial(fail, pixels))
    del pixels, caught
    assert released.wait(5)


def test_closing_fails_what_waits_and_refuses_what_comes() -> None:
    worker = InferenceWorker()
    blocker = Blocker(worker)
    waiting = worker.submit(lambda: None)
    # Closing waits for the running call, so it happens on a thread of its own.
    closing = threading.Thread(target=worker.close)
    closing.start()
    with pytest.raises(ServerUnavailable, match="shutting down"):
        waiting.result(PATIENCE)
    blocker.release.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert blocker.future.result(0) is True
    with pytest.raises(ServerUnavailable):
        worker.submit(lambda: None)
    worker.close()


def test_draining_runs_what_waits() -> None:
    worker, order = InferenceWorker(), list[str]()
    blocker = Blocker(worker)
    for name in ("first", "second"):
        worker.submit(append_to(order, name))
    blocker.release.set()
    worker.close(drain=True)
    assert order == ["first", "second"]


def test_waiting_for_the_worker_inside_a_call_is_refused_rather_than_deadlocked(worker: InferenceWorker) -> None:
    with pytest.raises(RuntimeError, match="must not wait"):
        worker.run(lambda: worker.run(lambda: None))


def test_a_queue_needs_a_place() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        InferenceWorker(max_waiting=0)


def test_clients_take_turns_within_a_priority():
    done: list[str] = []
    with InferenceWorker(max_waiting=20) as worker:
        blocker = Blocker(worker)
        jobs = [("greedy", n) for n in range(6)] + [("modest", n) for n in range(2)]
        futures = [worker.submit(partial(done.append, f"{name} {n}"), client=name) for name, n in jobs]
        blocker.release.set()
        wait(futures, timeout=PATIENCE)
    assert done[:4] == ["greedy 0", "modest 0", "greedy 1", "modest 1"]
    assert done[4:] == [f"greedy {n}" for n in range(2, 6)]


def test_a_batch_runs_while_nobody_waits_and_gives_way_to_everybody():
    done: list[str] = []
    with InferenceWorker(max_waiting=3) as worker:
        blocker = Blocker(worker)
        batch = [worker.submit(partial(done.append, "batch"), priority=Priority.BATCH) for _ in range(3)]
        ahead = worker.submit(partial(done.append, "ahead"), priority=Priority.BACKGROUND)
        click = worker.submit(partial(done.append, "click"))
        blocker.release.set()
        wait([ahead, click, batch[0]], timeout=PATIENCE)
        assert sum(isinstance(future.exception(PATIENCE), ServerBusy) for future in batch) == 2
    assert done == ["click", "ahead", "batch"]


def test_who_waits_is_seen_by_others_for_a_moment():
    clock = Clock()
    with InferenceWorker(clock=clock) as worker:
        worker.run(lambda: None, client="person")
        worker.run(lambda: None, client="program", priority=Priority.BATCH)
        assert worker.others_wait("program")
        assert not worker.others_wait("person")
        clock.now += 60
        assert not worker.others_wait("program")


@dataclass(frozen=True, eq=False)
class Sum(Job[int]):
    """A job that is answered with its number; ``calls`` gets the numbers that shared a call."""

    number: int
    calls: list[list[int]]
    most_items: int = 4  # type: ignore[misc]
    key: str = "sum"  # type: ignore[misc]

    def run_with(self, others: Sequence[Sum]) -> list[int]:
        numbers = [self.number, *(other.number for other in others)]
        self.calls.append(numbers)
        if 13 in numbers:
            raise LookupError("13")
        return numbers


def test_what_waits_and_fits_shares_a_turn() -> None:
    calls: list[list[int]] = []
    with InferenceWorker() as worker:
        blocker = Blocker(worker)
        futures = [worker.submit(Sum(n, calls), client=f"client {n}") for n in range(6)]
        blocker.release.set()
        assert [future.result(PATIENCE) for future in futures] == list(range(6))
        assert calls == [[0, 1, 2, 3], [4, 5]]
        assert worker.run(Sum(7, calls)) == 7
    assert calls[2:] == [[7]], "nobody waits for company"


def test_company_is_as_urgent_and_of_the_same_key() -> None:
    calls: list[list[int]] = []
    with InferenceWorker() as worker:
        blocker = Blocker(worker)
        futures = [
            worker.submit(Sum(1, calls), priority=Priority.BATCH),
            worker.submit(Sum(2, calls)),
            worker.submit(Sum(3, calls, key="another model")),
            worker.submit(Sum(4, calls)),
            worker.submit(Sum(5, calls, most_items=1)),
        ]
        blocker.release.set()
        wait(futures, PATIENCE)
    assert calls == [[2, 4, 5], [3], [1]]


def test_an_error_in_company_is_the_error_of_one() -> None:
    calls: list[list[int]] = []
    with InferenceWorker() as worker:
        blocker = Blocker(worker)
        futures = [worker.submit(Sum(n, calls)) for n in (1, 13, 2)]
        blocker.release.set()
        with pytest.raises(LookupError):
            futures[1].result(PATIENCE)
        assert [futures[place].result(PATIENCE) for place in (0, 2)] == [1, 2]


def test_a_cancelled_job_has_no_part_in_a_turn() -> None:
    calls: list[list[int]] = []
    tokens = [CancelToken() for _ in range(3)]
    with InferenceWorker() as worker:
        blocker = Blocker(worker)
        futures = [worker.submit(Sum(n, calls), cancel=token) for n, token in enumerate(tokens)]
        tokens[1].cancel()
        blocker.release.set()
        wait(futures, PATIENCE)
    assert calls == [[0, 2]]
    assert isinstance(futures[1].exception(), Cancelled)


def test_work_that_has_had_a_turn_goes_on_first_and_is_not_refused() -> None:
    done: list[str] = []
    with InferenceWorker(max_waiting=2) as worker:
        blocker = Blocker(worker)
        futures = [worker.submit(append_to(done, name)) for name in ("a", "b")]
        futures.append(worker.submit(append_to(done, "goes on"), continues=True))
        blocker.release.set()
        wait(futures, PATIENCE)
    assert done == ["goes on", "a", "b"]


def test_turns_and_items_are_counted() -> None:
    with InferenceWorker() as worker:
        blocker = Blocker(worker)
        fake = FakeSegmenter(windows_per_batch=8)
        futures = [worker.submit(EncodeJob(fake, np.zeros((4, 4, 3), np.uint8))) for _ in range(3)]
        blocker.release.set()
        wait(futures, PATIENCE)
        assert fake.embed_calls == 1
        counted = worker.turns.so_far()["encode"]
        assert (counted.turns, counted.items) == (1, 3)


class Long(Job[str]):
    """A job that goes on until it is interrupted or released."""

    def __init__(self) -> None:
        self.began, self.stopped, self.released = threading.Event(), threading.Event(), threading.Event()
        self.turns = 0

    def run_with(self, others: Sequence[Long]) -> list[str]:
        self.turns += 1
        self.began.set()
        deadline = time.monotonic() + PATIENCE
        while not self.released.is_set():
            assert time.monotonic() < deadline
            if self.stopped.wait(0.001):
                self.stopped.clear()
                raise Interrupted
        return ["answer", *("answer" for _ in others)]

    def interrupt(self) -> None:
        self.stopped.set()


class TestInterruption:
    """A person's job does not wait for the end of a long job that nobody waits for."""

    def test_the_job_runs_again_and_its_caller_notices_nothing(self, worker: InferenceWorker) -> None:
        long, begun = Long(), Counter[str]()
        future = worker.submit(long, priority=Priority.BATCH, began=lambda: begun.update(["long"]))
        assert long.began.wait(PATIENCE)
        assert worker.submit(lambda: "click").result(PATIENCE) == "click"
        assert not future.done()
        long.released.set()
        assert future.result(PATIENCE) == "answer"
        assert (long.turns, begun["long"]) == (2, 1)

    def test_a_person_interrupts_no_other_person_and_a_batch_nobody(self, worker: InferenceWorker) -> None:
        for running, coming in ((Priority.INTERACTIVE, Priority.INTERACTIVE), (Priority.BATCH, Priority.BACKGROUND)):
            long = Long()
            first = worker.submit(long, priority=running)
            assert long.began.wait(PATIENCE)
            second = worker.submit(lambda: "other", priority=coming)
            assert not long.stopped.is_set()
            long.released.set()
            assert first.result(PATIENCE) == "answer"
            assert second.result(PATIENCE) == "other"
            assert long.turns == 1

    def test_work_that_a_person_has_come_to_need_is_not_interrupted(self, worker: InferenceWorker) -> None:
        long, urgency = Long(), Urgency(Priority.BACKGROUND)
        first = worker.submit(long, priority=urgency)
        assert long.began.wait(PATIENCE)
        urgency.raise_to(Priority.INTERACTIVE)
        second = worker.submit(lambda: "click")
        assert not long.stopped.is_set()
        long.released.set()
        assert [first.result(PATIENCE), second.result(PATIENCE)] == ["answer", "click"]

    def test_clicks_without_end_do_not_stop_a_batch_for_ever(self) -> None:
        clock = Clock()
        with InferenceWorker(clock=clock) as worker:
            long = Long()
            batch = worker.submit(long, priority=Priority.BATCH)
            assert long.began.wait(PATIENCE)
            long.began.clear()
            assert worker.submit(lambda: "click").result(PATIENCE) == "click"
            assert long.began.wait(PATIENCE)
            clock.now += 60
            click = worker.submit(lambda: "click")
            assert not long.stopped.is_set()
            long.released.set()
            assert [batch.result(PATIENCE), click.result(PATIENCE)] == ["answer", "click"]

    def test_what_waits_again_can_be_cancelled(self, worker: InferenceWorker) -> None:
        long, cancel = Long(), CancelToken()
        future = worker.submit(long, priority=Priority.BATCH, cancel=cancel)
        assert long.began.wait(PATIENCE)

        def cancel_then_answer() -> str:
            cancel.cancel()
            return "click"

        assert worker.submit(cancel_then_answer).result(PATIENCE) == "click"
        assert isinstance(future.exception(PATIENCE), Cancelled)
        assert worker.waiting == 0

    def test_no_batch_begins_between_two_jobs_of_a_click(self) -> None:
        done: list[str] = []
        with InferenceWorker(clock=Clock()) as worker:
            with worker.series():
                batch_is_there = threading.Event()

                def decode() -> None:
                    assert batch_is_there.wait(PATIENCE)
                    done.append("decoder")

                first = worker.submit(decode)
                batch = worker.submit(partial(done.append, "batch"), priority=Priority.BATCH)
                batch_is_there.set()
                first.result(PATIENCE)
                worker.run(partial(done.append, "head"))
            batch.result(PATIENCE)
        assert done == ["decoder", "head", "batch"]

    def test_a_click_that_has_no_more_jobs_delays_a_batch_by_little(self, worker: InferenceWorker) -> None:
        with worker.series():
            worker.run(lambda: "decoder")
            assert worker.submit(lambda: "batch", priority=Priority.BATCH).result(PATIENCE) == "batch"


class TestErrorsBesideTheCall:
    """What runs on the worker's thread beside the call may fail; the thread goes on."""

    def test_a_began_that_raises_fails_its_own_call_only(self, worker: InferenceWorker) -> None:
        def began() -> None:
            raise ValueError("no clock")

        with pytest.raises(ValueError, match="no clock"):
            worker.submit(lambda: 1, began=began).result(PATIENCE)
        assert worker.submit(lambda: 2).result(PATIENCE) == 2

    def test_a_free_that_raises_is_logged_and_the_call_fails_for_want_of_memory(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def free() -> None:
            raise RuntimeError("the driver is gone")

        def call() -> None:
            raise OutOfMemory("no room; ask for fewer")

        with InferenceWorker(free=free) as worker:
            with pytest.raises(OutOfMemory):
                worker.submit(call).result(PATIENCE)
            assert worker.submit(lambda: 2).result(PATIENCE) == 2
        assert "the driver is gone" in caplog.text

    @pytest.mark.parametrize("fault", ["answers", "halves"])
    def test_a_job_that_breaks_its_contract_fails_and_the_next_call_is_answered(
        self, fault: str, worker: InferenceWorker
    ) -> None:
        with pytest.raises(RuntimeError, match=fault):
            worker.submit(Broken(fault)).result(PATIENCE)
        assert worker.submit(lambda: 2).result(PATIENCE) == 2


@dataclass(frozen=True, eq=False)
class Broken(Job[int]):
    """Gives no answers, or cannot be halved."""

    fault: str

    def run_with(self, others: Sequence[Job[int]]) -> list[int]:
        if self.fault == "halves":
            raise OutOfMemory("no room; ask for fewer")
        return []

    def halves(self) -> None:
        raise RuntimeError("no halves")
