"""SHA-256 of weights files, computed once: remembered while path, size and modification time stay the same."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from qupath_sam.models.weights.jsonfile import read_json, write_json


def file_sha256(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class DigestCache:
    """Digests of files by path, size and modification time, kept in a JSON file.

    Args:
        file: where they are kept. Where it cannot be read or written, digests are computed again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def sha256(self, path: Path) -> str:
        """Return the hex digest of ``path``."""
        key, stat = str(path.resolve()), path.stat()
        state = [stat.st_size, stat.st_mtime_ns]
        match self._read().get(key):
            case {"state": remembered, "sha256": str(digest)} if remembered == state:
                return digest
        return self.recomputed(path)

    def recomputed(self, path: Path) -> str:
        """Return the hex digest of what ``path`` holds now, also where another digest is remembered."""
        stat = path.stat()
        digest = file_sha256(path)
        entry = {"state": [stat.st_size, stat.st_mtime_ns], "sha256": digest}
        # A cache: a folder that may not be written costs time only.
        with contextlib.suppress(OSError):
            write_json(self._file, {**self._read(), str(path.resolve()): entry})
        return digest

    def _read(self) -> dict[str, object]:
        try:
            return read_json(self._file)
        except (OSError, ValueError):
            return {}
