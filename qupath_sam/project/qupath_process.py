"""Whether QuPath runs on this machine: it knows no lock, and a window that shows old data writes it back."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

# "QuPath", "QuPath-0.7.0.exe", "QuPath-0.7.0 (console).exe"; not "qupath-sam".
_PROGRAM = re.compile(r"qupath(?!.?sam)([ _.-].*)?", re.IGNORECASE)
_MAYBE = re.compile(r"qupath|java", re.IGNORECASE)
_MAIN_CLASS = re.compile(r"(?:[\w.]+/)?qupath\.(?:lib\.gui\.)?(?:QuPath|QuPathApp|QuPathGUI)")


@dataclass(frozen=True, slots=True)
class QuPathProcess:
    """A QuPath that runs.

    Attributes:
        pid: of the process.
        opened: what its command line names; a project that was opened in the window is not seen.
    """

    pid: int
    opened: tuple[str, ...]

    def has_opened(self, project_file: Path) -> bool:
        """Return whether its command line names this project or its folder."""
        return any(_same_place(text, project_file) for text in self.opened)


def running_qupath() -> list[QuPathProcess]:
    """Return the visible QuPath processes of this machine; those in containers are not visible."""
    found = []
    for process in psutil.process_iter(["pid", "name"]):
        name = process.info["name"] or ""
        if not _MAYBE.match(name):  # command lines are slow to get on Windows
            continue
        with suppress(psutil.Error):
            command = process.cmdline()
            if is_qupath(name, command):
                found.append(QuPathProcess(process.info["pid"], tuple(command[1:])))
    return found


def is_qupath(name: str, command: Sequence[str]) -> bool:
    """Return whether a process is QuPath, by its name and command line: its launcher, or Java with its main class."""
    program = Path(command[0].replace("\\", "/")).name if command else ""
    if any(_PROGRAM.fullmatch(text) for text in (name, program)):
        return True
    return any(_MAIN_CLASS.fullmatch(argument) for argument in command[1:])


def _same_place(text: str, project_file: Path) -> bool:
    path = text.removeprefix("--project=").removeprefix("-p=")
    try:
        return os.path.samefile(path, project_file) or os.path.samefile(path, project_file.parent)
    except (OSError, ValueError):
        return False
