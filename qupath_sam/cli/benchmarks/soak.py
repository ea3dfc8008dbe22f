"""``qupath-sam bench soak``: all that people do to a server in a week, for some minutes, and what is left of it.

Clients that are cut off in the middle of a call, requests that are cancelled, files that are no slides, models that
take turns, pixels that are pushed: beside them one client clicks, and each of its answers must be the one that the
server gave before all began. At the end nothing is left: no call, no waiting work, no decoding, and memory that does
not grow.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.benchmarks.server import PLACES, SCALE, click_once
from qupath_sam.client import SamClient, Slide
from qupath_sam.client.process import server_process
from qupath_sam.errors import PixelsMissing, QupathSamError, SlideError
from qupath_sam.machine.description import report
from qupath_sam.types.prompts import Click, ObjectPrompts

#: Seconds between two looks at the server's memory.
LOOK_EVERY_S = 1.0
#: Share of the time that belongs to warming up: caches fill.
WARM_UP = 1 / 3
#: How long the last calls may take to be gone, seconds.
PATIENCE_S = 60.0

Act = Callable[[str, random.Random, Counter[str]], None]


def run(*, minutes: float, model: str = "", seed: int = 0) -> dict[str, Any]:
    """Start a server and treat it badly.

    Args:
        minutes: for how long.
        model: the server's default model; empty takes the package's. It takes turns with "fake".
        seed: of what is done.

    Returns:
        ``schema``, ``machine``, ``minutes``, ``acts`` (how often each was done), ``wrong`` answers, ``unexpected``
        errors by act, ``stuck`` (what was left at the end), ``memory_mib.{first, last, slope_per_hour}`` after the
        warm-up.
    """
    with tempfile.TemporaryDirectory() as folder:
        return report("bench-soak", {"minutes": minutes, **_soak(minutes, model, seed, Path(folder))})


def _soak(minutes: float, model: str, seed: int, folder: Path) -> dict[str, object]:
    options = ["--max-calls", "128", "--log-level", "error", "--memory", "1"]
    acts: dict[str, Act] = {
        "cut off": _cut_off,
        "cancel": _cancel,
        "no slide": _NoSlides(folder),
        "other model": _other_model,
        "push": _push,
    }
    done: Counter[str] = Counter()
    with server_process([*options, *(["--model", model] if model else [])]) as address:
        with SamClient(address) as client:
            answers = {place: click_once(client, place) for place in PLACES[:12]}
        stop = threading.Event()
        threads = [
            threading.Thread(target=_repeat, args=(name, act, address, stop, f"{seed} {name}", done), daemon=True)
            for name, act in acts.items()
        ]
        threads.append(threading.Thread(target=_clicks, args=(address, answers, stop, done), daemon=True))
        for thread in threads:
            thread.start()
        memory = _watch(address, 60 * minutes)
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        done["act that never ended"] = sum(thread.is_alive() for thread in threads)
        stuck = _left(address)
    warm = memory[int(len(memory) * WARM_UP) :]
    return {
        "acts": {name: done[name] for name in ("click", *acts)},
        "wrong": done["wrong"],
        "unexpected": {name: count for name, count in done.items() if name.startswith("unexpected")},
        "stuck": stuck | {"acts": done["act that never ended"]},
        "memory_mib": {
            "first": round(warm[0][1], 1),
            "last": round(warm[-1][1], 1),
            "slope_per_hour": round(slope(warm) * 3600, 2),
        },
    }


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line through ``(x, y)`` samples by least squares; 0 of fewer than two."""
    x, y = np.array(samples, np.float64).reshape(-1, 2).T
    if len(x) < 2 or np.ptp(x) == 0:
        return 0.0
    return float(np.polyfit(x - x.mean(), y, 1)[0])


def _repeat(name: str, act: Act, address: str, stop: threading.Event, seed: str, done: Counter[str]) -> None:
    choice = random.Random(seed)
    while not stop.wait(choice.uniform(0.05, 0.3)):
        try:
            act(address, choice, done)
        except Exception as error:
            done[f"unexpected {type(error).__name__} in {name}: {error}"[:200]] += 1
        done[name] += 1


