"""``qupath-sam bench click``: what a click costs beyond its mask decoder, and what the first one costs.

A click runs from building the request to the parsed geometry, through gRPC over loopback, one after another, as a
person's clicks do. The bare decoder (prompt encoder and mask decoder, same module, number format and threads as the
server uses, on the server's own inference thread) is timed between the clicks, in the same run, so that the ratio does
not depend on what else the machine is doing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.benchmarks.busy import busy_processes
from qupath_sam.client import SamClient, Slide
from qupath_sam.client.messages import predict_request
from qupath_sam.machine.description import report
from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.base import Segmenter, WindowPrompts
from qupath_sam.models.load import LoadedModel, load_segmenter
from qupath_sam.models.random_weights import load_random
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.slides.open import open_slide
from qupath_sam.types.prompts import Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import ObjectRequest, WindowRequest

#: The table of `costs_table` in a document.
COSTS_TABLE = "qupath-sam bench click, costs"
#: Scale of all windows, um per window px: the default model's own, so that no click changes its window.
SCALE = WindowRequest(downsample=2.0)
#: Places on the demo slide, level-0 px; each has tissue and a window of its own.
PLACES = ((1500, 400), (1800, 1000), (1300, 1300), (1700, 1700), (1200, 2200), (1800, 2500), (600, 1900), (500, 2600))
#: Of models that take longer than this for a window and a click, seconds, fewer places are visited.
SLOW_S = 1.5
#: Clicks round a place, one after another, as offsets in level-0 px.
CLICKS = (
    (0, 0, Label.POSITIVE),
    (40, 25, Label.POSITIVE),
    (-110, 90, Label.NEGATIVE),
    (-35, -45, Label.POSITIVE),
    (120, -100, Label.NEGATIVE),
)


def run(
    models: Sequence[str] = (DEFAULT_MODEL, "sam_vit_b"),
    *,
    rounds: int = 3,
    device: str = "auto",
    precision: str = "auto",
    runtime: str = "auto",
    busy: int = 0,
    prompts: int = 0,
) -> dict[str, Any]:
    """Time clicks of each model.

    Args:
        models: names; those whose weights are not here run with random ones, which is fine for timing.
        rounds: how often the first clicks' encodes are timed; a multiple of the places is visited for warm clicks.
        device: where models run.
        precision, runtime: how; see `qupath_sam.models.devices`. Models with random weights run in torch.
        busy: so many processes keep a core busy beside a second round of clicks; 0 leaves that out.
        prompts: so many clicks in one window are decoded in one call, and one by one; 0 leaves that out.

    Returns:
        ``schema``, ``machine`` and ``models.<name>.{request_bytes, encode_ms {p50, p95, fp32_eager}, decoder_ms (the
        same), first_click_ms, warm_click_ms {p50, p95}, ratio_p50, overhead_ms_p50, n}``; ``fp32_eager`` of models that
        have other formats alone. Beside them ``network_ms {p50, p95}`` and ``overhead_network_ms_p50``: all that the
        model itself does for a click, its refinement head included, and what gRPC, tracing and the rest add to that.
        Milliseconds.
        With ``busy`` also ``busy.{processes, warm_click_ms {p50, p95}, ratio_p50}``, the ratio to warm clicks of these
        places without; with ``prompts`` also ``prompts.{n, together_ms, single_ms, ratio}``.
    """
    return report(
        "bench-click",
        {
            "models": {
                name: _time_model(name, rounds, device, precision, runtime, busy=busy, prompts=prompts)
                for name in models
            }
        },
    )


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
    name: str, rounds: int, device: str, precision: str, runtime: str, *, busy: int, prompts: int
) -> dict[str, Any]:
    random = not ModelStore().is_present(ModelStore().find(name))

    def load(precision: str, runtime: str) -> LoadedModel:
        if random:
            return load_random(name, device=device, precision=precision)
        return load_segmenter(name, device=device, precision=precision, runtime=runtime)

    settings = ServerSettings(port=0, model=name, device=device, warm_up=False)
    with start_server(settings) as server, SamClient(server.address) as client:
        server.engine.models.put(load(precision, runtime))
        loaded = server.engine.models.get()
        slide = Slide(demo_slide_path())
        clicks = _Clicks(server, client, slide)
        started = time.perf_counter()
        bare, whole = _decoders(loaded.segmenter)
        slow = time.perf_counter() - started > SLOW_S
        places = PLACES[:2] if slow else PLACES
        first, warm, decoders, networks = clicks.time(places, decoder=bare, network=whole)
        pixels = _pixels(slide)
        encodes = [_on_thread(server, lambda: loaded.segmenter.embed(pixels)) for _ in range(2 if slow else 2 * rounds)]
        decoder_p50, warm_p50 = statistics.median(decoders), statistics.median(warm)
        more: dict[str, Any] = {}
        eager_encode: dict[str, float] = {}
        eager_decoder: dict[str, float] = {}
        if isinstance(loaded.segmenter, PromptableSegmenter | TwoDecoderSegmenter):  # the others have one format alone
            eager = load("fp32_eager", "torch").segmenter
            eager_bare, _ = _decoders(eager)
            again = [_on_thread(server, lambda: eager.embed(pixels)) for _ in range(1 if slow else rounds)]
            eager_encode["fp32_eager"] = _round(statistics.median(again))
            again = [_on_thread(server, eager_bare) for _ in range(2 + 3 * rounds)]
            eager_decoder["fp32_eager"] = _round(statistics.median(again[2:]))
        if busy:
            more["busy"] = clicks.beside_busy(places, busy)
        if prompts:
            more["prompts"] = server.engine.worker.run(lambda: time_prompts(loaded.segmenter, pixels, prompts))
        return {
            "weights": "random" if random else loaded.weights_sha256,
            "precision": loaded.precision,
            "runtime": loaded.runtime,
            "device": loaded.device,
            "request_bytes": clicks.request_bytes,
            "encode_ms": _percentiles(encodes) | eager_encode,
            "decoder_ms": _percentiles(decoders) | eager_decoder,
            "first_click_ms": _round(statistics.median(first)),
            "warm_click_ms": _percentiles(warm),
            "ratio_p50": round(warm_p50 / decoder_p50, 3),
            "overhead_ms_p50": _round(statistics.median(w - d for w, d in zip(warm, decoders, strict=True))),
            "network_ms": _percentiles(networks),
            "overhead_network_ms_p50": _round(statistics.median(w - d for w, d in zip(warm, networks, strict=True))),
            "n": len(warm),
            **more,
        }


class _Clicks:
    """Clicks as a person makes them: an object a place, one click after another, each with the last one's token."""

    def __init__(self, server: RunningServer, client: SamClient, slide: Slide) -> None:
        self._server = server
        self._client = client
        self._slide = slide
        self.request_bytes = 0

    def time(
        self, places: Sequence[tuple[int, int]], *, decoder: Callable[[], object], network: Callable[[], object]
    ) -> tuple[list[float], list[float], list[float], list[float]]:
        """Return the milliseconds of first clicks, of warm ones, and of decoder and network beside each warm one."""
        first: list[float] = []
        warm: list[float] = []
        decoders: list[float] = []
        networks: list[float] = []
        # What only the very first call pays (lazy imports, thread start) belongs to no click.
        self._client.predict(self._slide, [ObjectPrompts(clicks=(Click.at(20.5, 20.5),))], window=SCALE)
        for call in (decoder, network):
            _on_thread(self._server, call)

        def beside() -> None:
            decoders.append(_on_thread(self._server, decoder))
            networks.append(_on_thread(self._server, network))

        for place in places:
            elapsed = self._object(place, before_warm=beside)
            first.append(elapsed[0])
            warm += elapsed[1:]
        return first, warm, decoders, networks

    def beside_busy(self, places: Sequence[tuple[int, int]], count: int) -> dict[str, Any]:
        """Time warm clicks beside so many busy processes, and the ratio to the same ones without, by turns."""
        alone: list[float] = []
        busy: list[float] = []
        # Each object a px further: none is known already, and all look at the windows of the objects before.
        for x, y in places:
            alone += self._object((x + 1, y))[1:]
            with busy_processes(count):
                busy += self._object((x + 2, y))[1:]
        ratio = statistics.median(busy) / statistics.median(alone)
        return {"processes": count, "warm_click_ms": _percentiles(busy), "ratio_p50": round(ratio, 3)}

    def _object(self, place: tuple[int, int], *, before_warm: Callable[[], None] | None = None) -> list[float]:
        """Return the milliseconds of each click on one object."""
        x, y = place
        token, times = b"", []
        for count in range(1, len(CLICKS) + 1):
            clicks = tuple(Click.at(x + dx + 0.5, y + dy + 0.5, label) for dx, dy, label in CLICKS[:count])
            if count > 1 and before_warm is not None:
                before_warm()
            started = time.perf_counter()
            objects = [ObjectRequest(ObjectPrompts(clicks), "gland", token)]
            prediction = self._client.predict(self._slide, objects, window=SCALE)
            times.append((time.perf_counter() - started) * 1e3)
            token = prediction.results[0].token
            size = predict_request(self._slide, objects, window=SCALE).ByteSize()
            self.request_bytes = max(self.request_bytes, size)
        return times


