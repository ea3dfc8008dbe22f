"""Where an embedding comes from: memory, disk, or one computation, however many ask for it at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from qupath_sam.engine.cancellation import CancelToken, check_wanted, seconds_left
from qupath_sam.engine.embeddings.disk import DiskCache
from qupath_sam.engine.embeddings.memory import MemoryCache
from qupath_sam.engine.embeddings.writer import DiskWriter
from qupath_sam.engine.worker import Urgency
from qupath_sam.errors import Cancelled, DeadlineExceeded, ServerBusy
from qupath_sam.models.base import Embedding
from qupath_sam.types.results import EmbeddingSource

#: Errors that concern one caller only; other callers that wait for the same embedding compute it themselves.
_OWN_ERRORS = (Cancelled, DeadlineExceeded, ServerBusy)


class _Waiter:
    """A caller that waits for the one that leads: for the outcome, or to lead in its place."""

    def __init__(self, urgency: Urgency) -> None:
        self.urgency = urgency
        self.wake = threading.Event()
        self.leads = False
        self.embedding: Embedding | None = None
        self.error: Exception | None = None


class _Flight:
    """The callers that want one embedding now: one leads, the others wait, first come first served."""

    def __init__(self, urgency: Urgency) -> None:
        self.urgency = urgency
        self.waiters: deque[_Waiter] = deque()

    def join(self, urgency: Urgency) -> _Waiter:
        """Wait, and see that the leader's work is at least as urgent."""
        waiter = _Waiter(urgency)
        self.waiters.append(waiter)
        self.urgency.raise_to(urgency.priority)
        return waiter

    def next_leader(self) -> _Waiter:
        """Return the waiter that leads from now on, as urgent as the most urgent of those that are left."""
        leader = self.waiters.popleft()
        for waiter in self.waiters:
            leader.urgency.raise_to(waiter.urgency.priority)
        self.urgency = leader.urgency
        leader.leads = True
        return leader


class EmbeddingStore:
    """Gives out embeddings, and computes each at most once at a time. Safe to use from any number of threads.

    Args:
        memory: asked first, and given everything.
        disk: asked second, and given what was computed, soon after the caller has it.
    """

    def __init__(self, memory: MemoryCache, disk: DiskCache | None = None) -> None:
        self.memory = memory
        self.disk = disk
        self._writer = DiskWriter(disk) if disk is not None else None
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}

    def contains(self, key: str) -> bool:
        """Return whether `get_or_compute` would find the embedding rather than compute it."""
        waits = self._writer is not None and self._writer.get(key) is not None
        return self.memory.contains(key) or waits or (self.disk is not None and self.disk.contains(key))

    def flush(self) -> None:
        """Wait until all that was computed is on disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write what waits to be written. What is computed later is written before its caller has it."""
        if self._writer is not None:
            self._writer.close()

    def get_or_compute(
        self,
        key: str,
        compute: Callable[[], Embedding],
        *,
        cancel: CancelToken | None = None,
        deadline: float | None = None,
        urgency: Urgency | None = None,
    ) -> tuple[Embedding, EmbeddingSource]:
        """Return the embedding of ``key``.

        Of simultaneous callers one leads: it looks on disk, then calls ``compute`` in its own thread; the others wait
        for what it finds. An error of ``compute`` goes to all of them and nothing is kept. Only if the leader gives
        up (`Cancelled`, `DeadlineExceeded`, `ServerBusy`) does the next one lead, with its own ``compute``.

        Args:
            key: from `qupath_sam.engine.embeddings.key.embedding_key`.
            compute: makes the embedding, usually by `InferenceWorker.run`; should be given the same ``cancel``,
                ``deadline`` and ``urgency``. Must not ask this store for the same key.
            cancel: ends the wait of this caller only.
            deadline: ends this caller's wait; seconds of `time.monotonic`.
            urgency: raised while this caller leads and a more urgent one waits for it.

        Raises:
            Cancelled: this caller's token was set while it waited.
            DeadlineExceeded: this caller's deadline passed while it waited.
            Exception: whatever ``compute`` raised.
        """
        check_wanted(cancel, deadline)
        urgency = urgency or Urgency()
        waiter: _Waiter | None = None
        with self._lock:
            held = self.memory.get(key)
            if held is not None:
                return held, EmbeddingSource.MEMORY
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = _Flight(urgency)
            else:
                waiter = flight.join(urgency)
        if waiter is not None:
            shared = self._wait(key, flight, waiter, cancel, deadline)
            if shared is not None:
                return shared, EmbeddingSource.SHARED
        return self._lead(key, flight, compute, cancel, deadline)

    def _lead(
        self,
        key: str,
        flight: _Flight,
        compute: Callable[[], Embedding],
        cancel: CancelToken | None,
        deadline: float | None,
    ) -> tuple[Embedding, EmbeddingSource]:
        """Find or make the embedding for all waiters; every waiter gets an outcome, errors included."""
        try:
            check_wanted(cancel, deadline)
            embedding, source = self._on_disk(key), EmbeddingSource.DISK
            if embedding is None:
                embedding, source = compute(), EmbeddingSource.COMPUTED
            self.memory.put(key, embedding)
        except Exception as error:
            if isinstance(error, _OWN_ERRORS):
                self._hand_over(key, flight)
            else:
                self._land(key, flight, error=error)
            raise
        except BaseException:  # KeyboardInterrupt and its like are for this thread alone
            self._hand_over(key, flight)
            raise
        self._land(key, flight, embedding=embedding)
        if self._writer is not None and source is EmbeddingSource.COMPUTED:
            self._writer.put(key, embedding)
        return embedding, source

    def _on_disk(self, key: str) -> Embedding | None:
        """Return the embedding that is on disk, or on its way there."""
        if self.disk is None or self._writer is None:
            return None
        waits = self._writer.get(key)
        return waits if waits is not None else self.disk.get(key)

    def _wait(
        self, key: str, flight: _Flight, waiter: _Waiter, cancel: CancelToken | None, deadline: float | None
    ) -> Embedding | None:
        """Return what the leader found; None where the leader gave up and it is this caller's turn to lead."""
        take_back = cancel.add_callback(waiter.wake.set) if cancel is not None else None
        try:
            while True:
                waiter.wake.wait(seconds_left(deadline))
                if waiter.leads or waiter.embedding is not None:
                    return waiter.embedding
                if waiter.error is not None:
                    raise waiter.error
                check_wanted(cancel, deadline)
        except BaseException:
            self._leave(key, flight, waiter)
            raise
        finally:
            if take_back is not None:
                take_back()
            waiter.error = None  # whose traceback keeps this frame

    def _leave(self, key: str, flight: _Flight, waiter: _Waiter) -> None:
        """Wait no more. A waiter that was chosen to lead in this very moment passes that on."""
        with self._lock:
            if waiter in flight.waiters:
                flight.waiters.remove(waiter)
        if waiter.leads:
            self._hand_over(key, flight)

    def _hand_over(self, key: str, flight: _Flight) -> None:
        """Let the next waiter lead; where there is none, the matter is closed."""
        with self._lock:
            if flight.waiters:
                flight.next_leader().wake.set()
            else:
                del self._flights[key]

    def _land(
        self, key: str, flight: _Flight, *, embedding: Embedding | None = None, error: Exception | None = None
    ) -> None:
        """Give the outcome to all waiters. Later callers look in memory first."""
        with self._lock:
            del self._flights[key]
            waiters = list(flight.waiters)
        for waiter in waiters:
            waiter.embedding, waiter.error = embedding, error
            waiter.wake.set()
