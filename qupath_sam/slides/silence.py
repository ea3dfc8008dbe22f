"""Warnings of libraries, kept quiet while files are opened, by any number of threads at once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _Silence:
    """Filters are the process's: the first that comes in swaps them, and the last that leaves puts them back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)


_silence = _Silence()


@contextmanager
def warnings_silenced() -> Iterator[None]:
    """Show and raise no warning inside of the block.

    Two threads that use `warnings.catch_warnings` put back each other's filters, unless one waits for the other's file.
    No thread waits here: the lock is held for the swap alone.
    """
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()
