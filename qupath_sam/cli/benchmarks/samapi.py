"""``qupath-sam bench samapi``: the same clicks in the same view, at a running samapi server and at one of this package.

samapi (https://github.com/ksugar/samapi, the server of qupath-extension-sam) takes the pixels of the view with each
click, as base64 of a PNG in JSON, and answers GeoJSON. It is not installed or started here; ours is. A click of its
client is: read the view, pack it, send it, parse the answer. The time to read the view is left out.
"""

from __future__ import annotations

import base64
import io
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from json import dumps, loads
from typing import Any

import httpx
import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import SamClient, Slide
from qupath_sam.client.messages import predict_request
from qupath_sam.errors import InvalidRequest, ServerUnavailable
from qupath_sam.machine.description import report
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.slides.open import open_slide
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import ObjectRequest, WindowRequest

#: Size of a view, px: a full-HD screen.
VIEW = (1920, 1080)
#: Corners of views of the demo slide at level 0; one after the other, so that the first click in each is cold.
CORNERS = ((100, 200), (230, 900), (160, 1500), (290, 1800))
#: Clicks in a view, px from its middle; the first is the cold one. Near to each other, as on one object.
CLICKS = ((0, 0), (12, 7), (-15, 10), (9, -14), (-6, -8))
#: samapi encodes on the first click, which takes half a minute with the largest model on two cores.
TIMEOUT_S = 300.0


