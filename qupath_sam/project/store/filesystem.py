"""The few filesystem operations that change anything: one seam, so that a test can stop the world between any two."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


class Filesystem:
    """Durable operations on files; each one either has happened on disk when it returns, or raises `OSError`."""

    def make_folder(self, folder: Path) -> None:
        """Create ``folder`` and its parents where they are missing."""
        folder.mkdir(parents=True, exist_ok=True)

    def write_new(self, path: Path, data: bytes) -> None:
        """Write a file that must not exist yet, and fsync it."""
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def append(self, path: Path, data: bytes) -> None:
        """Append to a file (created where missing), and fsync it."""
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def copy_new(self, source: Path, target: Path) -> None:
        """Copy a file's contents to a path that must not exist yet, and fsync the copy."""
        with source.open("rb") as original, target.open("xb") as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())

    def sync(self, path: Path) -> None:
        """Fsync a file that another process has written."""
        with path.open("r+b") as file:
            os.fsync(file.fileno())

    def replace(self, source: Path, target: Path) -> None:
        """Move ``source`` over ``target`` atomically, and make the change of the folder durable."""
        os.replace(source, target)
        self.sync_folder(target.parent)

    def remove(self, path: Path) -> None:
        """Delete a file if it is there."""
        path.unlink(missing_ok=True)
        self.sync_folder(path.parent)

    def remove_tree(self, folder: Path) -> None:
        """Delete a folder and everything in it."""
        shutil.rmtree(folder)

    def sync_folder(self, folder: Path) -> None:
        """Make renames in ``folder`` durable, where the system can (Windows journals them by itself)."""
        if not hasattr(os, "O_DIRECTORY"):
            return
        with contextlib.suppress(OSError):  # network filesystems may refuse to fsync a folder
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def write_atomically(self, path: Path, data: bytes) -> None:
        """Give ``path`` new contents; a crash leaves the old or the new ones, and at most a temporary file beside."""
        temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
        self.remove(temporary)
        self.write_new(temporary, data)
        self.replace(temporary, path)


#: Ends the name of every temporary file this package writes into a project; leftovers of a crash are known by it.
TEMPORARY_SUFFIX = ".qupath-sam.tmp"
