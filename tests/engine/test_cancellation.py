"""Tokens, deadlines, and what watches them."""

from __future__ import annotations

import math
import threading
import time

import pytest

from qupath_sam.engine.cancellation import CancelToken, check_wanted, pause, seconds_left
from qupath_sam.errors import Cancelled, DeadlineExceeded


def test_callbacks_run_once_in_order_and_only_while_wanted() -> None:
    token, called = CancelToken(), list[str]()
    token.add_callback(lambda: called.append("first"))
    take_back = token.add_callback(lambda: called.append("taken back"))
    token.add_callback(lambda: called.append("last"))
    take_back()
    assert not token.cancelled
    token.cancel()
    token.cancel()
    assert token.cancelled
    assert called == ["first", "last"]


def test_a_late_callback_runs_at_once() -> None:
    token, called = CancelToken(), list[str]()
    token.cancel()
    token.add_callback(lambda: called.append("late"))()
    assert called == ["late"]


def test_a_failing_callback_does_not_silence_the_others() -> None:
    token, called = CancelToken(), list[str]()

    def fail() -> None:
        raise RuntimeError("callback failed")

    token.add_callback(fail)
    token.add_callback(lambda: called.append("second"))
    with pytest.raises(RuntimeError, match="callback failed"):
        token.cancel()
    assert called == ["second"]


def test_many_threads_cancelling_run_a_callback_once() -> None:
    token, called, gate = CancelToken(), list[int](), threading.Barrier(8)
    token.add_callback(lambda: called.append(1))

    def cancel() -> None:
        gate.wait()
        token.cancel()

    threads = [threading.Thread(target=cancel) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert called == [1]


def test_wanted_work_passes_and_unwanted_work_is_told_why() -> None:
    token = CancelToken()
    check_wanted(None, None)
    check_wanted(token, 10.0, clock=lambda: 9.9)
    with pytest.raises(DeadlineExceeded, match="later deadline"):
        check_wanted(token, 10.0, clock=lambda: 10.0)
    token.cancel()
    with pytest.raises(Cancelled, match="send it again"):
        check_wanted(token, 10.0, clock=lambda: 10.0)


@pytest.mark.parametrize(
    ("deadline", "seconds"), [(None, None), (math.inf, None), (12.5, 2.5), (3.0, 0.0), (1e300, threading.TIMEOUT_MAX)]
)
def test_seconds_left_is_a_timeout_every_lock_takes(deadline: float | None, seconds: float | None) -> None:
    assert seconds_left(deadline, clock=lambda: 10.0) == seconds


def test_a_pause_ends_when_the_caller_goes() -> None:
    token = CancelToken()
    timer = threading.Timer(0.05, token.cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        pause(600, token, None)
    assert time.monotonic() - started < 300
    with pytest.raises(DeadlineExceeded):
        pause(600, CancelToken(), time.monotonic() + 0.05)
    pause(0.01, CancelToken(), None)
