"""QuPath in a process of its own: plain values over a pipe, a time limit for each, killed when it does not answer."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import psutil

from qupath_sam.errors import ProjectError, QupathSamError
from qupath_sam.project.layout import ImageEntry, check_saved
from qupath_sam.project.objects import Edit, ImageContents, Kind, Written


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How QuPath's process is run.

    Attributes:
        heap: largest Java heap, as Java's -Xmx takes it.
        start_limit_s: how long the JVM may take to start.
        call_limit_s: how long one image may take to be read, or to be written and verified.
        show_log: QuPath's log goes to stderr instead of nowhere.
    """

    heap: str = "2g"
    start_limit_s: float = 120.0
    call_limit_s: float = 900.0
    show_log: bool = False


class QuPathWorker:
    """Calls `qupath_sam.project.jvm.bridge.Bridge` in a spawned process, one call at a time, from any thread.

    The process is started by the first call and again after it had to be killed. A context manager.

    Raises (every call):
        ProjectError: QuPath is not there, refused, crashed or did not answer in time.
    """

    def __init__(self, options: WorkerOptions | None = None, *, serve: Callable[..., None] | None = None) -> None:
        self._options = options or WorkerOptions()
        self._serve = serve or _serve
        self._one_at_a_time = threading.Lock()
        self._process: BaseProcess | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._preferences = TemporaryDirectory(prefix="qupath-sam-preferences-")
        self._peak_rss = 0

    def __enter__(self) -> QuPathWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback_: TracebackType | None
    ) -> None:
        self.close()

    def qupath_version(self) -> str:
        """Return the version of the QuPath in use."""
        return str(self._call("qupath_version", limit_s=self._options.start_limit_s))

    def read(self, image: ImageEntry, kinds: tuple[Kind, ...] = (Kind.ANNOTATION,)) -> ImageContents:
        """Read the objects of an image; see `Bridge.read`.

        Raises:
            ProjectError: QuPath was interrupted while saving the image, or its data is gone.
        """
        check_saved(image)
        contents = self._call("read", image, kinds)
        assert isinstance(contents, ImageContents)
        return contents

    def write(self, image: ImageEntry, edit: Edit, path: str) -> Written:
        """Save an edited image to ``path``; see `Bridge.write`."""
        written = self._call("write", image, edit, path)
        assert isinstance(written, Written)
        return written

    def verify(self, image: ImageEntry, path: str) -> None:
        """Compare what the last `write` has saved; see `Bridge.verify`."""
        self._call("verify", image, path)

    def pixels(
        self, image: ImageEntry, region: tuple[int, int, int, int], downsample: float, *, z: int = 0, t: int = 0
    ) -> tuple[int, int, bytes]:
        """Return the RGB of a region as QuPath renders it; see `Bridge.pixels`."""
        width, height, data = self._call("pixels", image, region, downsample, z, t)
        return int(width), int(height), bytes(data)

    @property
    def peak_rss_bytes(self) -> int:
        """Most memory that the process was seen to use."""
        return self._peak_rss

    def close(self) -> None:
        """End the process."""
        with self._one_at_a_time:
            self._end()
        self._preferences.cleanup()

    def _call(self, method: str, *arguments: Any, limit_s: float | None = None) -> Any:
        limit_s = self._options.call_limit_s if limit_s is None else limit_s
        with self._one_at_a_time:
            if self._process is None or not self._process.is_alive():
                self._start()
            answer = self._ask((method, arguments), limit_s)
        outcome, value = answer
        if outcome == "error":
            raise value
        return value

    def _start(self) -> None:
        self._end()
        context = multiprocessing.get_context("spawn")  # a JVM does not survive a fork
        ours, theirs = context.Pipe()
        options = (
            f"-Xmx{self._options.heap}",
            "-Djava.awt.headless=true",
            f"-Djava.util.prefs.userRoot={self._preferences.name}",
            "--enable-native-access=ALL-UNNAMED",
        )
        process = context.Process(
            target=self._serve, args=(theirs, options, self._options.show_log), name="qupath-sam QuPath", daemon=True
        )
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours
        outcome, value = self._receive(self._options.start_limit_s, "start")
        if outcome == "error":
            self._end()
            raise value

    def _ask(self, request: tuple[str, tuple[Any, ...]], limit_s: float) -> tuple[str, Any]:
        assert self._pipe is not None
        try:
            self._pipe.send(request)
        except OSError as error:
            self._end()
            raise ProjectError("QuPath's process has ended; run again") from error
        return self._receive(limit_s, request[0])

    def _receive(self, limit_s: float, doing: str) -> tuple[str, Any]:
        assert self._pipe is not None
        try:
            if not self._pipe.poll(limit_s):
                self._end()
                raise ProjectError(
                    f"QuPath did not answer within {limit_s:g} s ({doing}) and was stopped; give it --time-limit"
                )
            outcome, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._end()
            raise ProjectError(f"QuPath's process died ({doing}); give it more memory with --heap") from error
        self._note_memory()
        return outcome, value

    def _note_memory(self) -> None:
        if self._process is not None and self._process.pid is not None:
            with contextlib.suppress(psutil.Error):
                self._peak_rss = max(self._peak_rss, psutil.Process(self._process.pid).memory_info().rss)

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()  # a JVM with work to do ignores anything gentler
            self._process.join()
        self._process = self._pipe = None


def _serve(pipe: Connection[Any, Any], java_options: tuple[str, ...], show_log: bool) -> None:  # noqa: FBT001
    """Answer requests until the pipe closes: the main function of the process."""
    _quiet(show_log=show_log)
    try:
        from qupath_sam.project.jvm.bridge import Bridge

        bridge = Bridge(java_options)
    except Exception as error:
        pipe.send(("error", _portable(error)))
        return
    pipe.send(("ok", None))
    while True:
        try:
            method, arguments = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)  # waiting for Java's own threads would take for ever
        try:
            member = getattr(bridge, method)
            answer = ("ok", member(*arguments) if callable(member) else member)
        except Exception as error:
            answer = ("error", _portable(error))
        try:
            pipe.send(answer)
        except OSError:
            os._exit(0)


def _quiet(*, show_log: bool) -> None:
    """Ignore Ctrl-C, which is for the parent, and what Java prints, at times without end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.flush()
    if show_log:
        os.dup2(2, 1)
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _portable(error: Exception) -> QupathSamError:
    """Return an error that can be pickled: ours as it is, Java's and others as a `ProjectError` with their text."""
    if isinstance(error, QupathSamError):
        return error
    last = traceback.format_exception_only(error)[-1].strip()
    return ProjectError(f"QuPath failed: {last}")
