"""What a run decided about each object: the rows of its report, kept with its backup so that it can be undone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from qupath_sam.project.objects import ImageObject, Kind, Plane
from qupath_sam.project.store.filesystem import Filesystem
from qupath_sam.types.refinements import Refusal


class Action(Enum):
    """The outcome for an object."""

    REFINED = "refined"
    ADDED = "added"
    REMOVED = "removed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Decision:
    """One object of one image.

    Attributes:
        image_id, image_name: the image.
        action: what was done.
        before: the object as it was; None where it is new.
        new_wkb: its new shape, level-0 px; also of a refused one, if there was any.
        refusal: why it was left alone.
        iou: of old and new shape; NaN where there are not both.
        score: the model's own; NaN where it was not asked.
        remark: what else there is to say.
        object_id: QuPath's id.
    """

    image_id: str
    image_name: str
    action: Action
    object_id: str
    before: ImageObject | None = None
    new_wkb: bytes = b""
    refusal: Refusal | None = None
    iou: float = float("nan")
    score: float = float("nan")
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over decisions: by action, of the refused by reason, and of what was added with a remark by that."""

    actions: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)
    doubts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, decisions: Iterable[Decision]) -> Tally:
        """Count."""
        actions: Counter[str] = Counter()
        refusals: Counter[str] = Counter()
        doubts: Counter[str] = Counter()
        for decision in decisions:
            actions[decision.action.value] += 1
            if decision.refusal is not None:
                refusals[decision.refusal.value] += 1
            elif decision.action is Action.ADDED and decision.remark:
                doubts[decision.remark] += 1
        return cls(dict(actions), dict(refusals), dict(doubts))


#: Refusals that no server was asked about.
_NOT_ASKED = (
    *(Refusal.LOCKED, Refusal.HAS_CHILDREN, Refusal.LARGER_THAN_WINDOW, Refusal.OLD_INVALID, Refusal.OLD_OUTSIDE),
    *(Refusal.SAME_ID, Refusal.PROMPT_OUTSIDE),
)


def why_unanswered(decisions: Iterable[Decision]) -> str:
    """Return why the server could answer for none of the objects in its request; empty where it could for one."""
    asked = [decision for decision in decisions if decision.refusal not in _NOT_ASKED]
    if any(decision.refusal is not Refusal.FAILED for decision in asked):
        return ""
    # As it most often said: one object may have a fault of its own besides.
    remarks = Counter(decision.remark for decision in asked)
    return remarks.most_common(1)[0][0] if remarks else ""


def save(path: Path, decisions: Iterable[Decision], filesystem: Filesystem) -> None:
    """Keep the decisions about one image in a file."""
    filesystem.write_atomically(path, json.dumps(to_json(decisions)).encode())


def load(path: Path) -> Iterator[Decision]:
    """Read them again; nothing where there is no file."""
    if path.exists():
        yield from from_json(json.loads(path.read_text(encoding="utf-8")))


def to_json(decisions: Iterable[Decision]) -> list[dict[str, Any]]:
    """Return decisions as JSON values."""
    return [_to_json(decision) for decision in decisions]


def from_json(found: Iterable[dict[str, Any]]) -> Iterator[Decision]:
    """Invert `to_json`."""
    yield from map(_from_json, found)


def _to_json(decision: Decision) -> dict[str, Any]:
    before = decision.before
    return {
        "image_id": decision.image_id,
        "image_name": decision.image_name,
        "action": decision.action.value,
        "object_id": decision.object_id,
        "before": None
        if before is None
        else {
            "object_id": before.object_id,
            "kind": before.kind.value,
            "roi": before.roi,
            "wkb": before.wkb.hex(),
            "plane": [before.plane.c, before.plane.z, before.plane.t],
            "path_class": before.path_class,
            "name": before.name,
            "locked": before.locked,
            "parent_id": before.parent_id,
            "color": before.color,
            "probability": before.probability,
            "measurements": dict(before.measurements),
            "metadata": dict(before.metadata),
            "children": before.children,
        },
        "new_wkb": decision.new_wkb.hex(),
        "refusal": None if decision.refusal is None else decision.refusal.name,
        "iou": decision.iou,
        "score": decision.score,
        "remark": decision.remark,
    }


def _from_json(row: dict[str, Any]) -> Decision:
    before = row["before"]
    if before is not None:
        before = ImageObject(
            **(
                before
                | {
                    "kind": Kind(before["kind"]),
                    "wkb": bytes.fromhex(before["wkb"]),
                    "plane": Plane(*before["plane"]),
                }
            )
        )
    return Decision(
        image_id=row["image_id"],
        image_name=row["image_name"],
        action=Action(row["action"]),
        object_id=row["object_id"],
        before=before,
        new_wkb=bytes.fromhex(row["new_wkb"]),
        refusal=None if row["refusal"] is None else Refusal[row["refusal"]],
        iou=row["iou"],
        score=row["score"],
        remark=row["remark"],
    )
