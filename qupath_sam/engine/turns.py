"""What the inference thread has done so far: how many turns, of how much, for how long."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from qupath_sam.models.jobs import Kind


@dataclass(frozen=True, slots=True)
class Turns:
    """Turns of one kind.

    Attributes:
        turns: calls of the model: batches, where several items are in one.
        items: windows encoded, objects decoded, or masks refined, in these calls.
        seconds: that they took together.
    """

    turns: int = 0
    items: int = 0
    seconds: float = 0.0


class TurnCounts:
    """Counts turns. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Kind, Turns] = {"encode": Turns(), "decode": Turns(), "refine": Turns()}

    def add(self, kind: Kind, items: int, seconds: float) -> None:
        """Count one turn."""
        with self._lock:
            so_far = self._counts.get(kind, Turns())
            self._counts[kind] = replace(
                so_far, turns=so_far.turns + 1, items=so_far.items + items, seconds=so_far.seconds + seconds
            )

    def so_far(self) -> dict[Kind, Turns]:
        """Return the counts by kind."""
        with self._lock:
            return dict(self._counts)
