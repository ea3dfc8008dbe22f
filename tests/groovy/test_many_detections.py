"""Thousands of detections in one region, in QuPath's own window: progress, cancel, undo, save; with the fake model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qupath_sam.cli.benchmarks.region import write_repeated_slide

from .conftest import FOLDER, PATIENCE_S, SCRIPTS, QuPath, with_options
from .live_server import Server
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

SIDE, WANTED = 5000, 5000
#: A grid that the fake model answers with discs of 64 px that do not touch each other; um, at .5 um per px.
GRID = {
    "prompting": "'grid'",
    "spacing": "34",
    "minStability": "0.5",
    "downsample": "1",
    "searchBackground": "true",
}
#: How many detections there are, and what they have in common.
FOUND = """
def found = getDetectionObjects()
def scores = found.collect { it.getMeasurementList().get('SAM score') }
def areas = found.collect { it.getMeasurementList().get('Area µm^2') }
[count: found.size(), classes: found.collect { it.getPathClass()?.toString() }.toUnique(),
 parents: found.collect { it.getParent().getName() }.toUnique(), measurements: found[0]?.getMeasurements()?.size(),
 scores: scores.sum(), areas: areas.sum(), outlines: found.sum { it.getROI().getArea() }]
"""
COUNT = "getDetectionObjects().size()"
PROGRESS = (
    "javafx.stage.Window.getWindows().findAll { it instanceof javafx.stage.Stage && it.isShowing() && "
    "it.getTitle()?.startsWith('SAM: everything in') }.collectMany { it.getScene().getRoot().getChildren() as List }"
    ".findAll { it instanceof javafx.scene.control.Label }.collect { it.getText() }"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"), "--model", "fake")
    yield running
    running.kill()


@pytest.fixture(scope="module")
def project(qupath: QuPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 5,000 x 5,000 px, made of the packaged one, with a region over all of it."""
    folder = tmp_path_factory.mktemp("many")
    write_repeated_slide(folder / "large.tif", SIDE)
    arguments = folder / "project", folder / "large.tif", "ROTATE_NONE", f"rectangle 0 0 {SIDE} {SIDE} 0 0 Region"
    made = qupath.script(
        FOLDER / "make_planes_project.groovy", *(part for each in arguments for part in ("-a", str(each)))
    )
    assert made.exit_code == 0, made.output
    return folder / "project" / "project.qpproj"


@pytest.fixture(scope="module")
def window(qupath: QuPath, project: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    settings = {"QUPATH_SAM_PORT": server.port, "QUPATH_SAM_TIMEOUT": str(PATIENCE_S)}
    with open_window(qupath, project, "large.tif", tmp_path_factory.mktemp("window"), **settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (SCRIPTS / "everything_in_selected.groovy").read_text("utf-8")
    assert text.count("def foundClass = ''") == 1
    text = with_options(text, GRID).replace("def foundClass = ''", "def foundClass = 'Nucleus'")
    written = tmp_path_factory.mktemp("script") / "everything.groovy"
    written.write_text(text, "utf-8")
    return written


def start(window: Window, script: Path) -> None:
    """Run a script on the region, as QuPath's script editor does."""
    window.ask("selectObjects(getAnnotationObjects().findAll { it.getName() == 'Region' }); null")
    window.ask(f"Thread.startDaemon('many') {{ gui.runScript(new File('{script.as_posix()}'), null) }}; null")


def test_cancel_in_the_middle_keeps_nothing(window: Window, server: Server, script: Path, tmp_path: Path) -> None:
    start(window, script)
    some = f"{PROGRESS}.any {{ (it =~ /, (\\d+) objects/).any {{ found -> (found[1] as int) > {WANTED // 5} }} }}"
    window.wait_for(some, "progress")
    with server.stopped():  # else a fast machine comes to the end
        window.screenshot(tmp_path / "progress.png")
        told = window.ask(PROGRESS)
        window.click_on("it instanceof Button && it.getText() == 'Cancel'")
        window.click_on("it instanceof Button && it.getText() == 'OK'")
    assert window.ask(COUNT) == 0, told


def test_thousands_come_in_one_step_of_undo_and_are_there_when_the_image_is_opened_again(
    window: Window, qupath: QuPath, project: Path, script: Path, tmp_path: Path
) -> None:
    start(window, script)
    found = window.wait_for(f"{COUNT} > 0 ? ({{ {FOUND} }})() : null", "detections")
    check(found)
    window.wait_for("Thread.getAllStackTraces().keySet().every { it.getName() != 'many' }", "end of the script")
    window.screenshot(tmp_path / "found.png")
    window.press("ctrl+z")
    window.wait_for(f"{COUNT} == 0", "undo", seconds=60)
    assert window.ask("getAnnotationObjects().size()") == 1
    window.press("ctrl+shift+z")
    window.wait_for(f"{COUNT} == {found['count']}", "redo", seconds=60)
    window.press("ctrl+s")
    window.wait_for("!viewer.getImageData().isChanged()", "saved image")
    window.ask("viewer.resetImageData(); null")
    window.wait_for("viewer.getImageData() == null", "empty viewer")
    window.open_image("large.tif")
    again = window.wait_for(f"{COUNT} > 0 ? ({{ {FOUND} }})() : null", "detections that were saved")
    window.screenshot(tmp_path / "opened.png")
    assert same(again, found), (again, found)
    listed = qupath.objects(project)["large.tif"]
    assert (
        sum(each["class"] == "Nucleus" and "SAM score" in each["measurements"] for each in listed.values())
        == (found["count"])
    )


def check(found: dict[str, Any]) -> None:
    assert found["count"] >= WANTED
    assert found["classes"] == ["Nucleus"]
    assert found["parents"] == ["Region"]
    assert found["measurements"] > 4, "score, and measurements of the shape"
    assert found["areas"] == pytest.approx(found["outlines"] * 0.25, rel=1e-3), "um2 at .5 um per px"
    assert 0.9 < found["scores"] / found["count"] < 1


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """But for the order in which sums are made."""
    return one.keys() == other.keys() and all(
        one[key] == (pytest.approx(other[key], rel=1e-6) if isinstance(other[key], float) else other[key])
        for key in one
    )
