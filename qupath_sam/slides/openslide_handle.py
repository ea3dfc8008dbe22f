"""An open OpenSlide that survives a broken tile: after an error OpenSlide refuses everything, so it is opened again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Handle:
    """One open slide and how many are reading with it."""

    def __init__(self, slide: Any) -> None:
        self.slide = slide
        self.users = 0
        self.retired = False


class ReopeningSlide:
    """Reads regions with OpenSlide. Safe to call from several threads.

    OpenSlide latches an error: later and concurrent reads with the same handle fail too. A
    failed read is therefore repeated with a handle of its own. If it fails again, that place is broken, and only it;
    else the new handle takes the place of the old one for everybody.
    """

    def __init__(self, open_slide: Callable[[], Any], error: type[Exception]) -> None:
        """Open a slide; ``error`` is what OpenSlide raises."""
        self._open = open_slide
        self._error = error
        self._lock = threading.Lock()
        self._current = _Handle(open_slide())

    @property
    def slide(self) -> Any:
        """The handle of the moment, for what is known since opening (properties, levels)."""
        return self._current.slide

    def read_region(self, place: tuple[int, int], level: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Read as ``OpenSlide.read_region`` does: uint8 ``(height, width, 4)`` RGBA; raise OpenSlide's error."""
        with self._reading() as handle:
            try:
                return np.asarray(handle.slide.read_region(place, level, size))
            except self._error:
                return self._read_alone(handle, place, level, size)

    def close(self) -> None:
        """Close it. No read may be under way, or follow."""
        self._current.slide.close()

    @contextmanager
    def _reading(self) -> Iterator[_Handle]:
        with self._lock:
            handle = self._current
            handle.users += 1
        try:
            yield handle
        finally:
            with self._lock:
                handle.users -= 1
                last = handle.retired and handle.users == 0
            if last:
                handle.slide.close()

    def _read_alone(
        self, failed: _Handle, place: tuple[int, int], level: int, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        slide = self._open()
        try:
            pixels = np.asarray(slide.read_region(place, level, size))
        except self._error:
            slide.close()
            # The next reader is not to pay for this place.
            self._replace(failed, self._open())
            raise
        self._replace(failed, slide)
        return pixels

    def _replace(self, failed: _Handle, slide: Any) -> None:
        """Put a fresh slide where the failed one is, unless another thread has done so."""
        with self._lock:
            needed = self._current is failed
            if needed:
                failed.retired = True
                self._current = _Handle(slide)
        if not needed:
            slide.close()
