"""What a server does now, put together of what its parts say of themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import psutil

from qupath_sam import __version__
from qupath_sam.engine.urgency import Priority
from qupath_sam.server.clients import CallsUnderWay
from qupath_sam.server.message_memory import MessageMemory
from qupath_sam.server.phase import Lifecycle, Phase
from qupath_sam.server.recent import RecentRequests
from qupath_sam.v1 import status_pb2 as pb

if TYPE_CHECKING:  # which load torch: a server says what it does before that is there
    from qupath_sam.engine.engine import Engine
    from qupath_sam.engine.lanes import Lane
    from qupath_sam.server.images import Images

_PHASES = {Phase.SERVING: pb.SERVER_PHASE_SERVING, Phase.STOPPING: pb.SERVER_PHASE_STOPPING}


@dataclass(slots=True)
class StatusSource:
    """Says what a server does. Safe to use from several threads.

    Attributes:
        lifecycle: its phase.
        calls: what is under way.
        messages: the memory of requests that have arrived.
        recent: what has ended.
        engine, images: what does the work; None while the server starts.
    """

    lifecycle: Lifecycle
    calls: CallsUnderWay
    messages: MessageMemory
    recent: RecentRequests = field(default_factory=RecentRequests)
    engine: Engine | None = None
    images: Images | None = None

    def status(self) -> pb.StatusResponse:
        """Return the state of everything, now."""
        under_way = self.calls.by_client()
        phase = self.lifecycle.phase
        response = pb.StatusResponse(
            server_version=__version__,
            phase=_PHASES.get(phase, pb.SERVER_PHASE_STARTING),
            phase_text=self.lifecycle.words,
            uptime_s=time.monotonic() - self.lifecycle.started,
            clients=len(under_way),
            calls=sum(calls for calls, _ in under_way.values()),
            streams=sum(streams for _, streams in under_way.values()),
            max_calls=self.calls.max_calls,
            process_bytes=psutil.Process().memory_info().rss,
            methods=self.recent.by_method(),
            recent=self.recent.newest(),
        )
        if self.engine is not None:
            _add_engine(response, self.engine)
        if self.images is not None:
            _add_images(response, self.images)
        messages = self.messages
        response.caches.add(name="messages", bytes=messages.taken_bytes, max_bytes=messages.max_bytes)
        return response

    def answer(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:
        """Answer the rpc."""
        return self.status()


def _add_engine(response: pb.StatusResponse, engine: Engine) -> None:
    lanes = engine.lanes.all
    response.device = ", ".join(lane.models.device for lane in lanes)
    response.default_model = engine.models.default
    response.loaded_models.extend(engine.loaded_models())
    response.device_memory_bytes = engine.models.device_bytes()
    response.lanes.extend(_lane(number, lane) for number, lane in enumerate(lanes))
    for index, priority in enumerate(sorted(Priority, reverse=True)):
        waiting = sum(lane.queue[index].waiting for lane in response.lanes)
        response.queue.add(priority=priority.name.lower(), waiting=waiting)
    response.caches.append(_sum_of([lane.embeddings for lane in response.lanes]))
    disks = [lane.embeddings.disk for lane in lanes if lane.embeddings.disk is not None]
    if disks:
        # All lanes keep theirs in one folder.
        counts = [disk.recent_stats() for disk in disks]
        response.caches.add(
            name="embeddings on disk",
            entries=max(each.entries for each in counts),
            bytes=max(each.size_bytes for each in counts),
            max_bytes=disks[0].max_bytes,
            hits=sum(each.hits for each in counts),
            misses=sum(each.misses for each in counts),
            evictions=sum(each.evictions for each in counts),
        )
    states = engine.states
    response.caches.add(name="states", entries=len(states), bytes=states.size_bytes, max_bytes=states.max_bytes)
    for kind in dict.fromkeys(turn.kind for lane in response.lanes for turn in lane.turns):
        some = [turn for lane in response.lanes for turn in lane.turns if turn.kind == kind]
        response.turns.add(
            kind=kind,
            turns=sum(turn.turns for turn in some),
            items=sum(turn.items for turn in some),
            seconds=sum(turn.seconds for turn in some),
        )


def _lane(number: int, lane: Lane) -> pb.LaneStatus:
    waiting, memory = lane.worker.waiting_by_priority, lane.embeddings.memory
    counts = memory.stats()
    return pb.LaneStatus(
        name=f"{number} {lane.models.device}",
        loaded_models=lane.models.loaded(),
        queue=[
            pb.QueueStatus(priority=priority.name.lower(), waiting=waiting[priority])
            for priority in sorted(Priority, reverse=True)
        ],
        turns=[
            pb.TurnStatus(kind=kind, turns=done.turns, items=done.items, seconds=done.seconds)
            for kind, done in lane.worker.turns.so_far().items()
        ],
        embeddings=pb.CacheStatus(
            name="embeddings",
            entries=counts.entries,
            bytes=counts.size_bytes,
            max_bytes=memory.max_bytes,
            hits=counts.hits,
            misses=counts.misses,
            evictions=counts.evictions,
        ),
    )


def _sum_of(caches: Sequence[pb.CacheStatus]) -> pb.CacheStatus:
    """Return the sum of caches of one name."""
    names = "entries", "bytes", "max_bytes", "hits", "misses", "evictions"
    return pb.CacheStatus(
        name=caches[0].name, **{name: sum(getattr(cache, name) for cache in caches) for name in names}
    )


def _add_images(response: pb.StatusResponse, images: Images) -> None:
    if images.slides is not None:
        slides = images.slides
        limit = slides.max_bytes or 0
        response.caches.add(name="slides", entries=len(slides), bytes=slides.held_bytes, max_bytes=limit)
    pushed, memory = images.pushed, images.memory
    response.caches.add(name="pushed pixels", entries=len(pushed), bytes=pushed.size_bytes, max_bytes=pushed.max_bytes)
    response.caches.add(name="decoding", bytes=memory.taken_bytes, max_bytes=memory.max_bytes)
