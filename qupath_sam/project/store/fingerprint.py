"""Identity of a file's contents, which shows whether the file has changed since it was read."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Identity of a file's contents.

    Attributes:
        size: bytes.
        mtime_ns: when it was last written; shown to people, not compared: a copy of a project is the same project.
        sha256: hex.
    """

    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Fingerprint | None:
        """Return the fingerprint of the file at ``path``; None where there is none."""
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            status = path.stat()
        except FileNotFoundError:
            return None
        return cls(status.st_size, status.st_mtime_ns, digest.hexdigest())

    @classmethod
    def from_json(cls, value: dict[str, Any] | None) -> Fingerprint | None:
        """Invert `to_json`."""
        return None if value is None else cls(int(value["size"]), int(value["mtime_ns"]), str(value["sha256"]))

    def to_json(self) -> dict[str, Any]:
        """Return the fingerprint as plain values."""
        return asdict(self)


def same_contents(a: Fingerprint | None, b: Fingerprint | None) -> bool:
    """Return whether both are of the same contents, or both of no file at all."""
    if a is None or b is None:
        return a is b
    return a.size == b.size and a.sha256 == b.sha256
