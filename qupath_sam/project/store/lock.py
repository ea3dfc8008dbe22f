"""One writer a project: a lock file with host, process, heartbeat. It binds our own writers; QuPath knows no lock.

The `filelock` library does not replace it: projects lie on network folders, where locks of the operating system may
hold on one machine alone; and a second run must be able to say who writes, and when a dead machine's lock counts no
more.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

from qupath_sam.errors import ProjectError

LOCK_NAME = ".qupath-sam.lock"

#: The holder touches the file this often.
HEARTBEAT_S = 30.0

#: A lock of another machine that was not touched for this long counts as left behind. Far above any clock skew.
STALE_AFTER_S = 900.0


class ProjectLock:
    """The right to write to a project; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        self._token = uuid.uuid4().hex
        self._released = threading.Event()

    def __enter__(self) -> ProjectLock:
        """Take the lock, over a dead holder's if need be.

        Raises:
            ProjectError: another process holds it.
        """
        for _ in range(3):
            if self._create():
                threading.Thread(target=self._beat, name="qupath-sam-lock", daemon=True).start()
                return self
            self._take_away_if_stale()
        raise ProjectError(f"another qupath-sam keeps taking {self._path}; wait for it to finish")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._released.set()
        if self._holder(self._path).get("token") == self._token:
            self._path.unlink(missing_ok=True)

    @classmethod
    def held_by(cls, folder: Path) -> str:
        """Return who writes to the project in ``folder``, such as "process 7 on gpu1"; empty where no process does."""
        path = folder / LOCK_NAME
        try:
            age_s = time.time() - path.stat().st_mtime
        except OSError:
            return ""
        holder = cls._holder(path)
        return "" if cls._is_stale(holder, age_s) else f"process {holder.get('pid')} on {holder.get('host')}"

    def check(self) -> None:
        """Raise `ProjectError` unless the lock is still ours (a machine may have slept for hours)."""
        if self._holder(self._path).get("token") != self._token:
            raise ProjectError(f"another process has taken {self._path} over; nothing more is written by this one")

    def _create(self) -> bool:
        holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": psutil.Process().create_time(),
            "token": self._token,
        }
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        except OSError as error:
            raise ProjectError(f"cannot write to the project ({error}); make {self._path.parent} writable") from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(holder, file)
        return True

    def _take_away_if_stale(self) -> None:
        holder = self._holder(self._path)
        try:
            age_s = time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return
        if not self._is_stale(holder, age_s):
            raise ProjectError(
                f"the project is being written by process {holder.get('pid')} on {holder.get('host')} "
                f"(heartbeat {max(age_s, 0):.0f} s ago); wait for it, or delete {self._path} if it is gone"
            )
        aside = self._path.with_name(f"{LOCK_NAME}.{self._token}")
        with suppress(FileNotFoundError):
            os.replace(self._path, aside)
            if self._holder(aside) != holder:  # another process was quicker, and this is its lock
                with suppress(OSError):
                    os.link(aside, self._path)
            aside.unlink(missing_ok=True)

    @staticmethod
    def _is_stale(holder: dict[str, object], age_s: float) -> bool:
        if holder.get("host") != socket.gethostname():
            return age_s > STALE_AFTER_S
        pid, started = holder.get("pid"), holder.get("process_started")
        if not isinstance(pid, int) or not isinstance(started, int | float):
            return age_s > HEARTBEAT_S  # died between creating and writing it
        try:
            return abs(psutil.Process(pid).create_time() - started) > 2
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False

    @staticmethod
    def _holder(path: Path) -> dict[str, object]:
        try:
            holder = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return holder if isinstance(holder, dict) else {}

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            with suppress(OSError):
                os.utime(self._path)
