"""Read the next window while the model encodes this one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qupath_sam.slides.base import SlideReader
from qupath_sam.types.regions import Window


class ReadAhead:
    """Reads windows in their order, one ahead, on a thread that starts with the second. Use as a context manager.

    Args:
        slide: may be read from several threads.
        windows: that will be read, in this order; others can be read too.
    """

    def __init__(self, slide: SlideReader, windows: Sequence[Window] = ()) -> None:
        self._slide = slide
        self._next = dict(pairwise(windows))
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: dict[Window, Future[NDArray[np.uint8]]] = {}

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return the pixels of a window, and begin to read the one after it; see `SlideReader.read`."""
        begun = self._ahead.pop(window, None)
        pixels = self._slide.read(window) if begun is None else begun.result()
        following = self._next.get(window)
        if following is not None and following not in self._ahead:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="qupath-sam-read")
            self._ahead[following] = self._pool.submit(self._slide.read, following)
        return pixels

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The reader goes back to its cache: nothing may read from it any more.
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._ahead.clear()
