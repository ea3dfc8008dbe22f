"""A filesystem that dies at its n-th step: between any two operations, and in the middle of a write."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from qupath_sam.project.store.filesystem import Filesystem


class DyingFilesystem(Filesystem):
    """Calls ``die`` at step ``die_at``; bytes that were not yet fsynced are then cut at a random length.

    Attributes:
        steps: how many steps have been taken.
    """

    def __init__(self, die_at: int, die: Callable[[], None], seed: int = 0) -> None:
        self.steps = 0
        self._die_at = die_at
        self._die = die
        self._random = random.Random(seed)
        self._unsynced: dict[Path, int] = {}

    def step(self) -> None:
        """One moment at which the world may end."""
        self.steps += 1
        if self.steps >= self._die_at:
            for path, safe in self._unsynced.items():
                if path.exists():
                    os.truncate(path, self._random.randint(safe, path.stat().st_size))
            self._die()

    def make_folder(self, folder: Path) -> None:
        self.step()
        super().make_folder(folder)

    def write_new(self, path: Path, data: bytes) -> None:
        self.step()
        with path.open("xb") as file:
            self._write(file, path, data, safe=0)

    def append(self, path: Path, data: bytes) -> None:
        self.step()
        safe = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            self._write(file, path, data, safe=safe)

    def copy_new(self, source: Path, target: Path) -> None:
        self.write_new(target, source.read_bytes())

    def write_unsynced(self, path: Path, data: bytes) -> None:
        """What another program does: write and leave it to the system when it reaches the disk."""
        self.step()
        path.write_bytes(data)
        self._unsynced[path] = 0
        self.step()

    def sync(self, path: Path) -> None:
        self.step()
        self._unsynced.pop(path, None)

    def replace(self, source: Path, target: Path) -> None:
        self.step()
        os.replace(source, target)
        if source in self._unsynced:
            self._unsynced[target] = self._unsynced.pop(source)
        self.step()

    def remove(self, path: Path) -> None:
        self.step()
        path.unlink(missing_ok=True)
        self._unsynced.pop(path, None)

    def remove_tree(self, folder: Path) -> None:
        self.step()
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.step()
                file.unlink()
        super().remove_tree(folder)

    def sync_folder(self, folder: Path) -> None:
        self.step()

    def _write(self, file: object, path: Path, data: bytes, safe: int) -> None:
        self._unsynced[path] = safe
        half = self._random.randint(0, len(data))
        file.write(data[:half])  # type: ignore[attr-defined]
        file.flush()  # type: ignore[attr-defined]
        self.step()
        file.write(data[half:])  # type: ignore[attr-defined]
        file.flush()  # type: ignore[attr-defined]
        self.step()
        self._unsynced.pop(path)