def time_prompts(segmenter: Segmenter, pixels: NDArray[np.uint8], count: int) -> dict[str, Any]:
    """Time clicks on ``count`` places of one window, as one call of the model and as one call each.

    Args:
        segmenter: the model.
        pixels: uint8 ``(H, W, 3)`` of the window.
        count: how many clicks.

    Returns:
        ``n``, ``together_ms``, ``single_ms`` (all of them) and ``ratio``, the first over the second.
    """
    embedding = segmenter.embed(pixels)
    size = np.array(pixels.shape[1::-1])
    places = (np.random.default_rng(0).random((count, 1, 2)) * size).astype(np.float32)
    prompts = [WindowPrompts(place, np.ones(1, np.int64), last_click=1) for place in places]
    segmenter.decode(embedding, prompts[:1])
    started = time.perf_counter()
    segmenter.decode(embedding, prompts)
    together = time.perf_counter()
    for prompt in prompts:
        segmenter.decode(embedding, [prompt])
    single = time.perf_counter()
    return {
        "n": count,
        "together_ms": _round((together - started) * 1e3),
        "single_ms": _round((single - together) * 1e3),
        "ratio": round((together - started) / (single - together), 3),
    }


def _decoders(segmenter: Segmenter) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return two calls: prompt encoder and mask decoder alone, and the whole model; three clicks and a mask prompt.

    On the way it encodes a window and decodes a click.
    """
    pixels = _pixels(Slide(demo_slide_path()))
    embedding = segmenter.embed(pixels)
    size = segmenter.capabilities.input_size
    points = torch.tensor([[[0.5, 0.5], [0.6, 0.55], [0.3, 0.7]]]).numpy()[0] * size
    first = segmenter.decode(embedding, [WindowPrompts(points[:1], torch.ones(1, dtype=torch.int64).numpy())])[0]
    prompts = WindowPrompts(points, torch.tensor([1, 1, 0]).numpy(), None, first.logits[0], 1)
    whole = partial(segmenter.decode, embedding, [prompts])
    # Models of other kinds have no decoder that could be called alone.
    bare = (
        segmenter.bare_decoder(embedding, prompts)
        if isinstance(segmenter, PromptableSegmenter | TwoDecoderSegmenter)
        else whole
    )
    return bare, whole


def _pixels(slide: Slide) -> Any:
    reader = open_slide(slide.location)
    try:
        return reader.read(Window.of(Region(1200, 1200, 512, 512), 2.0))
    finally:
        reader.close()


def _on_thread(server: RunningServer, call: Callable[[], object]) -> float:
    """Return the milliseconds of a call on the server's inference thread."""

    def timed() -> float:
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1e3

    return server.engine.worker.run(timed)


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": _round(statistics.median(ordered)),
        "p95": _round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]),
    }


def _round(value: float) -> float:
    return round(value, 2)
