"""Memory for what is decoded at this moment, shared by all who read: a file of some KB may decode to hundreds of MB."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from qupath_sam.errors import ServerBusy, SlideUnsupported
from qupath_sam.slides.base import SlideInfo, SlideReader
from qupath_sam.types.regions import Window

#: How long to wait for others to be done.
PATIENCE_S = 60.0


class DecodeMemory:
    """So many bytes may be decoded at once; who comes later waits. Safe to use from several threads.

    Args:
        max_bytes: of all together.
        patience_s: longest wait.
        clock: seconds.
    """

    def __init__(
        self, max_bytes: int, *, patience_s: float = PATIENCE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._patience_s = patience_s
        self._clock = clock
        self._changed = threading.Condition()
        self._taken = 0
        self.peak_bytes = 0

    @property
    def max_bytes(self) -> int:
        """The limit."""
        return self._max_bytes

    @property
    def taken_bytes(self) -> int:
        """Reserved now."""
        return self._taken

    def resize(self, max_bytes: int) -> None:
        """Change the limit; what is reserved stays so."""
        with self._changed:
            self._max_bytes = max_bytes
            self._changed.notify_all()

    @contextmanager
    def reserving(self, size_bytes: int) -> Iterator[None]:
        """Hold room for the length of a ``with`` block.

        Raises:
            SlideUnsupported: more than there is.
            ServerBusy: others needed it for too long.
        """
        deadline = self._clock() + self._patience_s
        with self._changed:
            while self._taken + size_bytes > self._max_bytes:
                check_fits(size_bytes, self._max_bytes, "decode")
                left = deadline - self._clock()
                if left <= 0 or not self._changed.wait(left):
                    raise ServerBusy("too much is decoded at once; try again in a moment, or ask for smaller regions")
            self._taken += size_bytes
            self.peak_bytes = max(self.peak_bytes, self._taken)
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size_bytes
                self._changed.notify_all()


def check_fits(size_bytes: int, max_bytes: int, verb: str) -> None:
    """Raise `SlideUnsupported` where an image alone needs more memory than there is to "decode" or "hold" it."""
    if size_bytes > max_bytes:
        raise SlideUnsupported(
            f"this image needs {-(-size_bytes >> 20)} MiB to {verb}, and the server has {max_bytes >> 20} MiB for "
            "that; convert it to a tiled pyramid, push a part of it, or give the server more --memory"
        )


class MeteredReader:
    """A reader whose reads take their memory from what all share."""

    def __init__(self, reader: SlideReader, memory: DecodeMemory) -> None:
        self._reader = reader
        self._memory = memory

    @property
    def info(self) -> SlideInfo:
        """See `qupath_sam.slides.base.SlideReader.info`."""
        return self._reader.info

    def read(self, window: Window) -> NDArray[np.uint8]:
        """See `qupath_sam.slides.base.SlideReader.read`."""
        # One piece of the file, as its decoder has it and as an array, and the window in level px (up to twice as fine
        # a side) and in its own.
        with self._memory.reserving(2 * self.info.piece_bytes + 5 * 3 * window.width * window.height):
            return self._reader.read(window)

    def close(self) -> None:
        """See `qupath_sam.slides.base.SlideReader.close`."""
        self._reader.close()
