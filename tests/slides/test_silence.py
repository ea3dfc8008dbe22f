"""Warnings while files are opened: quiet for all, and back as they were afterwards."""

from __future__ import annotations

import threading
import warnings

from qupath_sam.slides.silence import warnings_silenced


def test_nobody_waits_and_the_filters_come_back() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def slow() -> None:
        with warnings_silenced():
            inside.set()
            assert leave.wait(30)

    thread = threading.Thread(target=slow)
    thread.start()
    assert inside.wait(30)
    with warnings_silenced():  # though the other is not done
        warnings.warn("of a file", stacklevel=1)
    warnings.warn("the other is still inside", stacklevel=1)
    leave.set()
    thread.join(30)
    assert list(warnings.filters) == before
