"""What one look at the machine found."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """How good a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Works, but something that a user may want does not."""
    PROBLEM = "problem"
    """What every user needs, or what this user asked for, does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: what was looked at.
        state: how good it is.
        said: what was found.
        remedy: what to do about it; never empty unless the state is OK.
    """

    topic: str
    state: State
    said: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.state is not State.OK and not self.remedy:
            raise ValueError(f"the finding on {self.topic} does not say what to do")
