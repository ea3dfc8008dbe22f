"""A status as tables of words, for the terminal and for the browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import ParseDict

from qupath_sam.v1 import status_pb2 as pb

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title; all cells are text.

    Attributes:
        title: of the table.
        header: of the columns; the first is text, the others are numbers.
        rows: as long as the header.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def read_status(fields: Mapping[str, Any]) -> pb.StatusResponse:
    """Return the message of the fields that `SamClient.status` gives."""
    return ParseDict(dict(fields), pb.StatusResponse())


def is_serving(status: pb.StatusResponse) -> bool:
    """Return whether the server answers calls now."""
    return status.phase == pb.SERVER_PHASE_SERVING


def headline(status: pb.StatusResponse) -> str:
    """Return the state in one line."""
    where = f", {status.default_model} on {status.device}" if status.device else ""
    return f"{status.phase_text}{where}; version {status.server_version}, up {duration(status.uptime_s)}"


def tables(status: pb.StatusResponse) -> list[Table]:
    """Return what a status says, those without rows left out."""
    found = [
        Table(
            "Now",
            ("what", "number"),
            (
                ("clients with a call under way", str(status.clients)),
                ("calls under way", f"{status.calls} of {status.max_calls}"),
                ("open streams", str(status.streams)),
                *((f"waiting, {queue.priority}", str(queue.waiting)) for queue in status.queue),
                ("models in memory", ", ".join(status.loaded_models) or "none"),
                ("memory of the process, MiB", _mib(status.process_bytes)),
                *(
                    (("memory on the device, MiB", _mib(status.device_memory_bytes)),)
                    if status.device_memory_bytes
                    else ()
                ),
            ),
        ),
        Table(
            "Held",
            ("what", "entries", "MiB", "of MiB", "hits", "misses", "dropped"),
            tuple(
                (
                    cache.name,
                    str(cache.entries),
                    _mib(cache.bytes),
                    _mib(cache.max_bytes),
                    *(
                        (str(cache.hits), str(cache.misses), str(cache.evictions))
                        if cache.name.startswith("embeddings")
                        else ("", "", "")
                    ),
                )
                for cache in status.caches
            ),
        ),
        Table(
            "Lanes",
            ("device", "waiting", "encoded", "decoded", "turns", "seconds", "embeddings", "MiB", "models"),
            # Of one lane everything is said elsewhere.
            tuple(_lane(lane) for lane in status.lanes) if len(status.lanes) > 1 else (),
        ),
        Table(
            "The model's thread, since the start",
            ("what", "turns", "items", "seconds"),
            tuple((turn.kind, str(turn.turns), str(turn.items), f"{turn.seconds:.1f}") for turn in status.turns),
        ),
        Table(
            "The last requests",
            ("method", "requests", "failed", "p50 ms", "p95 ms", "longest ms"),
            tuple(
                (m.method, str(m.requests), str(m.failed), f"{m.p50_ms:.0f}", f"{m.p95_ms:.0f}", f"{m.max_ms:.0f}")
                for m in status.methods
            ),
        ),
        Table(
            "The newest",
            ("method", "ago", "objects", "ms", "queue", "read", "encode", "decode", "trace", "code"),
            tuple(
                (
                    request.method,
                    duration(request.ago_s),
                    str(request.objects or ""),
                    f"{request.total_ms:.0f}",
                    *(
                        f"{ms:.0f}" if ms else ""
                        for ms in (
                            request.queue_ms,
                            request.read_ms,
                            request.encode_ms,
                            request.decode_ms,
                            request.trace_ms,
                        )
                    ),
                    request.code,
                )
                for request in status.recent
            ),
        ),
    ]
    return [table for table in found if table.rows]


def _lane(lane: pb.LaneStatus) -> tuple[str, ...]:
    items = {turn.kind: turn.items for turn in lane.turns}
    return (
        lane.name,
        str(sum(queue.waiting for queue in lane.queue)),
        str(items.get("encode", 0)),
        str(items.get("decode", 0)),
        str(sum(turn.turns for turn in lane.turns)),
        f"{sum(turn.seconds for turn in lane.turns):.1f}",
        str(lane.embeddings.entries),
        _mib(lane.embeddings.bytes),
        ", ".join(lane.loaded_models) or "none",
    )


def duration(seconds: float) -> str:
    """Return a time for people: "12 s", "3 min", "5 h", "2 d"."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _mib(size: int) -> str:
    return f"{size / _MIB:.0f}"
