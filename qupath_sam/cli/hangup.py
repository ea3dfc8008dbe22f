"""SIGHUP asks a server to read its configuration again. Without a handler it ends the process."""

from __future__ import annotations

import signal
import threading


def hangup_event() -> threading.Event:
    """Return an event that SIGHUP sets from now on; on Windows, which has no SIGHUP, nothing does."""
    event = threading.Event()
    if hasattr(signal, "SIGHUP"):
        signal.signal(getattr(signal, "SIGHUP"), lambda *_: event.set())  # noqa: B009 - Windows lacks it
    return event
