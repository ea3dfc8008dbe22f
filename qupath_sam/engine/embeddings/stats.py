"""What a cache says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How a cache is doing.

    Attributes:
        hits, misses: answers of ``get`` since the start.
        evictions: entries that had to go to make room, since the start.
        entries, size_bytes: what is held now.
    """

    hits: int
    misses: int
    evictions: int
    entries: int
    size_bytes: int
