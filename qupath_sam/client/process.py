"""A server as a child process, for the demo, examples and tests.

No signals and no process groups, so that it is the same on Windows.
"""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from qupath_sam.errors import ServerUnavailable

_ANNOUNCEMENT = re.compile(r"^listening on (\S+)")
#: Seconds that a server gets to end by itself before it is killed.
_GRACE_S = 10.0
#: Characters of a failed server's log that the error repeats.
_LOG_TAIL = 2000


@contextmanager
def server_process(arguments: Sequence[str] = (), *, timeout_s: float = 300.0) -> Iterator[str]:
    """Run ``qupath-sam serve`` on a free port of this machine for the length of a ``with`` block.

    Args:
        arguments: more options of ``serve``, such as ``["--model", "fake"]``.
        timeout_s: patience until it listens: loading torch and a model takes seconds, on a busy machine many.

    Yields:
        ``host:port`` to connect to.

    Raises:
        ServerUnavailable: it ended, or did not listen in time; the message has the end of its log.
    """
    command = [sys.executable, "-m", "qupath_sam", "serve", "--port", "0", *arguments]
    # The log goes into a file: a pipe without a reader fills up and stops the server.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
        )
        try:
            assert process.stdout is not None
            yield _announced_address(process.stdout, log, timeout_s)
        finally:
            _end(process)


def _announced_address(output: IO[str], log: IO[bytes], timeout_s: float) -> str:
    """Return the address in the server's announcement; what it prints later is read and dropped."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, name="qupath-sam-server-output", daemon=True).start()
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise ServerUnavailable(
                f"the server did not listen within {timeout_s:g} s; allow more, or see why:\n{_tail(log)}"
            ) from None
        if line is None:
            raise ServerUnavailable(f"the server ended before it listened; correct what its log says:\n{_tail(log)}")
        if found := _ANNOUNCEMENT.match(line):
            return found.group(1)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode("utf-8", errors="replace")[-_LOG_TAIL:].strip()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
