"""A map whose entries weigh bytes, and which drops what was used longest ago: the base of the caches in memory."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ByteLru(Generic[K, V]):
    """Entries with their weights, least recently used first, bounded in bytes.

    One rule for all caches: an entry that alone weighs more than the bound is not held, and what its key had is gone.

    It has no lock: a cache takes several steps under one lock of its own. cachetools does not replace it, for the
    caches share one bound between several maps, change it while they run, and count what gives way.

    Args:
        max_bytes: what all entries may weigh together. Without one the cache takes entries out by itself.
    """

    def __init__(self, max_bytes: int = sys.maxsize) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must not be negative, got {max_bytes}")
        self._max_bytes = max_bytes
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._size_bytes = 0

    @property
    def max_bytes(self) -> int:
        """What all entries may weigh together."""
        return self._max_bytes

    @property
    def size_bytes(self) -> int:
        """What all entries weigh now."""
        return self._size_bytes

    @property
    def oldest(self) -> K:
        """The key that was used longest ago. Raises `StopIteration` where nothing is held."""
        return next(iter(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """Return the value, which is now the most recently used; None where the key is not held."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def items(self) -> list[tuple[K, V]]:
        """Return keys and values, least recently used first."""
        return [(key, value) for key, (value, _) in self._entries.items()]

    def put(self, key: K, value: V, size_bytes: int) -> int:
        """Hold a value in place of what the key had.

        Returns:
            How many other entries have given way. ``key in lru`` says whether the value is held.
        """
        self.pop(key)
        if size_bytes > self._max_bytes:
            return 0
        self._entries[key] = value, size_bytes
        self._size_bytes += size_bytes
        return self._make_room()

    def resize(self, max_bytes: int) -> int:
        """Change the bound; return how many entries have given way."""
        self._max_bytes = max_bytes
        return self._make_room()

    def pop(self, key: K) -> V | None:
        """Take an entry out. No other place does, so that the count of bytes stays right."""
        value, size_bytes = self._entries.pop(key, (None, 0))
        self._size_bytes -= size_bytes
        return value

    def clear(self) -> None:
        """Take all entries out."""
        self._entries.clear()
        self._size_bytes = 0

    def _make_room(self) -> int:
        dropped = 0
        while self._size_bytes > self._max_bytes:
            self.pop(self.oldest)
            dropped += 1
        return dropped
