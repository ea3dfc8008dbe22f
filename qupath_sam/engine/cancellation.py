"""Stop work whose caller has gone: a token, and a deadline on a monotonic clock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from qupath_sam.errors import Cancelled, DeadlineExceeded


class CancelToken:
    """Set once, from any thread, when the caller has gone; the work for that caller watches it.

    A gRPC handler connects it with ``context.add_callback(token.cancel)``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: dict[object, Callable[[], object]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` has been called."""
        return self._cancelled

    def cancel(self) -> None:
        """Set the token and run the callbacks, in the order in which they were added. Later calls do nothing.

        Should callbacks fail, the others still run, and the first error is raised at the end.
        """
        with self._lock:
            self._cancelled = True
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        failure: Exception | None = None
        for callback in callbacks:
            try:
                callback()
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def add_callback(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have ``callback`` called once on `cancel`, in the cancelling thread; at once if that has been.

        Returns:
            A function that takes the callback back. Call it when the work is done, or a token that lives for a
            whole session keeps everything that ever waited for it. A `cancel` already under way may still call.
        """
        handle = object()
        with self._lock:
            if not self._cancelled:
                self._callbacks[handle] = callback
                return lambda: self._remove(handle)
        callback()
        return lambda: None

    def _remove(self, handle: object) -> None:
        with self._lock:
            self._callbacks.pop(handle, None)


def check_wanted(
    cancel: CancelToken | None, deadline: float | None, *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Raise unless the caller still waits for the work. Cheap enough to be called between any two steps.

    Args:
        cancel: the caller's token.
        deadline: the second on ``clock`` by which the caller must have the answer.
        clock: seconds, never running backwards.

    Raises:
        Cancelled: the token is set.
        DeadlineExceeded: the deadline has passed.
    """
    if cancel is not None and cancel.cancelled:
        raise Cancelled("the request was cancelled before the work was done; send it again if it is still wanted")
    if deadline is not None and clock() >= deadline:
        raise DeadlineExceeded("the request ran out of time before the work was done; repeat it with a later deadline")


def seconds_left(deadline: float | None, *, clock: Callable[[], float] = time.monotonic) -> float | None:
    """Return what a lock, an event or a future takes as its timeout: seconds, at least 0; None means for ever."""
    if deadline is None or deadline == math.inf:
        return None
    return min(max(0.0, deadline - clock()), threading.TIMEOUT_MAX)


def pause(seconds: float, cancel: CancelToken, deadline: float | None) -> None:
    """Wait, but no longer than the caller does.

    Args:
        seconds: to wait, unless the token is set or the deadline passes before.
        cancel: the caller's token.
        deadline: on `time.monotonic`'s clock.

    Raises:
        Cancelled, DeadlineExceeded: as `check_wanted`.
    """
    left = seconds_left(deadline)
    gone = threading.Event()
    forget = cancel.add_callback(gone.set)
    try:
        gone.wait(seconds if left is None else min(seconds, left))
    finally:
        forget()
    check_wanted(cancel, deadline)
