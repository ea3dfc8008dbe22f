"""Clicks on the demo slide as a person makes them: one object after another, through gRPC."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.benchmarks.busy import busy_processes
from qupath_sam.cli.benchmarks.figures import percentiles
from qupath_sam.client import SamClient, Slide
from qupath_sam.client.messages import predict_request
from qupath_sam.types.prompts import Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import ObjectRequest, WindowRequest

#: Scale of all windows, um per window px: the default model's own, so that no click changes its window.
SCALE = WindowRequest(downsample=2.0)
#: Places on the demo slide, level-0 px; each has tissue and a window of its own.
PLACES = ((1500, 400), (1800, 1000), (1300, 1300), (1700, 1700), (1200, 2200), (1800, 2500), (600, 1900), (500, 2600))
#: Clicks round a place, one after another, as offsets in level-0 px.
CLICKS = (
    (0, 0, Label.POSITIVE),
    (40, 25, Label.POSITIVE),
    (-110, 90, Label.NEGATIVE),
    (-35, -45, Label.POSITIVE),
    (120, -100, Label.NEGATIVE),
)
#: Level-0 px per screen px at which nuclei are clicked, what a viewer of 1200 x 800 screen px then shows, and nuclei in
#: it, each near the one before (`segment --everything` finds them there).
ROW_DOWNSAMPLE = 0.25
ROW_VIEW = Region(1050, 850, 300, 200)
NUCLEI = (
    *((1158.2, 928.8), (1153.8, 959.2), (1155.5, 996.0), (1190.2, 990.8), (1229.0, 993.0)),
    *((1229.2, 1027.8), (1201.2, 939.0), (1227.2, 915.8), (1221.0, 882.5), (1185.5, 885.5)),
)


class Clicks:
    """Clicks at one server, with the bytes of the largest request.

    Args:
        client: of that server, whose default model answers.
    """

    def __init__(self, client: SamClient) -> None:
        self._client = client
        self._slide = Slide(demo_slide_path())
        self.request_bytes = 0

    def warm_up(self) -> None:
        """Click once: what only the very first call pays (lazy imports, thread start) belongs to no click."""
        self._client.predict(self._slide, [ObjectPrompts(clicks=(Click.at(20.5, 20.5),))], window=SCALE)

    def on_object(self, place: tuple[int, int], *, before_warm: Callable[[], None] | None = None) -> list[float]:
        """Return the milliseconds of each click on one object.

        Args:
            place: of the first click, level-0 px.
            before_warm: is called before each further click.
        """
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

    def beside_busy(self, places: Sequence[tuple[int, int]], count: int) -> dict[str, Any]:
        """Time warm clicks beside so many busy processes, and the ratio to the same ones without, by turns."""
        alone: list[float] = []
        busy: list[float] = []
        # Each object a px further: none is known already, and all look at the windows of the objects before.
        for x, y in places:
            alone += self.on_object((x + 1, y))[1:]
            with busy_processes(count):
                busy += self.on_object((x + 2, y))[1:]
        ratio = statistics.median(busy) / statistics.median(alone)
        return {"processes": count, "warm_click_ms": percentiles(busy), "ratio_p50": round(ratio, 3)}

    def in_a_row(self, count: int, *, warm_p50: float) -> dict[str, Any]:
        """Click once on each of so many nuclei of one view, as in QuPath: the view is embedded before.

        Args:
            count: at most as many as `NUCLEI`.
            warm_p50: median of a warm click, milliseconds.

        Returns:
            ``n``, ``click_ms {p50, p95}``, ``encodes``: how many of them waited for an encode, and ``ratio_p50``: the
            median over ``warm_p50``.
        """
        window = WindowRequest(view_downsample=ROW_DOWNSAMPLE, prefer_embedded=True)
        centre = ROW_VIEW.x + ROW_VIEW.width / 2, ROW_VIEW.y + ROW_VIEW.height / 2
        self._client.embed(self._slide, window=window, view=ROW_VIEW, focus=centre)
        times: list[float] = []
        encodes = 0
        for x, y in NUCLEI[:count]:
            started = time.perf_counter()
            asked = [ObjectPrompts((Click.at(x, y),))]
            prediction = self._client.predict(self._slide, asked, window=window)
            times.append((time.perf_counter() - started) * 1e3)
            encodes += prediction.timings.encode > 0
        ratio = statistics.median(times) / warm_p50
        return {
            "n": len(times),
            "click_ms": percentiles(times),
            "encodes": encodes,
            "ratio_p50": round(ratio, 3),
        }
