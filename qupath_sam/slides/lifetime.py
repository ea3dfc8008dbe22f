"""Closing a file that other threads may be reading."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qupath_sam.errors import SlideUnreadable


class Lifetime:
    """Lets reads in until `close`, and releases what they read from when the last one has left."""

    def __init__(self, name: str, release: Callable[[], None]) -> None:
        self._name = name
        self._release = release
        self._lock = threading.Lock()
        self._readers = 0
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the file open for one read.

        Raises:
            SlideUnreadable: it was closed before.
        """
        with self._lock:
            if self._closed:
                raise SlideUnreadable(f"{self._name} was closed; open it again")
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                last = self._closed and self._readers == 0
            if last:
                self._release()

    def close(self) -> None:
        """Let no more reads in. Does not wait for those under way; the last of them releases the file."""
        with self._lock:
            idle = not self._closed and self._readers == 0
            self._closed = True
        if idle:
            self._release()
