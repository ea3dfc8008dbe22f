"""``qupath-sam bench server``: many people at one server at once, against one of them alone.

Each client has a connection of its own, as from a machine of its own. First one client clicks alone, back to back: each
of its answers is kept, and every later answer to the same click must be the same to the byte. Then all click at once,
each as soon as it has its answer (closed loop), and then each at random times (open loop, Poisson). Latencies of the
open loop count from when the click was due, so that a server that falls behind cannot hide it.

Beside them may run a batch client (outlines of many objects, one call after another), an embedding client (views ahead
of clicks), and the refinement of a project's 1,000 annotations, in calls as large as `qupath-sam project refine` makes.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import shapely

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import Access, EmbedMode, SamClient, Slide
from qupath_sam.client.process import server_process
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.errors import InvalidRequest, QupathSamError
from qupath_sam.machine.description import report
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import WindowRequest

KINDS = ("clicks", "batch", "embed", "refine")
#: All clicks look at windows of one scale, which are at hand after the first round.
SCALE = WindowRequest(downsample=2.0)
_NUMBERS = itertools.count()
#: Places on the demo slide, level-0 px.
PLACES = tuple((x, y) for y in range(300, 2700, 240) for x in range(500, 2000, 300))
#: Objects of one batch call.
BATCH_OBJECTS = 16
#: Annotations that are refined, over and over, and how many of them one call has.
REFINED_OBJECTS = 1000
REFINED_AT_ONCE = 64
#: Share of what one client does alone that the open loop asks for.
OPEN_LOAD = 0.7


@dataclass(slots=True)
class Clicks:
    """What some clients have measured. Safe to use from several threads.

    Attributes:
        ms: latencies by kind and client.
        wrong: answers that differ from those of one client alone.
        failed: errors by name.
        answers: what one client alone was answered, by place.
        refined: annotations that were refined.
        last_click: when the last click was answered, on `time.perf_counter`'s clock.
    """

    answers: dict[tuple[int, int], bytes]
    ms: dict[str, dict[int, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    wrong: int = 0
    refined: int = 0
    last_click: float = 0.0
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, client: int, ms: float) -> None:
        """Take a latency."""
        with self.lock:
            self.ms[kind][client].append(ms)
            if kind == "clicks":
                self.last_click = time.perf_counter()

    def check(self, place: tuple[int, int], answer: bytes) -> None:
        """Count an answer that is not the one that a client alone gets."""
        with self.lock:
            self.wrong += self.answers.setdefault(place, answer) != answer


def run(
    *,
    clients: int,
    seconds: float,
    mix: Sequence[str] = KINDS[:1],
    model: str = "",
    address: str = "",
    access: Access | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a server.

    Args:
        clients: people who click at once.
        seconds: how long each part goes on.
        mix: "clicks", and what runs beside them.
        model: of a server that is started for it; empty takes the default.
        address: of a server that runs already; empty starts one.
        access: how it lets clients in.
        seed: of the places and times.

    Returns:
        ``schema``, ``machine``, ``clients``, ``seconds``, ``mix``; ``alone``, ``closed``, ``open``, each with
        ``per_s``, ``<kind>.{n, p50, p95, p99, max}`` in milliseconds, ``wrong``, ``failed`` and
        ``slowest_over_fastest`` of the clients' medians, ``refined`` annotations; ``closed.throughput_of_alone`` and
        ``closed.p95_over_alone`` of clicks.

    Raises:
        InvalidRequest: an unknown kind of load.
    """
    unknown = sorted(set(mix) - set(KINDS))
    if unknown or "clicks" not in mix:
        raise InvalidRequest(f"a mix is of {', '.join(KINDS)}, clicks among them; got {', '.join(mix)}")
    with _server(model, address) as found, ExitStack() as stack:
        people = [stack.enter_context(SamClient(found, access=access)) for _ in range(clients)]
        batch = stack.enter_context(SamClient(found, access=access, batch=True, busy_pauses_s=(0.5, 1, 2, 4)))
        ahead = stack.enter_context(SamClient(found, access=access))
        answers: dict[tuple[int, int], bytes] = {}
        for place in PLACES:  # encodes, which later clicks find at hand
            answers[place] = click_once(people[0], place)
        alone = _phase(Clicks(answers), [_closed(people[0], 0, seed)], seconds)
        parts = {"batch": _batch(batch), "embed": _embed(ahead), "refine": _refine(batch)}
        beside = [parts[kind] for kind in mix if kind != "clicks"]
        everybody = [_closed(person, number, seed) for number, person in enumerate(people)]
        closed = _phase(Clicks(answers), [*everybody, *beside], seconds)
        rate = OPEN_LOAD * alone["per_s"] / clients
        by_clock = [_open(person, number, seed, rate) for number, person in enumerate(people)]
        opened = _phase(Clicks(answers), [*by_clock, *beside], seconds)
    closed["throughput_of_alone"] = _ratio(closed["per_s"], alone["per_s"])
    closed["p95_over_alone"] = _ratio(closed["clicks"]["p95"], alone["clicks"]["p95"])
    opened["asked_per_s"] = round(OPEN_LOAD * alone["per_s"], 3)
    content = {"clients": clients, "seconds": seconds, "mix": list(mix), "model": model or "default"}
    return report("bench-server", {**content, "alone": alone, "closed": closed, "open": opened})


@contextmanager
def _server(model: str, address: str) -> Iterator[str]:
    if address:
        yield address
        return
    options = ["--max-calls", "256", "--log-level", "warning"]
    with server_process([*options, *(["--model", model] if model else [])]) as started:
        yield started


