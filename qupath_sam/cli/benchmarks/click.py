"""``qupath-sam bench click``: what a click costs beyond its mask decoder, and what the first one costs.

A click runs from building the request to the parsed geometry, through gRPC over loopback, one after another, as a
person's clicks do. The bare decoder (prompt encoder and mask decoder, same module, number format and threads as the
server uses, on the server's own inference thread) is timed between the clicks, in the same run, so that the ratio does
not depend on what else the machine is doing. Several ways to run a model (`Way`) take turns, object by object.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from qupath_sam.cli.benchmarks.click_network import decoders, time_prompts, window_pixels
from qupath_sam.cli.benchmarks.click_objects import PLACES, Clicks
from qupath_sam.cli.benchmarks.figures import percentiles, rounded
from qupath_sam.client import SamClient
from qupath_sam.errors import InvalidRequest
from qupath_sam.machine.description import report
from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.devices import Runtime
from qupath_sam.models.load import LoadedModel, load_segmenter
from qupath_sam.models.random_weights import load_random
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings

#: The table of `costs_table` in a document.
COSTS_TABLE = "qupath-sam bench click, costs"
#: Of models that take longer than this for a window and a click, seconds, fewer places are visited.
SLOW_S = 1.5


@dataclass(frozen=True, slots=True)
class Way:
    """What runs a model, and in which number format; see `qupath_sam.models.devices`."""

    runtime: str = "auto"
    precision: str = "auto"

    @classmethod
    def parse(cls, text: str) -> Way:
        """Read ``RUNTIME:PRECISION``, such as ``torch:fp32_eager``.

        Raises:
            InvalidRequest: it is no such pair. What each may be is checked when the model is loaded.
        """
        runtime, colon, precision = text.partition(":")
        if not (runtime and colon and precision):
            raise InvalidRequest(f"a way to run a model is RUNTIME:PRECISION, such as torch:bf16, not {text!r}")
        return cls(runtime, precision)

    def __str__(self) -> str:
        return f"{self.runtime}:{self.precision}"


def run(
    models: Sequence[str] = (DEFAULT_MODEL, "sam_vit_b"),
    *,
    rounds: int = 3,
    device: str = "auto",
    ways: Sequence[Way] = (Way(),),
    busy: int = 0,
    prompts: int = 0,
    row: int = 0,
) -> dict[str, Any]:
    """Time clicks of each model.

    Args:
        models: names; those whose weights are not here run with random ones, which is fine for timing.
        rounds: how often the first clicks' encodes are timed; a multiple of the places is visited for warm clicks.
        device: where models run.
        ways: to run each model, by turns in the same run. Models with random weights run in torch.
        busy: so many processes keep a core busy beside a second round of clicks; 0 leaves that out.
        prompts: so many clicks in one window are decoded in one call, and one by one; 0 leaves that out.
        row: so many nuclei of one view are clicked one after another; 0 leaves that out.

    Returns:
        ``schema``, ``machine`` and ``models.<name>.{request_bytes, encode_ms {p50, p95, fp32_eager}, decoder_ms (the
        same), first_click_ms, warm_click_ms {p50, p95}, ratio_p50, overhead_ms_p50, n}``; ``fp32_eager`` of models that
        have other formats alone. Beside them ``network_ms {p50, p95}`` and ``overhead_network_ms_p50``: all that the
        model itself does for a click, its refinement head included, and what gRPC, tracing and the rest add to that.
        Milliseconds.
        With ``busy`` also ``busy.{processes, warm_click_ms {p50, p95}, ratio_p50}``, the ratio to warm clicks of these
        places without; with ``prompts`` also ``prompts.{n, together_ms, single_ms, ratio}``; with ``row`` also
        ``row``, as `Clicks.in_a_row` says.
        With several ``ways`` the names are "<name>, <runtime>:<precision>", there is no ``fp32_eager``, and
        ``to_first_way.{encode, decoder, first_click, warm_click}`` are the medians over those of the first way.

    Raises:
        InvalidRequest: there is no such way on this machine.
    """
    found: dict[str, Any] = {}
    for name in models:
        found |= _time_model(name, rounds, device, ways, busy=busy, prompts=prompts, row=row)
    return report("bench-click", {"models": found})


def costs_table(results: Mapping[str, Any]) -> str:
    """Return what models cost as Markdown, from the results of `run`: a row a model, milliseconds, medians."""
    machine = results["machine"]
    lines = [
        "| model | weights | runs in | encode a window | first click | each further click | of it the model |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results["models"].items():
        weights = "random" if found["weights"] == "random" else "its own"
        times = (
            found["encode_ms"]["p50"],
            found["first_click_ms"],
            found["warm_click_ms"]["p50"],
            found["network_ms"]["p50"],
        )
        where = f"{found['runtime']}, {found['precision']}, {found['device']}"
        lines.append(f"| `{name}` | {weights} | {where} | {' | '.join(f'{each:.0f}' for each in times)} |")
    return (
        "\n".join(lines)
        + f"\n\nMilliseconds, medians; {machine['threads']} threads on {machine['cpu']} ({machine['instructions']}), "
        f"load {machine['load']}.\n"
    )


def _time_model(
    name: str, rounds: int, device: str, ways: Sequence[Way], *, busy: int, prompts: int, row: int
) -> dict[str, Any]:
    """Return the figures of a model, by its name, or by name and way where there are several."""
    with ExitStack() as stack:
        timed = [stack.enter_context(_TimedModel(name, device, way)) for way in ways]
        slow = any(each.is_slow for each in timed)
        for place in PLACES[:2] if slow else PLACES:
            for each in timed:
                each.visit(place)
        for _ in range(2 if slow else 2 * rounds):
            for each in timed:
                each.encode()
        if len(timed) == 1:
            timed[0].time_eager(1 if slow else rounds)
            return {name: timed[0].figures(busy=busy, prompts=prompts, row=row)}
        figures = [each.figures(busy=busy, prompts=prompts, row=row) for each in timed]
    for found in figures:
        found["to_first_way"] = {
            "encode": _ratio(found["encode_ms"]["p50"], figures[0]["encode_ms"]["p50"]),
            "decoder": _ratio(found["decoder_ms"]["p50"], figures[0]["decoder_ms"]["p50"]),
            "first_click": _ratio(found["first_click_ms"], figures[0]["first_click_ms"]),
            "warm_click": _ratio(found["warm_click_ms"]["p50"], figures[0]["warm_click_ms"]["p50"]),
        }
    return {f"{name}, {way}": found for way, found in zip(ways, figures, strict=True)}


class _TimedModel:
    """A server with one model, run in one way, and the milliseconds of what was asked of it. A context manager."""

    def __init__(self, name: str, device: str, way: Way) -> None:
        self._name, self._device = name, device
        self._random = not ModelStore().is_present(ModelStore().find(name))
        self._way = way
        self._stack = ExitStack()
        self._first: list[float] = []
        self._warm: list[float] = []
        self._decoders: list[float] = []
        self._networks: list[float] = []
        self._encodes: list[float] = []
        self._eager: tuple[float, float] | None = None
        self._places: list[tuple[int, int]] = []

    def __enter__(self) -> _TimedModel:
        settings = ServerSettings(port=0, model=self._name, device=self._device, warm_up=False)
        with self._stack as stack:
            self._server: RunningServer = stack.enter_context(start_server(settings))
            self._loaded = self._load(self._way)
            self._server.engine.models.put(self._loaded)
            self._clicks = Clicks(stack.enter_context(SamClient(self._server.address)))
            self._pixels = window_pixels()
            started = time.perf_counter()
            self._bare, self._whole = decoders(self._loaded.segmenter)
            self.is_slow = time.perf_counter() - started > SLOW_S
            self._clicks.warm_up()
            for call in (self._bare, self._whole):
                self._on_thread(call)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _load(self, way: Way) -> LoadedModel:
        if not self._random:
            return load_segmenter(self._name, device=self._device, precision=way.precision, runtime=way.runtime)
        if Runtime(way.runtime) is Runtime.OPENVINO:
            raise InvalidRequest(f"{self._name} has no weights here, and random ones run in torch; leave {way} out")
        return load_random(self._name, device=self._device, precision=way.precision)

    def visit(self, place: tuple[int, int]) -> None:
        """Click on the object at a place; before each warm click decoder and network run alone."""

        def beside() -> None:
            self._decoders.append(self._on_thread(self._bare))
            self._networks.append(self._on_thread(self._whole))

        elapsed = self._clicks.on_object(place, before_warm=beside)
        self._places.append(place)
        self._first.append(elapsed[0])
        self._warm += elapsed[1:]

    def encode(self) -> None:
        """Encode a window."""
        self._encodes.append(self._on_thread(lambda: self._loaded.segmenter.embed(self._pixels)))

    def time_eager(self, rounds: int) -> None:
        """Time encoder and decoder in `Precision.FP32_EAGER`, where the model has other formats beside it."""
        if not isinstance(self._loaded.segmenter, PromptableSegmenter | TwoDecoderSegmenter):
            return
        eager = self._load(Way("torch", "fp32_eager")).segmenter
        bare, _ = decoders(eager)
        encodes = [self._on_thread(lambda: eager.embed(self._pixels)) for _ in range(rounds)]
        again = [self._on_thread(bare) for _ in range(2 + 3 * rounds)]
        self._eager = statistics.median(encodes), statistics.median(again[2:])

    def figures(self, *, busy: int, prompts: int, row: int) -> dict[str, Any]:
        """Return what `run` says of a model."""
        decoder_p50, warm_p50 = statistics.median(self._decoders), statistics.median(self._warm)
        more: dict[str, Any] = {}
        if busy:
            more["busy"] = self._clicks.beside_busy(self._places, busy)
        if prompts:
            worker, segmenter = self._server.engine.worker, self._loaded.segmenter
            more["prompts"] = worker.run(lambda: time_prompts(segmenter, self._pixels, prompts))
        if row:
            more["row"] = self._clicks.in_a_row(row, warm_p50=warm_p50)
        encode, decoder = percentiles(self._encodes), percentiles(self._decoders)
        if self._eager is not None:
            encode["fp32_eager"], decoder["fp32_eager"] = map(rounded, self._eager)
        return {
            "weights": "random" if self._random else self._loaded.weights_sha256,
            "precision": self._loaded.precision,
            "runtime": self._loaded.runtime,
            "device": self._loaded.device,
            "request_bytes": self._clicks.request_bytes,
            "encode_ms": encode,
            "decoder_ms": decoder,
            "first_click_ms": rounded(statistics.median(self._first)),
            "warm_click_ms": percentiles(self._warm),
            "ratio_p50": round(warm_p50 / decoder_p50, 3),
            "overhead_ms_p50": _added(self._warm, self._decoders),
            "network_ms": percentiles(self._networks),
            "overhead_network_ms_p50": _added(self._warm, self._networks),
            "n": len(self._warm),
            **more,
        }

    def _on_thread(self, call: Callable[[], object]) -> float:
        """Return the milliseconds of a call on the server's inference thread."""

        def timed() -> float:
            started = time.perf_counter()
            call()
            return (time.perf_counter() - started) * 1e3

        return self._server.engine.worker.run(timed)


def _added(whole: Sequence[float], part: Sequence[float]) -> float:
    return rounded(statistics.median(w - p for w, p in zip(whole, part, strict=True)))


def _ratio(value: float, first: float) -> float:
    return round(value / first, 3)