def run(
    url: str, *, kind: str = "vit_b", views: int = len(CORNERS), model: str = DEFAULT_MODEL, device: str = "auto"
) -> dict[str, Any]:
    """Click in views at both servers, view by view in turns.

    Args:
        url: of the samapi server, "http://localhost:8000".
        kind: samapi's name of a model.
        views: how many views; after the last of `CORNERS` they begin again, a few px further.
        model: of our server, which is started here.
        device: of the same.

    Returns:
        ``schema``, ``machine``, ``samapi_version`` and ``servers.{samapi, qupath_sam}``, each with
        ``cold_click_ms``, ``warm_click_ms {p50, p95}``, ``request_bytes``, ``answer_bytes``, ``answers_ms`` (of warm
        clicks, from sending to the last byte, p50) and ``n``. Milliseconds and bytes.

    Raises:
        ServerUnavailable: no server answers there.
        InvalidRequest: what answers is not samapi.
    """
    with ExitStack() as stack:
        http = stack.enter_context(httpx.Client(base_url=url.rstrip("/"), timeout=TIMEOUT_S))
        version = _version(http, url)
        server = stack.enter_context(start_server(ServerSettings(port=0, model=model, device=device)))
        client = stack.enter_context(SamClient(server.address))
        theirs, ours = _Times(), _Times()
        # What only a very first call pays belongs to no click.
        _click_here(client, _Times(), (VIEW[0] / 2, VIEW[1] / 2), cold=True)
        for corner, pixels in _views(views):
            middle = corner[0] + VIEW[0] // 2, corner[1] + VIEW[1] // 2
            for number, (dx, dy) in enumerate(CLICKS):
                _click_there(http, theirs, pixels, kind, (VIEW[0] // 2 + dx, VIEW[1] // 2 + dy), cold=number == 0)
            for number, (dx, dy) in enumerate(CLICKS):
                _click_here(client, ours, (middle[0] + dx + 0.5, middle[1] + dy + 0.5), cold=number == 0)
    return report(
        "bench-samapi",
        {"samapi_version": version, "servers": {"samapi": theirs.figures(), "qupath_sam": ours.figures()}},
    )


class _Times:
    """Milliseconds and bytes of clicks."""

    def __init__(self) -> None:
        self.cold: list[float] = []
        self.warm: list[float] = []
        self.answers: list[float] = []
        self.request_bytes = self.answer_bytes = 0

    def add(self, began: float, sent: float, answered: float, *, cold: bool, request: int, answer: int) -> None:
        """Add a click that ends now; the others are seconds of `time.perf_counter`."""
        (self.cold if cold else self.warm).append((time.perf_counter() - began) * 1e3)
        if not cold:
            self.answers.append((answered - sent) * 1e3)
        self.request_bytes = max(self.request_bytes, request)
        self.answer_bytes = max(self.answer_bytes, answer)

    def figures(self) -> dict[str, Any]:
        """Return what `run` says."""
        ordered = sorted(self.warm)
        return {
            "cold_click_ms": round(statistics.median(self.cold), 2),
            "warm_click_ms": {
                "p50": round(statistics.median(ordered), 2),
                "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2),
            },
            "answers_ms": round(statistics.median(self.answers), 2),
            "request_bytes": self.request_bytes,
            "answer_bytes": self.answer_bytes,
            "n": len(ordered),
        }


def _views(count: int) -> Iterator[tuple[tuple[int, int], NDArray[np.uint8]]]:
    """Yield corners and pixels, uint8 ``(1080, 1920, 3)`` RGB. No two views have the same pixels."""
    reader = open_slide(demo_slide_path())
    try:
        for number in range(count):
            x, y = CORNERS[number % len(CORNERS)]
            corner = x + 3 * (number // len(CORNERS)), y
            yield corner, reader.read(Window(Region(*corner, *VIEW), *VIEW))
    finally:
        reader.close()


def _click_there(
    http: httpx.Client, times: _Times, pixels: NDArray[np.uint8], kind: str, place: tuple[int, int], *, cold: bool
) -> None:
    began = time.perf_counter()
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    body = dumps(
        {
            "type": kind,
            "point_coords": [list(place)],
            "point_labels": [1],
            "b64img": base64.b64encode(png.getvalue()).decode("ascii"),
            "multimask_output": False,
        }
    ).encode()
    sent = time.perf_counter()
    try:
        response = http.post("/sam/", content=body, headers={"content-type": "application/json"})
    except httpx.HTTPError as error:
        raise ServerUnavailable(
            f"samapi at {http.base_url} did not answer a click ({error}); is it running?"
        ) from error
    answered = time.perf_counter()
    _outlines(response)
    times.add(began, sent, answered, cold=cold, request=len(body), answer=len(response.content))


def _outlines(response: httpx.Response) -> Sequence[shapely.Geometry]:
    """Return the outlines of an answer, px of the view, as a client needs them."""
    if response.status_code != httpx.codes.OK:
        raise InvalidRequest(
            f"samapi answered a click with HTTP {response.status_code}: {response.text[:200]}; "
            "look at its log, and at the name of the model (--type)"
        )
    try:
        return [shapely.from_geojson(dumps(feature["geometry"])) for feature in loads(response.content)]
    except (ValueError, TypeError, KeyError, shapely.GEOSException) as error:
        raise InvalidRequest(
            f"{response.url} answers no list of GeoJSON features ({error}); give the URL of a samapi server"
        ) from error


def _click_here(client: SamClient, times: _Times, place: tuple[float, float], *, cold: bool) -> None:
    began = time.perf_counter()
    slide = Slide(demo_slide_path())
    objects = [ObjectRequest(ObjectPrompts((Click.at(*place),)))]
    window = WindowRequest(view_downsample=1.0, prefer_embedded=True)
    sent = time.perf_counter()
    prediction = client.predict(slide, objects, window=window)
    answered = time.perf_counter()
    # The client has parsed it already; of the answer, outlines are all but some hundred bytes.
    answer = sum(len(outline.geometry.wkb) for outline in prediction.results[0].outlines)
    request = predict_request(slide, objects, window=window).ByteSize()
    times.add(began, sent, answered, cold=cold, request=request, answer=answer)


def _version(http: httpx.Client, url: str) -> str:
    """Return what the server says of its version; empty where it says nothing."""
    try:
        response = http.get("/sam/version/")
    except httpx.HTTPError as error:
        raise ServerUnavailable(
            f"no server answers at {url} ({error}); start samapi there (uvicorn samapi.main:app) or correct --url"
        ) from error
    return response.text.strip().strip('"')[:40] if response.status_code == httpx.codes.OK else ""
