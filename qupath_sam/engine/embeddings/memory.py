"""Embeddings in memory: the least recently used go first, and the bytes are always counted right."""

from __future__ import annotations

import threading

from qupath_sam.engine.embeddings.stats import CacheStats
from qupath_sam.machine.byte_lru import ByteLru
from qupath_sam.models.base import Embedding


class MemoryCache:
    """A bounded map from key to embedding. Safe to use from several threads.

    Args:
        max_bytes: how much the tensors may take together, wherever they lie. An embedding that is larger alone is
            not kept; with 0 nothing is.
    """

    def __init__(self, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._entries: ByteLru[str, Embedding] = ByteLru(max_bytes)
        self._hits = self._misses = self._evictions = 0

    def get(self, key: str) -> Embedding | None:
        """Return the embedding, which is now the most recently used; None where it is not held."""
        with self._lock:
            embedding = self._entries.get(key)
            self._hits += embedding is not None
            self._misses += embedding is None
            return embedding

    def put(self, key: str, embedding: Embedding) -> bool:
        """Keep ``embedding`` in place of what ``key`` had.

        Returns:
            Whether it is kept.
        """
        with self._lock:
            self._evictions += self._entries.put(key, embedding, embedding.size_bytes)
            return key in self._entries

    def delete(self, key: str) -> bool:
        """Forget an embedding.

        Returns:
            Whether it was held.
        """
        with self._lock:
            return self._entries.pop(key) is not None

    def clear(self) -> None:
        """Forget all embeddings."""
        with self._lock:
            self._entries.clear()

    @property
    def max_bytes(self) -> int:
        """The limit."""
        return self._entries.max_bytes

    def resize(self, max_bytes: int) -> None:
        """Change the limit; the least recently used give way."""
        with self._lock:
            self._evictions += self._entries.resize(max_bytes)

    def contains(self, key: str) -> bool:
        """Return whether it is held; this neither counts nor makes it more recent."""
        with self._lock:
            return key in self._entries

    def stats(self) -> CacheStats:
        """Return how the cache is doing."""
        with self._lock:
            return CacheStats(self._hits, self._misses, self._evictions, len(self._entries), self._entries.size_bytes)
