"""How long a click takes in QuPath's own window, from the mouse to the painted outline, beside the bare `bench click`.

    python -m pytest tests/groovy/test_click_time.py

prints both, p50 and p95. Run it on an idle machine; ``QUPATH_SAM_OBJECTS`` objects get five clicks each.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from qupath_sam.assets import demo_slide_path

from .conftest import PATIENCE_S, QuPath
from .live_server import Server
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(3000)]

MODEL = "lite_medsam_histology"
OBJECTS = int(os.environ.get("QUPATH_SAM_OBJECTS", "3"))
#: Places of the slide, level-0 px; and the clicks on an object there: px from the place, and the key that is held.
PLACES = [(500 + 300 * column, 700 + 400 * row) for row in range(4) for column in range(5)]
CLICKS = ((0, 0, None), (12, 6, "shift"), (60, -50, "alt"), (-10, 8, "shift"), (-60, 55, "alt"))
CLICKER = "def clicker = gui.getStage().getProperties()['qupath-sam']\n"
#: Notes when a button goes down, and when the outline of as many clicks is painted; it lies over the tool's overlay.
WATCH = """
import java.awt.Graphics2D
import javafx.event.EventHandler
import javafx.scene.input.MouseEvent
import qupath.lib.gui.viewer.overlays.AbstractOverlay
import qupath.lib.images.ImageData
import qupath.lib.regions.ImageRegion

class Watch extends AbstractOverlay {
    def stage
    def pressed = 0L, painted = 0L, clicks = 0

    Watch(options) { super(options) }

    void paintOverlay(Graphics2D g, ImageRegion region, double px, ImageData data, boolean complete) {
        def view = stage.getProperties()['qupath-sam'].@view
        if (pressed && !painted && view?.mask() != null && !view.working() && view.clicks().size() == clicks)
            painted = System.nanoTime()
    }
}
def watch = new Watch(viewer.getOverlayOptions())
watch.stage = gui.getStage()
gui.getStage().getProperties()['watch'] = watch
gui.getStage().addEventFilter(MouseEvent.MOUSE_PRESSED, { watch.pressed = System.nanoTime() } as EventHandler)
viewer.getCustomOverlayLayers().add(watch)
null
"""
WATCHED = "def watch = gui.getStage().getProperties()['watch']\n"
#: A question is compiled on the thread that paints: none is asked for so long after a click, s.
QUIET_S = 1.0


#: A click in the window takes at most so many times the bare one, and so many ms for the mouse, QuPath and painting.
AT_MOST, AROUND_MS = 3, 150


@pytest.fixture(scope="module")
def bare() -> dict[str, float]:
    """What `bench click` says, before QuPath runs."""
    return bench()


def bench() -> dict[str, float]:
    """What `bench click` says, ms."""
    command = [sys.executable, "-m", "qupath_sam", "bench", "click", "--model", MODEL, "--device", "cpu", "--json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(printed)["models"][MODEL]
    return {"first": found["first_click_ms"], **found["warm_click_ms"]}


@pytest.fixture(scope="module")
def window(bare: dict[str, float], qupath: QuPath, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    folder = tmp_path_factory.mktemp("window")
    server = Server(folder)
    project = qupath.make_project(folder / "project", [Path(demo_slide_path())])
    settings = {"QUPATH_SAM_PORT": server.port, "QUPATH_SAM_TIMEOUT": str(PATIENCE_S)}
    try:
        with open_window(qupath, project, Path(demo_slide_path()).name, folder, **settings) as opened:
            opened.wait_for(CLICKER + "clicker != null", "extension")
            opened.press("j")
            opened.wait_for(CLICKER + "clicker.@overlay != null", "SAM tool")
            opened.ask(WATCH)
            yield opened
    finally:
        server.kill()


def milliseconds(window: Window, x: float, y: float, count: int, key: str | None) -> float:
    """From the button to the outline that a click has on the screen."""
    window.ask(f"{WATCHED}watch.pressed = 0L; watch.painted = 0L; watch.clicks = {count}; null")
    window.point(x, y)
    click = ["click", "1"]
    window._xdotool(*(["keydown", key, *click, "keyup", key] if key else click))
    time.sleep(QUIET_S)
    pressed, painted = window.wait_for(WATCHED + "watch.painted ? [watch.pressed, watch.painted] : null", "outline")
    return (painted - pressed) / 1e6


def test_a_click_in_the_window_takes_little_more_than_the_bare_one(
    window: Window, bare: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    first, warm = [], []
    for place in PLACES[:OBJECTS]:
        window.look(*place, 1.5)
        time.sleep(2 * QUIET_S)  # the view is embedded ahead
        for count, (dx, dy, key) in enumerate(CLICKS, 1):
            taken = milliseconds(window, place[0] + dx, place[1] + dy, count, key)
            (first if count == 1 else warm).append(taken)
        window.press("Escape")
        window.wait_for(CLICKER + "clicker.@session.isEmpty()", "end of the clicking")
    with capsys.disabled():
        print(
            f"\nclick to outline, ms                 p50    p95\n"
            f"in the window, first click        {p(first, 0.5):6.0f} {p(first, 0.95):6.0f}\n"
            f"in the window, further clicks     {p(warm, 0.5):6.0f} {p(warm, 0.95):6.0f}\n"
            f"bench click, first click          {bare['first']:6.0f}\n"
            f"bench click, further clicks       {bare['p50']:6.0f} {bare['p95']:6.0f}"
        )
    assert len(warm) == OBJECTS * (len(CLICKS) - 1)
    assert 0.5 * bare["p50"] < p(warm, 0.5), "faster than the model: what was painted is no answer"
    if p(warm, 0.5) > AT_MOST * bare["p50"] + AROUND_MS:  # or the machine has become busy since
        bare = bench()
    assert p(warm, 0.5) <= AT_MOST * bare["p50"] + AROUND_MS, "the window adds more than it may"


def p(times: Sequence[float], share: float) -> float:
    ordered = sorted(times)
    return statistics.median(ordered) if share == 0.5 else ordered[min(len(ordered) - 1, int(share * len(ordered)))]
