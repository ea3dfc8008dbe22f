"""Embeddings on their way to disk: a caller that has paid for an encode does not wait for the file as well."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from qupath_sam.engine.embeddings.disk import DiskCache
from qupath_sam.models.base import Embedding

log = logging.getLogger(__name__)

#: Bytes of embeddings that may wait; beyond, callers write themselves, as fast as the disk is.
MAX_WAITING_BYTES = 256 * 1024 * 1024


class DiskWriter:
    """Writes embeddings on a thread of its own, which starts with the first. Safe to use from several threads.

    Args:
        disk: where they go.
        max_waiting_bytes: of those that wait to be written.
    """

    def __init__(self, disk: DiskCache, *, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._disk = disk
        self._max_waiting_bytes = max_waiting_bytes
        self._lock = threading.Lock()
        self._waiting: dict[str, Embedding] = {}
        self._waiting_bytes = 0
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def put(self, key: str, embedding: Embedding) -> None:
        """Have an embedding written soon; now, where too much waits already."""
        size = embedding.size_bytes
        with self._lock:
            fits = not self._closed and self._waiting_bytes + size <= self._max_waiting_bytes
            if fits and key not in self._waiting:
                self._waiting[key] = embedding
                self._waiting_bytes += size
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(1, thread_name_prefix="qupath-sam-disk")
                self._pool.submit(self._write, key, size)
        if not fits:
            self._disk.put(key, embedding)

    def get(self, key: str) -> Embedding | None:
        """Return an embedding that waits to be written; None where none of that key does."""
        with self._lock:
            return self._waiting.get(key)

    def flush(self) -> None:
        """Wait until all that was put is written."""
        with self._lock:
            pool = self._pool
        if pool is not None:
            pool.submit(_nothing).result()

    def close(self) -> None:
        """Write what waits, and end the thread. What comes later is written by its caller."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)

    def _write(self, key: str, size: int) -> None:
        try:
            self._disk.put(key, self._waiting[key])
        except Exception:
            # A cache: losing it costs time, and no caller waits for it.
            log.exception("could not keep an embedding on disk")
        finally:
            with self._lock:
                del self._waiting[key]
                self._waiting_bytes -= size


def _nothing() -> None:
    """Do nothing, after what was put before."""
