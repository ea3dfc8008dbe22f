"""The last requests, for those who look at the server now."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from qupath_sam.server.request_log import PARTS, RequestRecord
from qupath_sam.v1 import status_pb2 as pb

#: Requests that percentiles are made of, and those that are listed one by one.
MOST_REQUESTS = 1000
MOST_LISTED = 20


class RecentRequests:
    """Keeps the last requests; who has made them is not kept. Safe to use from several threads.

    Args:
        clock: seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ended: deque[tuple[float, RequestRecord]] = deque(maxlen=MOST_REQUESTS)

    def add(self, record: RequestRecord) -> None:
        """Take a request that has ended."""
        with self._lock:
            self._ended.append((self._clock(), record))

    def by_method(self) -> list[pb.MethodStatus]:
        """Return how many requests of each method there were, how many failed, and how long they took."""
        with self._lock:
            records = [record for _, record in self._ended]
        return [_method(name, [r for r in records if r.method == name]) for name in sorted({r.method for r in records})]

    def newest(self) -> list[pb.RequestStatus]:
        """Return the newest requests, the newest first."""
        now = self._clock()
        with self._lock:
            newest = list(self._ended)[: -MOST_LISTED - 1 : -1]
        return [_listed(now - when, record) for when, record in newest]


def _method(name: str, records: Sequence[RequestRecord]) -> pb.MethodStatus:
    times = sorted(record.ms for record in records)
    return pb.MethodStatus(
        method=name,
        requests=len(records),
        failed=sum(record.code != "OK" for record in records),
        p50_ms=_quantile(times, 0.5),
        p95_ms=_quantile(times, 0.95),
        max_ms=times[-1],
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of the values that ``share`` of them do not exceed (the nearest rank)."""
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


def _listed(ago_s: float, record: RequestRecord) -> pb.RequestStatus:
    parts = {f"{part}_ms": record.parts.get(part, 0.0) for part in PARTS}
    return pb.RequestStatus(
        ago_s=ago_s,
        method=record.method,
        model=record.model,
        objects=record.objects or 0,
        total_ms=record.ms,
        code=record.code,
        **parts,
    )