Part = Callable[[Clicks, float], None]


def _phase(clicks: Clicks, parts: Sequence[Part], seconds: float) -> dict[str, Any]:
    """Run the parts at once until their time is over, and say what they have measured."""
    started = time.perf_counter()
    threads = [threading.Thread(target=part, args=(clicks, started + seconds), daemon=True) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What runs beside may end later; its last call is no time in which nobody clicked.
    elapsed = max(clicks.last_click - started, 1e-9)
    medians = sorted(_quantile(sorted(times), 0.5) for times in clicks.ms["clicks"].values())
    return {
        "per_s": round(sum(map(len, clicks.ms["clicks"].values())) / elapsed, 3),
        **{kind: _summary([ms for times in by.values() for ms in times]) for kind, by in sorted(clicks.ms.items())},
        "slowest_over_fastest": round(medians[-1] / medians[0], 3) if medians else None,
        "clients_answered": len(medians),
        "refined": clicks.refined,
        "wrong": clicks.wrong,
        "failed": dict(clicks.failed),
    }


def _closed(client: SamClient, number: int, seed: int) -> Part:
    """Click, wait for the answer, click again."""

    def part(clicks: Clicks, end: float) -> None:
        choice = random.Random(f"{seed} {number}")
        while (started := time.perf_counter()) < end:
            _timed(clicks, client, number, choice.choice(PLACES), started)

    return part


def _open(client: SamClient, number: int, seed: int, rate: float) -> Part:
    """Click at random times, ``rate`` a second in the mean; what is due while the client waits counts as late."""

    def part(clicks: Clicks, end: float) -> None:
        choice = random.Random(f"{seed} {number}")
        due = time.perf_counter()
        while (due := due + choice.expovariate(rate)) < end:
            time.sleep(max(0.0, due - time.perf_counter()))
            _timed(clicks, client, number, choice.choice(PLACES), due)

    return part


def _batch(client: SamClient) -> Part:
    outlines = [shapely.Point(x, y).buffer(60) for x, y in PLACES[:BATCH_OBJECTS]]
    objects = [ObjectPrompts(outline=outline) for outline in outlines]

    def part(clicks: Clicks, end: float) -> None:
        while (started := time.perf_counter()) < end:
            try:
                client.predict(Slide(demo_slide_path()), objects, window=SCALE)
            except QupathSamError as error:
                with clicks.lock:
                    clicks.failed[type(error).__name__] += 1
            clicks.add("batch", 0, (time.perf_counter() - started) * 1e3)

    return part


def _refine(client: SamClient) -> Part:
    """Refine annotations call by call, as a run on a project does; the calls that are begun in time count."""
    choice = random.Random("refine")
    outlines = [
        shapely.Point(choice.randrange(300, 2000), choice.randrange(300, 2700)).buffer(choice.randrange(15, 60))
        for _ in range(REFINED_OBJECTS)
    ]
    parts = [
        [ObjectPrompts(outline=outline) for outline in outlines[start : start + REFINED_AT_ONCE]]
        for start in range(0, REFINED_OBJECTS, REFINED_AT_ONCE)
    ]

    def part(clicks: Clicks, end: float) -> None:
        for objects in itertools.cycle(parts):
            if (started := time.perf_counter()) >= end:
                return
            try:
                client.predict(Slide(demo_slide_path()), objects, refine=RefineOptions())
            except QupathSamError as error:
                with clicks.lock:
                    clicks.failed[type(error).__name__] += 1
                continue
            clicks.add("refine", 0, (time.perf_counter() - started) * 1e3)
            clicks.refined += len(objects)  # by this thread alone

    return part


def _embed(client: SamClient) -> Part:
    def part(clicks: Clicks, end: float) -> None:
        choice = random.Random("embed")
        while (started := time.perf_counter()) < end:
            x, y = choice.randrange(0, 1600), choice.randrange(0, 2300)
            try:
                client.embed(Slide(demo_slide_path()), view=Region(x, y, 600, 600), mode=EmbedMode.START)
            except QupathSamError as error:
                with clicks.lock:
                    clicks.failed[type(error).__name__] += 1
            clicks.add("embed", 0, (time.perf_counter() - started) * 1e3)
            time.sleep(0.5)  # as a person moves the view

    return part


def _timed(clicks: Clicks, client: SamClient, number: int, place: tuple[int, int], since: float) -> None:
    try:
        answer = click_once(client, place)
    except QupathSamError as error:
        with clicks.lock:
            clicks.failed[type(error).__name__] += 1
        return
    clicks.add("clicks", number, (time.perf_counter() - since) * 1e3)
    clicks.check(place, answer)


def click_once(client: SamClient, place: tuple[int, int]) -> bytes:
    """Click once on an object of its own; return the outlines and scores as bytes."""
    x, y = place
    # A view that nobody has had changes no answer at a given scale; a click that the server knows would cost nothing.
    window = replace(SCALE, view_downsample=1 + next(_NUMBERS) * 1e-9)
    result = client.predict(Slide(demo_slide_path()), [ObjectPrompts((Click.at(x + 0.5, y + 0.5),))], window=window)
    outlines = result.results[0].outlines
    return b"".join(shapely.to_wkb(outline.geometry) + repr(outline.score).encode() for outline in outlines)


def _summary(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    named = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {"n": len(ordered), **{name: round(_quantile(ordered, share), 1) for name, share in named.items()}}


def _ratio(value: float, of: float) -> float | None:
    return round(value / of, 3) if of else None


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of the sorted values that at least ``share`` of them do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.4999) - 1))]
