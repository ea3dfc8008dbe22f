"""What is kept of each object, so that a run that was stopped goes on, and nothing stale is ever used.

A result is filed under a digest of everything it depends on: the object's pixels and mask, the model's weights, the
protocol's settings, the code that computed it, and the machine whose milliseconds it holds. Change one, and the object
is evaluated again.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

import qupath_sam

#: Folders and modules of the package that no result depends on.
_WITHOUT_EFFECT = (
    *("bench/", "cli/", "client/", "project/", "protocol/", "server/", "training/", "v1/"),
    *(f"evaluation/{name}.py" for name in ("bootstrap", "cases", "curves", "panels", "report", "seen", "tables")),
)


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """The scores of one object under one model.

    Attributes:
        dataset, image_id, object_id, group: of the object.
        area: of the object, px.
        iou, harm, locality: after each click.
        clicks: ``(x, y, 1 or 0)`` of those that were made.
        click_ms: milliseconds of the answer to each click made.
        seconds: wall time of the click loop, and of reading and encoding the image with its first object.
        box_iou, refine_gain, jitter: see `qupath_sam.evaluation.protocol.ObjectScores`.
    """

    dataset: str
    image_id: str
    object_id: str
    group: str
    area: int
    iou: tuple[float, ...]
    harm: tuple[float, ...]
    locality: tuple[float, ...]
    clicks: tuple[tuple[int, int, int], ...]
    click_ms: tuple[float, ...]
    seconds: float
    box_iou: float | None
    refine_gain: float | None
    jitter: float | None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The result that `dataclasses.asdict` and JSON made into ``values``.

        Raises:
            KeyError: a field is missing.
        """
        read = {f.name: values[f.name] for f in fields(cls)}
        for name in ("iou", "harm", "locality", "click_ms"):
            read[name] = tuple(read[name])
        read["clicks"] = tuple(tuple(click) for click in read["clicks"])
        return cls(**read)


class ResultStore:
    """Results in a JSON-lines file, one object a line, written as they come. Not for two processes at once.

    A line that a kill left unfinished, and lines of another version, are passed over: their objects run again.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store, making the folder where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "objects.jsonl"
        self._results: dict[str, ObjectResult] = {}
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                record = json.loads(line)
                self._results[record["key"]] = ObjectResult.from_json(record["result"])
            except (ValueError, KeyError, TypeError):
                continue
        self._file = self.path.open("a", encoding="utf-8", newline="\n")
        if text and not text.endswith("\n"):
            self._file.write("\n")

    def __len__(self) -> int:
        return len(self._results)

    def get(self, key: str) -> ObjectResult | None:
        """The result filed under ``key``, or None."""
        return self._results.get(key)

    def add(self, key: str, result: ObjectResult) -> None:
        """File a result; it is on its way to the disk when this returns."""
        self._results[key] = result
        self._file.write(json.dumps({"key": key, "result": asdict(result)}, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def result_key(parts: Mapping[str, Any]) -> str:
    """Hex SHA-256 of ``parts`` (JSON values), of this package's code and of this machine."""
    everything = {**parts, "code": code_digest(), "machine": _machine()}
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


@cache
def code_digest() -> str:
    """Hex SHA-256 of the package's source that a result may depend on; a new comment there costs a new run."""
    root = Path(qupath_sam.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(_WITHOUT_EFFECT):
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _machine() -> list[str]:
    """What results and their milliseconds depend on beside the code."""
    import torch

    return [platform.node(), platform.machine(), torch.__version__, np.__version__]
