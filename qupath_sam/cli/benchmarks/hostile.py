"""``qupath-sam bench hostile``: clients that make a server decode and hold as much as they can, and what it then takes.

Small files that decode to much, pushed pixels, outlines of very many vertices, windows embedded ahead, large requests
left unanswered on open streams: each hostile client does one after another, as fast as it is answered. Beside them one
person clicks, whose answers must be right. The memory that the server's process takes beyond that at rest must stay
within what the server says at its start: its budget, and messages on their way.
"""

from __future__ import annotations

import io
import random
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile
from PIL import Image
from shapely.geometry import Point

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.benchmarks.server import PLACES, SCALE, click_once
from qupath_sam.client import EmbedMode, SamClient, Slide
from qupath_sam.client.process import server_process
from qupath_sam.engine.settings import MIB
from qupath_sam.errors import QupathSamError, ServerBusy
from qupath_sam.machine.description import report
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import WindowRequest
from qupath_sam.types.service import PixelFormat

#: Seconds between two looks at the process.
LOOK_EVERY_S = 0.02
#: Sides of flat pictures and of TIFFs in one piece, px: at --memory 1 the first just fit, the second are too large.
PICTURE_SIDES, STRIP_SIDES = (4600, 8000), (6400, 11000)
#: Pictures of the first side: no cache holds all of them.
PICTURES = 8
#: Side of a picture of some KB that is pushed, px.
PUSHED_SIDE = 4400

Act = Callable[[SamClient, random.Random], None]


def run(
    *, clients: int, seconds: float, memory_gib: float = 1.0, message_mib: int = 8, model: str = "", seed: int = 0
) -> dict[str, Any]:
    """Start a server and attack it.

    Args:
        clients: hostile ones at once.
        seconds: for how long.
        memory_gib: the server's ``--memory``.
        message_mib: its ``--max-message-mib``.
        model: its default model; empty takes the package's.
        seed: of what is done.

    Returns:
        ``schema``, ``machine``, ``acts`` (how often each was done), ``refused`` and ``unexpected`` errors, ``clicks``
        and ``wrong`` answers of the person; ``memory_mib.{rest, peak, taken, budget, arriving, allowed}``, where
        ``taken`` is ``peak`` less ``rest``, and ``kept``: whether that is within ``allowed``.
    """
    max_calls = clients + 8
    said = ServerSettings(max_calls=max_calls, max_message_bytes=message_mib * MIB).within(int(memory_gib * 1024 * MIB))
    budget = int(memory_gib * 1024)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        acts = _acts(Path(folder), message_mib * MIB)
        options = ["--max-calls", str(max_calls), "--memory", str(memory_gib), "--max-message-mib", str(message_mib)]
        options += ["--log-level", "error", *(["--model", model] if model else [])]
        address = stack.enter_context(server_process(options))
        process = _listener_at(address)
        person = stack.enter_context(SamClient(address, timeout_s=600.0, busy_pauses_s=(0.5, 1, 2, 4, 8, 16, 32)))
        answers = {place: click_once(person, place) for place in PLACES[:6]}
        rest = process.memory_info().rss
        done: Counter[str] = Counter()
        stop = threading.Event()
        with _peak_of(process) as peak:
            threads = [
                threading.Thread(target=_attack, args=(address, acts, f"{seed} {number}", stop, done), daemon=True)
                for number in range(clients)
            ]
            threads.append(threading.Thread(target=_click, args=(person, answers, stop, done), daemon=True))
            for thread in threads:
                thread.start()
            stop.wait(seconds)
            stop.set()
            for thread in threads:
                thread.join(600.0)
        allowed = budget + said.arriving_bytes // MIB
        taken = (peak[0] - rest) // MIB
        content = {
            "clients": clients,
            "seconds": seconds,
            "model": model or "default",
            "acts": {name: done[name] for name in acts},
            "refused": {name[8:]: count for name, count in sorted(done.items()) if name.startswith("refused ")},
            "unexpected": {name: count for name, count in done.items() if name.startswith("unexpected")},
            "clicks": done["click"],
            "wrong": done["wrong"],
            "memory_mib": {
                "rest": rest // MIB,
                "peak": peak[0] // MIB,
                "taken": taken,
                "budget": budget,
                "arriving": said.arriving_bytes // MIB,
                "allowed": allowed,
            },
            "kept": taken <= allowed,
        }
        return report("bench-hostile", content)


def _listener_at(address: str) -> psutil.Process:
    """Return the server among this process's children."""
    port = int(address.rpartition(":")[2])
    for child in psutil.Process().children(recursive=True):
        if any(each.laddr.port == port for each in child.net_connections() if each.status == psutil.CONN_LISTEN):
            return child
    raise RuntimeError(f"no child of this process listens at {address}")


