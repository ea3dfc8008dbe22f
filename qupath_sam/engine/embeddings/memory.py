"""Embeddings in memory: the least recently used go first, and the bytes are always counted right."""

from __future__ import annotations

import threading
from collections import OrderedDict

from qupath_sam.engine.embeddings.stats import CacheStats
from qupath_sam.models.base import Embedding


class MemoryCache:
    """A bounded map from key to embedding. Safe to use from several threads.

    Args:
        max_bytes: how much the tensors may take together, wherever they lie. An embedding that is larger alone is
            not kept; with 0 nothing is.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must not be negative, got {max_bytes}")
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        # Least recently used first, each with the size it was counted with.
        self._entries: OrderedDict[str, tuple[Embedding, int]] = OrderedDict()
        self._size_bytes = 0
        self._hits = self._misses = self._evictions = 0

    def get(self, key: str) -> Embedding | None:
        """Return the embedding, which is now the most recently used; None where it is not held."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self._misses += 1
                return None
            self._hits += 1
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: str, embedding: Embedding) -> bool:
        """Keep ``embedding`` in place of what ``key`` had.

        Returns:
            Whether it is kept.
        """
        size = embedding.size_bytes
        with self._lock:
            self._remove(key)
            if size > self._max_bytes:
                return False
            self._make_room(size)
            self._entries[key] = embedding, size
            self._size_bytes += size
            return True

    def delete(self, key: str) -> bool:
        """Forget an embedding.

        Returns:
            Whether it was held.
        """
        with self._lock:
            return self._remove(key)

    def clear(self) -> None:
        """Forget all embeddings."""
        with self._lock:
            self._entries.clear()
            self._size_bytes = 0

    @property
    def max_bytes(self) -> int:
        """The limit."""
        return self._max_bytes

    def resize(self, max_bytes: int) -> None:
        """Change the limit; the least recently used give way."""
        with self._lock:
            self._max_bytes = max_bytes
            self._make_room(0)

    def contains(self, key: str) -> bool:
        """Return whether it is held; this neither counts nor makes it more recent."""
        with self._lock:
            return key in self._entries

    def stats(self) -> CacheStats:
        """Return how the cache is doing."""
        with self._lock:
            return CacheStats(self._hits, self._misses, self._evictions, len(self._entries), self._size_bytes)

    def _make_room(self, size: int) -> None:
        while self._size_bytes + size > self._max_bytes:
            self._remove(next(iter(self._entries)))
            self._evictions += 1

    def _remove(self, key: str) -> bool:
        """Take an entry out. No other place does, so that the count of bytes stays right."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._size_bytes -= entry[1]
        return True
