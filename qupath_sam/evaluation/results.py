"""What is kept of each object, so that a run that was stopped goes on, and nothing stale is ever used.

A result is filed under a digest of everything it depends on by value: the object's pixels and mask, the model's
weights and the protocol's settings. Beside it stands what made it: the code that gives the answer
(`qupath_sam.evaluation.code_digest`), the libraries, the processor whose milliseconds it holds, the number of threads.
Change one of these, and the object is evaluated again, unless the caller asks for results of any making.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

#: Libraries whose version may change the last bits of an answer, and with them a click.
_LIBRARIES = ("torch", "numpy", "scipy", "pillow", "shapely")


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """The scores of one object under one model.

    Attributes:
        dataset, image_id, object_id, group: of the object.
        area: of the object, px.
        iou, harm, locality: after each click.
        clicks: ``(x, y, 1 or 0)`` of those that were made.
        click_ms: milliseconds of the answer to each click made.
        scores: the model's estimate of the IoU after each click made; None where nothing came.
        first_parts, first_best_iou, squares: see `qupath_sam.evaluation.protocol.ClickRun`.
        seconds: wall time of the click loop.
        setup_s: of reading and encoding the object's image, which its objects share; counts once an image.
        workers: processes that scored objects at the time, as they slow each other down.
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
    scores: tuple[float | None, ...]
    first_parts: int
    first_best_iou: float
    squares: int
    seconds: float
    setup_s: float
    workers: int
    box_iou: float | None
    refine_gain: float | None
    jitter: float | None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the result that `dataclasses.asdict` and JSON made into ``values``.

        Raises:
            KeyError: a field is missing.
        """
        read = {f.name: values[f.name] for f in fields(cls)}
        for name in ("iou", "harm", "locality", "click_ms", "scores"):
            read[name] = tuple(read[name])
        read["clicks"] = tuple(tuple(click) for click in read["clicks"])
        return cls(**read)


class ResultStore:
    """Results in a JSON-lines file, one object a line, written as they come. Not for two processes at once.

    A line that a kill left unfinished, and lines of another version, are passed over: their objects run again.

    Attributes:
        path: of the file.
        foreign: keys whose results were used although something else had made them.
    """

    def __init__(self, folder: Path, *, any_making: bool = False) -> None:
        """Open the store, making the folder where it is missing.

        Args:
            folder: of the file.
            any_making: take results of any code and machine.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "objects.jsonl"
        self.foreign: set[str] = set()
        self._any_making = any_making
        self._results: dict[str, dict[str, ObjectResult]] = {}
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                record = json.loads(line)
                result = ObjectResult.from_json(record["result"])
                self._results.setdefault(record["key"], {})[record["made_by"]] = result
            except (ValueError, KeyError, TypeError):
                continue
        self._file = self.path.open("a", encoding="utf-8", newline="\n")
        if text and not text.endswith("\n"):
            self._file.write("\n")

    def __len__(self) -> int:
        return sum(len(makings) for makings in self._results.values())

    def get(self, key: str, made_by: str) -> ObjectResult | None:
        """Return the result filed under ``key`` that ``made_by`` has made, or None; of any making, the newest."""
        makings = self._results.get(key, {})
        if made_by not in makings and makings and self._any_making:
            self.foreign.add(key)
            return list(makings.values())[-1]
        return makings.get(made_by)

    def add(self, key: str, made_by: str, result: ObjectResult) -> None:
        """File a result; it is on its way to the disk when this returns."""
        self._results.setdefault(key, {})[made_by] = result
        record = {"key": key, "made_by": made_by, "result": asdict(result)}
        self._file.write(json.dumps(record, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def result_key(parts: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of ``parts`` (JSON values)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def making(code: str, device: str) -> str:
    """Return a hex digest of all that makes results in this process: code, libraries, processor, threads.

    Args:
        code: digest of the code that gives the answers.
        device: torch's name of where the model runs.
    """
    import torch

    parts = {"code": code, "machine": list(_machine(device)), "threads": torch.get_num_threads()}
    return result_key(parts)[:16]


@cache
def _machine(device: str) -> tuple[str, ...]:
    import torch

    from qupath_sam.machine.description import machine

    processors = [platform.machine(), str(machine()["cpu"])]
    if device.startswith("cuda"):
        processors.append(torch.cuda.get_device_name(device))
    return (*processors, platform.python_version(), *(f"{name} {version(name)}" for name in _LIBRARIES))
