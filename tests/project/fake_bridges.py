"""Stand-ins for QuPath's process: one that answers, one that hangs, one that dies, one that does not start."""

from __future__ import annotations

import os
import threading
from typing import Any

from qupath_sam.errors import ProjectError


def answers(pipe: Any, options: tuple[str, ...], show_log: bool) -> None:
    pipe.send(("ok", None))
    while True:
        method, _ = pipe.recv()
        if method == "qupath_version":
            pipe.send(("ok", f"{os.getpid()} {' '.join(options)}"))
        elif method == "verify":
            pipe.send(("error", ProjectError("two objects are missing")))
        elif method == "pixels":
            threading.Event().wait()
        else:
            os._exit(3)


def refuses(pipe: Any, options: tuple[str, ...], show_log: bool) -> None:
    pipe.send(("error", ProjectError("QuPath cannot be started")))


def never_starts(pipe: Any, options: tuple[str, ...], show_log: bool) -> None:
    threading.Event().wait()
