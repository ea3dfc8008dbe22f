"""Open slides, kept for the next click: bounded, shared between threads, never stale, never closed under a reader."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from qupath_sam.errors import ServerBusy, ServerUnavailable
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.builder import SlideRecipe
from qupath_sam.slides.location import Location, PathMap
from qupath_sam.slides.memory import PATIENCE_S, DecodeMemory, MeteredReader, check_fits
from qupath_sam.slides.open import SlideSource, check_size, locate, open_located
from qupath_sam.slides.permissions import EVERY_PATH, Permissions
from qupath_sam.slides.rendering import Rendering
from qupath_sam.slides.source import Stamp, stamp

URL_RECHECK_S = 30.0
"""How long a URL is taken to be unchanged: asking costs a round trip, and every click would wait for it."""

_Key = tuple[str, SlideRecipe | None, int, int, Rendering | None]
"""The real path (or URL), what is done to the image, its plane and how it is shown, however the caller spelled it."""


@dataclass(slots=True)
class _Entry:
    """One slide, perhaps still being opened.

    Attributes:
        users: how many hold it now; it is closed when it is retired and the last one has let go.
        retired: no longer in the cache.
        held_bytes: pixels that the slide keeps in memory, or has room for while it is opened.
    """

    stamp: Stamp
    reader: Future[SlideReader] = field(default_factory=Future)
    users: int = 0
    retired: bool = False
    held_bytes: int = 0


class SlideCache:
    """Open slides by location and recipe, least recently used first out.

    A slide whose file changed (size, modification time, ETag) is opened again; requests for one slide at one time open
    it once. More slides than ``capacity`` stay open only while they are all in use.

    Args:
        capacity: slides kept open.
        path_map: from the client's folders to this machine's.
        permissions: what may be opened; by default every path and no URL.
        max_bytes: pixels that open slides may hold together (plain images hold all of theirs); None for no limit.
        memory: bounds what is decoded at once; None does not.
        clock: seconds.
        patience_s: longest wait for room that slides in use have taken.
    """

    def __init__(
        self,
        *,
        capacity: int = 32,
        path_map: PathMap | None = None,
        permissions: Permissions = EVERY_PATH,
        max_bytes: int | None = None,
        memory: DecodeMemory | None = None,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"a cache of {capacity} slides keeps nothing; give at least 1")
        self._capacity = capacity
        self._path_map = path_map
        self._permissions = permissions
        self._max_bytes = max_bytes
        self._memory = memory
        self._clock = clock
        self._urls: OrderedDict[str, tuple[Stamp, float]] = OrderedDict()
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._given_back = threading.Condition(self._lock)
        self._patience_s = patience_s
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """Pixels that open slides keep in memory."""
        with self._lock:
            return sum(entry.held_bytes for entry in self._entries.values())

    @property
    def max_bytes(self) -> int | None:
        """The limit of what open slides hold; None for no limit."""
        return self._max_bytes

    def __len__(self) -> int:
        """Return how many slides are kept."""
        with self._lock:
            return len(self._entries)

    def reconfigure(self, path_map: PathMap, permissions: Permissions, max_bytes: int | None) -> None:
        """Open what comes from now on by other rules; slides in use stay open until they are given back."""
        with self._lock:
            self._path_map, self._permissions, self._max_bytes = path_map, permissions, max_bytes
            outdated = self._evict()
        _close(outdated)

    @contextmanager
    def open(
        self,
        source: SlideSource,
        *,
        expected_size: tuple[int, int] | None = None,
        z: int = 0,
        t: int = 0,
        rendering: Rendering | None = None,
    ) -> Iterator[SlideReader]:
        """Borrow a slide's reader; it stays open until the ``with`` block ends. Do not close it.

        Raises:
            ServerUnavailable: the cache was closed.
            ServerBusy: slides in use have taken all room for pixels for too long.
            SlideError: as `qupath_sam.slides.open.open_slide`. Failures are not remembered.
        """
        location = locate(source, self._path_map, self._permissions)
        entry = self._borrow(location, source, z, t, rendering)
        try:
            reader = entry.reader.result()
            check_size(reader, expected_size, location)
            yield reader
        finally:
            self._give_back(entry)

    def close_all(self) -> None:
        """Close every slide, those in use as soon as they are given back, and open no more."""
        with self._lock:
            self._closed = True
            retired = [self._retire(key) for key in list(self._entries)]
        _close(entry for entry in retired if entry.users == 0)

    def _borrow(self, location: Location, source: SlideSource, z: int, t: int, rendering: Rendering | None) -> _Entry:
        found = self._stamp(location)
        key = found.resolved, source if isinstance(source, SlideRecipe) else None, z, t, rendering
        with self._lock:
            if self._closed:
                raise ServerUnavailable(
                    "the slide cache is closed, because the server is shutting down; try again later"
                )
            entry = self._entries.get(key)
            outdated = []
            if entry is not None and entry.stamp != found:
                outdated = [self._retire(key)]
                entry = None
            opens = entry is None
            if entry is None:
                entry = self._entries[key] = _Entry(found)
            entry.users += 1
            self._entries.move_to_end(key)
            outdated += self._evict()
        _close(old for old in outdated if old.users == 0)
        if opens:
            self._open(key, entry, location, source)
        return entry

    def _stamp(self, location: Location) -> Stamp:
        """Return what the file is now, or a URL was not long ago."""
        if not location.is_url:
            return stamp(location)
        now = self._clock()
        with self._lock:
            known = self._urls.get(location.target)
        if known is not None and now - known[1] < URL_RECHECK_S:
            return known[0]
        found = stamp(location)
        with self._lock:
            self._urls[location.target] = found, now
            while len(self._urls) > self._capacity:
                self._urls.popitem(last=False)
        return found

    def _open(self, key: _Key, entry: _Entry, location: Location, source: SlideSource) -> None:
        try:
            _, _, z, t, rendering = key
            reader = open_located(
                location,
                entry.stamp,
                source,
                expected_size=None,
                z=z,
                t=t,
                rendering=rendering,
                memory=self._memory,
                hold=partial(self._hold, entry),
            )
            entry.held_bytes = reader.info.held_bytes
            entry.reader.set_result(reader if self._memory is None else MeteredReader(reader, self._memory))
        except BaseException as error:
            with self._lock:
                if self._entries.get(key) is entry:
                    self._retire(key)
            entry.reader.set_exception(error)

    def _hold(self, entry: _Entry, size_bytes: int) -> None:
        """Make room for the pixels of a slide that is about to be opened, and count them.

        Raises:
            SlideUnsupported: more than there is.
            ServerBusy: slides that others use leave no room for too long.
        """
        deadline = time.monotonic() + self._patience_s
        while True:
            with self._given_back:
                outdated = self._evict(room=size_bytes)
                held = sum(other.held_bytes for other in self._entries.values() if other is not entry)
                fits = self._max_bytes is None or held + size_bytes <= self._max_bytes
                if fits:
                    entry.held_bytes = size_bytes
                elif not outdated:
                    check_fits(size_bytes, self._max_bytes or 0, "hold")
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._given_back.wait(left):
                        raise ServerBusy("too many large images are open at once; try again in a moment")
            _close(outdated)
            if fits:
                return

    def _give_back(self, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            last = entry.retired and entry.users == 0
            outdated = self._evict()
            self._given_back.notify_all()
        _close([entry] if last else [])
        _close(outdated)

    def _evict(self, *, room: int = 0) -> list[_Entry]:
        """Take out what is too much and not in use, oldest first; the caller closes it outside the lock.

        Args:
            room: bytes that are needed beside what is held.
        """
        retired = []
        held = room + sum(entry.held_bytes for entry in self._entries.values())
        for key, entry in list(self._entries.items()):
            too_many = len(self._entries) > self._capacity
            if not too_many and (self._max_bytes is None or held <= self._max_bytes):
                break
            if entry.users == 0 and (too_many or entry.held_bytes):
                held -= entry.held_bytes
                retired.append(self._retire(key))
        return retired

    def _retire(self, key: _Key) -> _Entry:
        entry = self._entries.pop(key)
        entry.retired = True
        return entry


def _close(entries: Iterator[_Entry] | list[_Entry]) -> None:
    for entry in entries:
        if entry.reader.done() and entry.reader.exception() is None:
            entry.reader.result().close()
