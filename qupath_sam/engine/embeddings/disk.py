"""Embeddings in a folder, for the next start of the server and for other processes. A cache: losing it costs time."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qupath_sam.engine.embeddings import file_format
from qupath_sam.engine.embeddings.stats import CacheStats
from qupath_sam.machine.files import atomic_write
from qupath_sam.models.base import Embedding

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

_KEY = re.compile(r"[0-9a-f]{64}")
_ENTRY = re.compile(r"[0-9a-f]{64}\.safetensors")
_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.(safetensors\.[0-9a-f]{8}|[0-9a-f]{32})\.tmp")  # the second of 0.1

#: Up to so many files, the folder is looked at before each that is written; beyond, what is known of it is believed.
_FEW = 500
#: How long it is believed, where other processes may write too.
_LOOK_EVERY_NS = 60 * 10**9
#: A temporary file of this age belongs to a process that died while writing.
_ABANDONED_NS = 3600 * 10**9


class _Entry(NamedTuple):
    """A file of the cache; entries sort by last use."""

    used_ns: int
    path: Path
    size: int


class DiskCache:
    """A bounded map from key to embedding: one file each, ``<key>.safetensors``, the modification time its last use.

    Several threads and several processes may share the folder. Nothing is locked: a file appears whole or not at all,
    and every read checks that it is whole. Each process keeps the bound when it writes; what others write meanwhile
    is counted within a minute. Files with other names are neither counted nor touched.

    An error of the file system (a full disk, a read-only folder, a file that Windows does not delete while it is
    read) is logged and costs no more than the entry.

    Args:
        folder: made with the first `put`.
        max_bytes: how much the files may take together. An embedding that is larger alone is not kept.
        device: where the tensors of `get` shall lie.
        clock: ns since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        *,
        device: str | torch.device = "cpu",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must not be negative, got {max_bytes}")
        self._folder = folder
        self._max_bytes = max_bytes
        self._device = device
        self._clock = clock
        self._lock = threading.Lock()  # of the counts; it is never held during disk access
        self._room = threading.Lock()  # of the writers
        self._known: dict[Path, _Entry] | None = None
        self._looked_ns = 0
        self._hits = self._misses = self._evictions = 0

    def get(self, key: str) -> Embedding | None:
        """Return the embedding, which is now the most recently used; None where there is none.

        A file that is truncated, damaged or not what its name says is deleted, and counts as none.

        Raises:
            ValueError: ``key`` is no hex SHA-256.
        """
        path = self._path(key)
        embedding = self._read(path, key)
        with self._lock:
            self._hits += embedding is not None
            self._misses += embedding is None
        if embedding is not None:
            with contextlib.suppress(OSError):  # evicted meanwhile, or a folder that is read only
                self._touch(path)
        return embedding

    def put(self, key: str, embedding: Embedding) -> bool:
        """Write ``embedding`` in place of what ``key`` had; the least recently used give way.

        Returns:
            Whether it is kept.

        Raises:
            ValueError: ``key`` is no hex SHA-256.
        """
        path = self._path(key)
        data = file_format.to_bytes(key, embedding)
        try:
            with self._room:
                self._folder.mkdir(parents=True, exist_ok=True)
                if not self._make_room(path, len(data)):
                    return False
                self._write(path, data)
                if self._known is not None:
                    self._known[path] = _Entry(path.stat().st_mtime_ns, path, len(data))
        except OSError as error:
            _log.warning("could not keep an embedding in %s: %s", self._folder, error)
            return False
        return True

    def delete(self, key: str) -> bool:
        """Delete an embedding's file.

        Returns:
            Whether there was one and it is gone.
        """
        path = self._path(key)
        return path.is_file() and _unlink(path)

    def clear(self) -> None:
        """Delete all embeddings."""
        for entry in self._entries():
            _unlink(entry.path)

    def contains(self, key: str) -> bool:
        """Return whether there is a file for it; whether it is whole shows when it is read."""
        return self._path(key).is_file()

    def stats(self) -> CacheStats:
        """Return the counts: entries and bytes of the folder; hits, misses and evictions of this process."""
        entries = list(self._entries())
        with self._lock:
            return CacheStats(
                self._hits, self._misses, self._evictions, len(entries), sum(entry.size for entry in entries)
            )

    @property
    def max_bytes(self) -> int:
        """The limit."""
        return self._max_bytes

    def recent_stats(self) -> CacheStats:
        """Return the counts as `stats`; entries and bytes of a large folder are those of the last minute."""
        with self._room:
            known = list(self._look().values()) if self._folder.is_dir() else []
        with self._lock:
            return CacheStats(self._hits, self._misses, self._evictions, len(known), sum(each.size for each in known))

    def _path(self, key: str) -> Path:
        # A key becomes a file name: nothing else may get through.
        if not _KEY.fullmatch(key):
            raise ValueError(f"an embedding's key is a hex SHA-256, got {key!r}")
        return self._folder / f"{key}.safetensors"

    def _read(self, path: Path, key: str) -> Embedding | None:
        try:
            return file_format.from_bytes(path.read_bytes(), key, device=self._device)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("could not read %s: %s", path, error)
        except ValueError as error:
            _log.warning("deleting %s, its embedding will be computed again: %s", path, error)
            _unlink(path)
        return None

    def _write(self, path: Path, data: bytes) -> None:
        """Write next to the target and rename. No fsync: what a power cut leaves half written fails its checksum."""
        with atomic_write(path) as file:
            file.write(data)
        self._touch(path)

    def _touch(self, path: Path) -> None:
        now = self._clock()
        os.utime(path, ns=(now, now))

    def _make_room(self, path: Path, size: int) -> bool:
        """Delete ``path`` if too large a successor comes, and others until ``size`` more bytes fit."""
        if size > self._max_bytes:
            _unlink(path)
            return False
        known = self._look()
        known.pop(path, None)
        total = sum(entry.size for entry in known.values())
        while total + size > self._max_bytes and known:
            oldest = min(known.values())
            del known[oldest.path]
            used = _used_ns(oldest.path)
            if used is not None and used > oldest.used_ns:
                known[oldest.path] = oldest._replace(used_ns=used)  # another process has read it since
            elif _unlink(oldest.path):
                total -= oldest.size
                with self._lock:
                    self._evictions += used is not None
        return total + size <= self._max_bytes

    def _look(self) -> dict[Path, _Entry]:
        """Return the files: as they are now where they are few, else as of the last minute. Needs the room's lock.

        Looking at 20,000 files takes half a second.
        """
        now = self._clock()
        if self._known is None or len(self._known) <= _FEW or now - self._looked_ns > _LOOK_EVERY_NS:
            self._known = {entry.path: entry for entry in self._entries()}
            self._looked_ns = now
        return self._known

    def _entries(self) -> Iterator[_Entry]:
        """Yield what the folder holds, as it is now. Temporary files that a dead process has left are deleted."""
        try:
            found = list(os.scandir(self._folder))
        except FileNotFoundError:
            return
        for item in found:
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                if _ENTRY.fullmatch(item.name):
                    status = item.stat()
                    yield _Entry(status.st_mtime_ns, Path(item.path), status.st_size)
                elif _TEMPORARY.fullmatch(item.name) and self._clock() - item.stat().st_mtime_ns > _ABANDONED_NS:
                    _unlink(Path(item.path))


def _used_ns(path: Path) -> int | None:
    """Return when a file was last used; None where it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _unlink(path: Path) -> bool:
    """Return whether the file is gone. Windows keeps a file that another process has open."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.info("could not delete %s yet: %s", path, error)
        return False
    return True
