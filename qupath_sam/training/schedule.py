"""The learning rate over a run, as a factor on the one that was asked for."""

from __future__ import annotations

import enum
import math


class Schedule(enum.Enum):
    """How the learning rate falls."""

    PAPER = "paper"
    """A tenth from epoch 20 and a hundredth from epoch 25 of 30 on (Kim et al. 2023, sec. 3.2, after RITM); in runs of
    other lengths, at the same fractions."""
    COSINE = "cosine"
    """Half a cosine down to a fiftieth (Loshchilov and Hutter 2017)."""
    CONSTANT = "constant"


_LAST_SHARE = 0.02
#: Optimiser steps over which every schedule rises from zero.
WARM_UP_STEPS = 50


def learning_rate_factor(schedule: Schedule, *, progress: float, step: int, warm_up: int = WARM_UP_STEPS) -> float:
    """Return the factor on the learning rate.

    Args:
        schedule: how it falls.
        progress: share of the run that is done, 0..1.
        step: optimiser steps done.
        warm_up: steps of the rise; 0 for none.
    """
    rise = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    match schedule:
        case Schedule.PAPER:
            return rise * (1.0 if progress < 20 / 30 else 0.1 if progress < 25 / 30 else 0.01)
        case Schedule.COSINE:
            half = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
            return rise * (_LAST_SHARE + (1 - _LAST_SHARE) * half)
        case Schedule.CONSTANT:
            return rise