@contextmanager
def _peak_of(process: psutil.Process) -> Iterator[list[int]]:
    """Keep the most bytes that a process has had in memory, in a list of one, for the length of a ``with`` block."""
    peak, stop = [process.memory_info().rss], threading.Event()

    def look() -> None:
        while not stop.wait(LOOK_EVERY_S):
            peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _attack(address: str, acts: dict[str, Act], seed: str, stop: threading.Event, done: Counter[str]) -> None:
    choice = random.Random(seed)
    with SamClient(address, timeout_s=120.0) as client:
        while not stop.is_set():
            name = choice.choice(list(acts))
            try:
                acts[name](client, choice)
            except QupathSamError as error:
                done[f"refused {type(error).__name__}"] += 1
            except Exception as error:
                done[f"unexpected {type(error).__name__} in {name}: {error}"[:200]] += 1
            done[name] += 1


def _click(client: SamClient, answers: dict[tuple[int, int], bytes], stop: threading.Event, done: Counter[str]) -> None:
    choice = random.Random("click")
    while not stop.is_set():
        place = choice.choice(list(answers))
        try:
            done["wrong"] += click_once(client, place) != answers[place]
        except ServerBusy:
            done["refused click"] += 1
        except QupathSamError as error:
            done[f"unexpected {type(error).__name__} in click: {error}"[:200]] += 1
        done["click"] += 1


def _acts(folder: Path, message_bytes: int) -> dict[str, Act]:
    """Return what hostile clients do; its files are made here."""
    pictures = [_flat_picture(folder / "large.png", PICTURE_SIDES[1])]
    fitting = _flat_picture(folder / "0.png", PICTURE_SIDES[0]).read_bytes()
    for number in range(PICTURES):  # a slide of its own each
        pictures.append(folder / f"{number}.png")
        pictures[-1].write_bytes(fitting)
    strips = [_flat_strip(folder / f"{side}.tif", side) for side in STRIP_SIDES]
    bomb = io.BytesIO()
    Image.new("RGB", (PUSHED_SIDE, PUSHED_SIDE), (10, 200, 10)).save(bomb, "PNG")
    # A vertex has 16 bytes in WKB; nearly a whole message of them.
    outline = Point(1000, 1000).buffer(400, quad_segs=int(message_bytes * 0.9) // 64)
    click = [ObjectPrompts((Click.at(100, 100),))]

    def decode(client: SamClient, choice: random.Random) -> None:
        client.predict(Slide(choice.choice(pictures)), click, model="fake")

    def decode_strip(client: SamClient, choice: random.Random) -> None:
        x, y = choice.randrange(STRIP_SIDES[0] - 300), choice.randrange(STRIP_SIDES[0] - 300)
        client.predict(Slide(choice.choice(strips)), [ObjectPrompts((Click.at(x, y),))], model="fake")

    def push_bomb(client: SamClient, choice: random.Random) -> None:
        _push(client, bomb.getvalue() + choice.randbytes(8), PixelFormat.PNG, PUSHED_SIDE)

    def push_raw(client: SamClient, choice: random.Random) -> None:
        side = int((message_bytes * 0.9 / 3) ** 0.5)
        _push(client, choice.randbytes(3 * side * side), PixelFormat.RGB, side)

    def outlines(client: SamClient, choice: random.Random) -> None:
        client.predict(Slide(demo_slide_path()), [ObjectPrompts(outline=outline)], model="fake")

    def embed(client: SamClient, choice: random.Random) -> None:
        view = Region(0, 0, 2200, 2900)
        window = WindowRequest(downsample=choice.uniform(1.0, 3.0))
        slide = Slide(demo_slide_path())
        client.embed(slide, model="fake", view=view, window=window, max_windows=64, mode=EmbedMode.START)

    def unanswered(client: SamClient, choice: random.Random) -> None:
        live = client.live()
        asked = [
            live.predict(Slide(demo_slide_path()), [ObjectPrompts(outline=outline)], model="fake", window=SCALE)
            for _ in range(8)
        ]
        with suppress(TimeoutError):
            asked[0].exception(choice.uniform(0.1, 2.0))
        for future in asked:
            future.cancel()
        live.close()

    return {
        "decode": decode,
        "decode strip": decode_strip,
        "push bomb": push_bomb,
        "push raw": push_raw,
        "outlines": outlines,
        "embed": embed,
        "unanswered": unanswered,
    }


def _flat_picture(path: Path, side: int) -> Path:
    Image.new("RGB", (side, side), (90, 20, 90)).save(path)
    return path


def _flat_strip(path: Path, side: int) -> Path:
    pixels = np.zeros((side, side, 3), np.uint8)
    tifffile.imwrite(path, pixels, rowsperstrip=side, compression="zlib", photometric="rgb")
    return path


def _push(client: SamClient, data: bytes, pixel_format: PixelFormat, side: int) -> None:
    region = Region(0, 0, side, side)
    client.push_pixels(data, pixel_format=pixel_format, region=region, image_size=(side, side), pixel_size=(side, side))
