"""How urgent work is, and work that becomes more urgent while it waits."""

from __future__ import annotations

import enum
import threading


class Priority(enum.IntEnum):
    """Which work runs first. Clients of one priority take turns; calls of one client run in their order."""

    #: Work on many images or objects without a person who waits: a project's run.
    BATCH = 0
    #: No person waits yet: embedding ahead of the first click.
    BACKGROUND = 1
    #: A person waits for the answer: a click, or the embedding that a click needs.
    INTERACTIVE = 2


class Urgency:
    """A priority that rises while the work waits, when a more urgent caller needs the same work.

    Without it a click on a window that is being prefetched would wait behind all other clicks.
    """

    def __init__(self, priority: Priority = Priority.INTERACTIVE) -> None:
        self._lock = threading.Lock()
        self._priority = priority

    @property
    def priority(self) -> Priority:
        """The highest priority asked for so far."""
        return self._priority

    def raise_to(self, priority: Priority) -> None:
        """Take over ``priority`` if it is higher."""
        with self._lock:
            self._priority = max(self._priority, priority)
