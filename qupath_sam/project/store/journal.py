"""An append-only file of what was done: one JSON object a line, each on disk before the next step is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qupath_sam.project.store.filesystem import Filesystem


class Journal:
    """Events in order. A line that a crash cut short is as if it had never been written."""

    def __init__(self, path: Path, filesystem: Filesystem) -> None:
        self._path = path
        self._filesystem = filesystem

    def append(self, event: str, **values: Any) -> None:
        """Add an event; it is on disk when this returns."""
        line = json.dumps({"event": event, "utc": datetime.now(UTC).isoformat(timespec="seconds"), **values})
        # The newline comes first as well: after a torn line the next event starts on a line of its own.
        self._filesystem.append(self._path, b"\n" + line.encode() + b"\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        for line in lines:
            if line.strip():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict) and "event" in record:
                    yield record
