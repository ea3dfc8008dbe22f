"""Small JSON files that are replaced whole, so that a reader never sees half of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qupath_sam.machine.files import atomic_write


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a file; empty where there is no file.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        content = json.loads(path.read_bytes())  # with any byte-order mark that an editor puts in front
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace the file in one step, making its folder where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=2, sort_keys=True).encode())