def _clicks(address: str, answers: dict[tuple[int, int], bytes], stop: threading.Event, done: Counter[str]) -> None:
    choice = random.Random("clicks")
    with SamClient(address) as client:
        while not stop.is_set():
            place = choice.choice(list(answers))
            try:
                done["wrong"] += click_once(client, place) != answers[place]
            except QupathSamError as error:
                done[f"unexpected {type(error).__name__} in click: {error}"[:200]] += 1
            done["click"] += 1


def _cut_off(address: str, choice: random.Random, done: Counter[str]) -> None:
    """Go away in the middle of a call."""
    with SamClient(address) as client, suppress(QupathSamError):
        live = client.live()
        x, y = choice.choice(PLACES)
        live.predict(Slide(demo_slide_path()), [ObjectPrompts((Click.at(x, y),))] * 8, window=SCALE)
        threading.Event().wait(choice.uniform(0, 0.2))


def _cancel(address: str, choice: random.Random, done: Counter[str]) -> None:
    """Cancel what has just been asked for, and replace it by something newer."""
    with SamClient(address) as client, client.live() as live:
        for _ in range(4):
            x, y = choice.choice(PLACES)
            future = live.predict(
                Slide(demo_slide_path()), [ObjectPrompts((Click.at(x, y),))], window=SCALE, supersedes_key="object"
            )
            if choice.random() < 0.5:
                future.cancel()


class _NoSlides:
    """Files that look like slides, and are none; each is made once."""

    def __init__(self, folder: Path) -> None:
        whole = demo_slide_path().read_bytes()
        contents = {
            "empty.svs": b"",
            "noise.tif": random.Random(0).randbytes(100_000),
            "half.tif": whole[: len(whole) // 2],
            "text.ndpi": b"no slide at all",
            "head.mrxs": whole[:64],
        }
        self._paths = [folder / name for name in contents]
        for path in self._paths:
            path.write_bytes(contents[path.name])

    def __call__(self, address: str, choice: random.Random, done: Counter[str]) -> None:
        """Ask for one of them; it is refused, or some of its places cannot be read."""
        with SamClient(address) as client, suppress(SlideError):
            client.predict(Slide(choice.choice(self._paths)), [ObjectPrompts((Click.at(9, 9),))])


def _other_model(address: str, choice: random.Random, done: Counter[str]) -> None:
    """Ask the other model."""
    x, y = choice.choice(PLACES)
    with SamClient(address) as client:
        client.predict(Slide(demo_slide_path()), [ObjectPrompts((Click.at(x, y),))], model="fake", window=SCALE)


def _push(address: str, choice: random.Random, done: Counter[str]) -> None:
    """Push pixels that nobody has pushed before, and click on them."""
    pixels = np.frombuffer(choice.randbytes(3 * 512 * 512), np.uint8).reshape(512, 512, 3)
    with SamClient(address) as client, suppress(PixelsMissing):
        client.predict(client.push(pixels), [ObjectPrompts((Click.at(200, 200),))], model="fake")


def _watch(address: str, seconds: float) -> list[tuple[float, float]]:
    """Return seconds and the server's memory, MiB, until the time is over."""
    samples: list[tuple[float, float]] = []
    end = time.monotonic() + seconds
    with SamClient(address) as client:
        while (now := time.monotonic()) < end or not samples:
            samples.append((now, client.status()["process_bytes"] / 2**20))
            threading.Event().wait(min(LOOK_EVERY_S, max(0.0, end - now)))
    return samples


def _left(address: str) -> dict[str, int]:
    """Return what is still under way once all clients have gone: everything that is not 0 is stuck."""
    end = time.monotonic() + PATIENCE_S
    with SamClient(address) as client:
        while True:
            status = client.status()
            decoding = next(cache["bytes"] for cache in status["caches"] if cache["name"] == "decoding")
            left = {
                "calls": status["calls"] - 1,  # this one
                "streams": status["streams"],
                "waiting": sum(queue["waiting"] for queue in status["queue"]),
                "decoding_bytes": decoding,
            }
            if not any(left.values()) or time.monotonic() > end:
                return left
            threading.Event().wait(0.5)
