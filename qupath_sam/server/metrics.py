"""What Prometheus asks for: requests are counted as they end, the rest is what the server's status says when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from qupath_sam.server.request_log import LONG_METHODS, RequestRecord
from qupath_sam.v1 import status_pb2 as pb

#: Seconds; from a click in a window that is at hand to a first click on a slow machine.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The metrics of one server.

    Args:
        status: says what the server does now.
        certificate_expires: says until when its certificate is good, seconds since the epoch; None without one.

    Attributes:
        registry: what an exporter reads.
    """

    def __init__(
        self, status: Callable[[], pb.StatusResponse], certificate_expires: Callable[[], float] | None = None
    ) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "qupath_sam_requests", "Requests that have ended.", ["method", "code"], registry=self.registry
        )
        self._seconds = Histogram(
            "qupath_sam_request_seconds",
            "From a request to its end.",
            ["method"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._parts = Histogram(
            "qupath_sam_request_part_seconds",
            "Of a request: waiting for the model, reading, encoding, decoding, tracing.",
            ["method", "part"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_StatusCollector(status))
        if certificate_expires is not None:
            Gauge(
                "qupath_sam_certificate_expires_timestamp_seconds",
                "Until when the certificate of the port for clients is good.",
                registry=self.registry,
            ).set_function(certificate_expires)

    def add(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        self._requests.labels(record.method, record.code).inc()
        if record.method in LONG_METHODS:
            return  # as long as a person looks, or a region is large
        self._seconds.labels(record.method).observe(record.ms / 1e3)
        for part, ms in record.parts.items():
            self._parts.labels(record.method, part).observe(ms / 1e3)


class _StatusCollector(Collector):
    """Reads the status each time that it is asked."""

    def __init__(self, status: Callable[[], pb.StatusResponse]) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: a status that is asked for before there is a server would be in vain."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics, as they are now."""
        now = self._status()
        yield _gauge("up", "1 where the server is ready, 0 while it starts or stops.", now.phase == _SERVING)
        yield _gauge("calls", "Calls under way, streams included.", now.calls)
        yield _gauge("streams", "Open streams.", now.streams)
        yield _gauge("clients", "Clients with a call under way.", now.clients)
        yield _gauge("process_bytes", "Memory of the process.", now.process_bytes)
        yield _gauge("device_bytes", "Memory that torch holds on the device.", now.device_memory_bytes)
        models = dict.fromkeys(now.loaded_models, 1.0)
        yield _labelled(GaugeMetricFamily, "models_loaded", "1 for each model in memory.", "model", models)
        waiting = {queue.priority: float(queue.waiting) for queue in now.queue}
        yield _labelled(GaugeMetricFamily, "queue_waiting", "Work that waits for the model.", "priority", waiting)
        counted = [cache for cache in now.caches if cache.name.startswith("embeddings")]
        for name, said in _CACHE_GAUGES.items():
            held = {cache.name: float(getattr(cache, name)) for cache in now.caches}
            yield _labelled(GaugeMetricFamily, f"cache_{name}", said, "cache", held)
        for name, said in _CACHE_COUNTERS.items():
            looked = {cache.name: float(getattr(cache, name)) for cache in counted}
            yield _labelled(CounterMetricFamily, f"cache_{name}", said, "cache", looked)
        for name, said in _TURN_COUNTERS.items():
            done = {turn.kind: float(getattr(turn, name)) for turn in now.turns}
            yield _labelled(CounterMetricFamily, f"model_{name}", said, "kind", done)

        yield from _by_lane(now.lanes)


def _by_lane(lanes: Iterable[pb.LaneStatus]) -> Iterable[Metric]:
    """Yield what each device does."""
    waiting = GaugeMetricFamily("qupath_sam_lane_waiting", "Work that waits for a device.", labels=["lane", "priority"])
    held = GaugeMetricFamily("qupath_sam_lane_embedding_bytes", "Embeddings on a device.", labels=["lane"])
    done = {
        name: CounterMetricFamily(f"qupath_sam_lane_{name}", f"On a device: {said}", labels=["lane", "kind"])
        for name, said in _TURN_COUNTERS.items()
    }
    for lane in lanes:
        for queue in lane.queue:
            waiting.add_metric([lane.name, queue.priority], queue.waiting)
        held.add_metric([lane.name], lane.embeddings.bytes)
        for turn in lane.turns:
            for name, family in done.items():
                family.add_metric([lane.name, turn.kind], float(getattr(turn, name)))
    yield from (waiting, held, *done.values())


_SERVING = pb.SERVER_PHASE_SERVING
_CACHE_GAUGES = {
    "entries": "Entries held.",
    "bytes": "Bytes held.",
    "max_bytes": "Most bytes held.",
}
_CACHE_COUNTERS = {
    "hits": "Looked for and found.",
    "misses": "Looked for and not found.",
    "evictions": "Dropped for want of room.",
}
_TURN_COUNTERS = {
    "turns": "Turns of the inference thread: batches, where several items are in one.",
    "items": "Windows encoded and objects decoded.",
    "seconds": "Time of the inference thread.",
}


def _gauge(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(f"qupath_sam_{name}", said, value=float(value))


def _labelled(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    said: str,
    label: str,
    values: dict[str, float],
) -> Metric:
    family = kind(f"qupath_sam_{name}", said, labels=[label])
    for value, number in values.items():
        family.add_metric([value], float(number))
    return family
