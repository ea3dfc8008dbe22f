"""A server to be killed, started again and stopped while clicks come."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Server:
    """A real server that can be killed and started again on its port; ``options`` are those of ``serve``."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.options = options
        self.log = folder / "server.log"
        self.port = "0"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "qupath_sam", "serve", "--device", "cpu", "--port", self.port, *self.options]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        listening = next((line for line in self.process.stdout if line.startswith("listening on ")), None)
        assert listening is not None, f"the server ended:\n{self.log.read_text()}"
        self.port = listening.split()[2].rpartition(":")[2]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Answer nothing for the length of a ``with`` block."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
