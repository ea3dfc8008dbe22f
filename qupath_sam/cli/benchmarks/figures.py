"""Figures of several measurements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return ``p50`` and ``p95`` of at least one value."""
    ordered = sorted(values)
    return {
        "p50": rounded(statistics.median(ordered)),
        "p95": rounded(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]),
    }


def rounded(value: float) -> float:
    """Return the value with two decimals."""
    return round(value, 2)
