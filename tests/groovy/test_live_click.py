"""Live clicking in QuPath's own window, by a person's mouse and keys, against a server with the default model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.geometry import Point, shape
from shapely.geometry.base import BaseGeometry

from qupath_sam.assets import demo_slide_path

from .conftest import FOLDER, PATIENCE_S, QuPath
from .discs import PLANES, overlap, write_stack
from .live_server import Server
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

CLICKER = "def clicker = gui.getStage().getProperties()['qupath-sam']\n"
#: What is being clicked, once nothing is awaited any more.
ANSWERED = (
    CLICKER
    + """
def view = clicker.@view
if (view == null || view.working() || view.clicks().size() != COUNT)
    return null
def wkb = new org.locationtech.jts.io.WKBReader()
[clicks: view.clicks().collect { [it.points()[0].x(), it.points()[0].y(), it.positive()] },
 outline: view.mask() == null ? null : wkb.read(view.mask().wkb()).toText(), message: view.message()]
"""
)
IDLE = CLICKER + "clicker.@session == null || clicker.@session.isEmpty()"
ANNOTATIONS = """
getAnnotationObjects().collect {
    [id: it.getID().toString(), class: it.getPathClass()?.toString(), outline: it.getROI().getGeometry().toText(),
     plane: [it.getROI().getZ(), it.getROI().getT()], metadata: new TreeMap(it.getMetadata())] }
"""
#: One by one: QuPath 0.5's undo records no change of many objects.
CLEAR = "def shown = getCurrentHierarchy(); shown.getAllObjects(false).each { shown.removeObject(it, true) }"
SLIDE = demo_slide_path()
#: A keratin core of the slide, and a place in the cavity beside it.
CORE, IN_CORE, LOW_IN_CORE, BESIDE = (1262.0, 2085.0), (1300.0, 2030.0), (1235.0, 2130.0), (1330.0, 2150.0)
#: An epithelial bud of the slide.
BUD = (1290.0, 690.0)
DOWNSAMPLE = 1.5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def project(qupath: QuPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slide, and a z/t stack of grey levels."""
    folder = tmp_path_factory.mktemp("live")
    write_stack(folder / "stack.tif")
    return qupath.make_project(folder / "project", [SLIDE, folder / "stack.tif"])


@pytest.fixture(scope="module")
def opened(qupath: QuPath, project: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    """The window with live_click as startup script, as `qupath-sam install-qupath` has put it there."""
    folder = tmp_path_factory.mktemp("window")
    assert qupath.user_directory is not None
    script = qupath.user_directory / "scripts" / "live_click.groovy"
    settings = {"QUPATH_SAM_PORT": server.port, "QUPATH_SAM_TIMEOUT": str(PATIENCE_S)}
    with open_window(qupath, project, SLIDE.name, folder, startup_script=script, **settings) as window:
        window.press("j")
        window.wait_for("gui.getToolManager().getSelectedTool().getName() == 'SAM'", "SAM tool by its key")
        yield window


@pytest.fixture
def window(opened: Window, tmp_path: Path) -> Iterator[Window]:
    """The window with no annotation and nothing being clicked; a screenshot of how a test has left it."""
    opened.open_image(SLIDE.name)
    opened.ask(f"{CLEAR}; PathPrefs.autoSetAnnotationClassProperty().set(getPathClass('Tumor'))")
    opened.look(1300, 2080, DOWNSAMPLE)
    yield opened
    opened.screenshot(tmp_path / "end.png")
    opened.press("Escape")
    opened.wait_for(IDLE, "end of the clicking")


def answered(window: Window, count: int) -> dict[str, Any]:
    """What is being clicked, as soon as its ``count`` clicks are answered."""
    answer = window.wait_for(ANSWERED.replace("COUNT", str(count)), f"answer to {count} clicks")
    assert answer["message"] == "", answer["message"]
    assert answer["outline"] is not None
    return {"clicks": answer["clicks"], "outline": shapely.from_wkt(answer["outline"])}


def kept(window: Window, count: int = 1) -> list[dict[str, Any]]:
    """The annotations, as soon as there are ``count`` and nothing is being clicked."""
    window.wait_for(IDLE, "end of the clicking")
    window.wait_for(f"getAnnotationObjects().size() == {count}", f"{count} annotations")
    found = window.ask(ANNOTATIONS)
    return [{**annotation, "outline": shapely.from_wkt(annotation["outline"])} for annotation in found]


def test_clicks_and_shift_add_and_alt_takes_away(window: Window, tmp_path: Path) -> None:
    window.click(*CORE)
    first = answered(window, 1)
    assert first["outline"].contains(Point(CORE))
    window.screenshot(tmp_path / "click.png")
    window.click(*IN_CORE)
    window.click(*LOW_IN_CORE, holding="shift")
    window.click(*BESIDE, holding="alt")
    last = answered(window, 4)
    window.screenshot(tmp_path / "more.png")
    assert [positive for _, _, positive in last["clicks"]] == [True, True, True, False]
    for (x, y, _), wanted in zip(last["clicks"], (CORE, IN_CORE, LOW_IN_CORE, BESIDE), strict=True):
        assert (x, y) == pytest.approx(wanted, abs=DOWNSAMPLE)  # a pixel of the screen
    for place in (CORE, IN_CORE, LOW_IN_CORE):
        assert last["outline"].contains(Point(place))
    assert not last["outline"].contains(Point(BESIDE))
    assert not window.ask(ANNOTATIONS), "a preview is no annotation"


def test_alt_first_is_explained_and_opens_no_menu(window: Window, tmp_path: Path) -> None:
    window.click(*CORE, holding="alt")
    window.wait_for(CLICKER + "clicker.@view?.message()?.contains('first')", "message")
    assert window.ask("gui.getMenuBar().getMenus().every { !it.isShowing() } && viewer.getView().isFocused()")
    window.screenshot(tmp_path / "message.png")
    window.press("Escape")
    window.wait_for(CLICKER + "!clicker.@view?.message()", "end of the message")
    assert window.ask(IDLE)


def test_undo_takes_back_the_last_click(window: Window) -> None:
    window.click(*CORE)
    first = answered(window, 1)
    window.click(*BESIDE, holding="shift")
    assert answered(window, 2)["outline"] != first["outline"]
    window.press("ctrl+z")
    again = answered(window, 1)
    assert again == first
    window.press("ctrl+z")
    window.wait_for(IDLE, "end of the clicking")
    assert not window.ask(ANNOTATIONS)


def test_escape_drops_even_what_is_awaited(window: Window) -> None:
    window.click(*CORE)
    window.press("Escape")
    window.wait_for(IDLE, "end of the clicking")
    window.click(*BESIDE)
    assert len(answered(window, 1)["clicks"]) == 1, "the dropped click lives on"
    window.press("Escape")
    window.wait_for(IDLE, "end of the clicking")
    window.press("Return")
    assert not window.ask(ANNOTATIONS)


def test_enter_keeps_one_annotation_that_one_undo_takes_back(window: Window, tmp_path: Path) -> None:
    window.click(*CORE)
    seen = answered(window, 1)["outline"]
    window.press("Return")
    (annotation,) = kept(window)
    window.screenshot(tmp_path / "kept.png")
    assert annotation["class"] == "Tumor"
    assert annotation["outline"].symmetric_difference(seen).area < 0.01 * seen.length  # QuPath rounds to 0.01 px
    window.press("ctrl+z")
    assert kept(window, 0) == []
    window.press("ctrl+shift+z")
    assert kept(window) == [annotation]


def test_keeping_twice_before_the_answer_keeps_once(window: Window, server: Server) -> None:
    with server.stopped():
        window.click(*CORE)
        window.press("Return", "Return")
        window.wait_for(CLICKER + "clicker.@view?.working()", "request under way")
        assert not window.ask(ANNOTATIONS)
    kept(window, 1)
    window.press("ctrl+z")
    assert kept(window, 0) == []


@pytest.mark.parametrize("outlined", [False, True], ids=["at once", "on an outline"])
def test_a_double_click_keeps_one_annotation(window: Window, outlined: bool) -> None:
    if outlined:
        window.click(*CORE)
        answered(window, 1)
    window.ask("PathPrefs.autoSetAnnotationClassProperty().set(getPathClass('Stroma'))")
    window.click(*(IN_CORE if outlined else CORE), times=2)
    (annotation,) = kept(window)
    assert annotation["class"] == "Stroma"
    assert annotation["metadata"]["qupath-sam.clicks"].count("+") == 1
    window.press("ctrl+z")
    assert kept(window, 0) == []


def test_kept_outlines_are_what_the_command_line_gives(
    window: Window, qupath: QuPath, project: Path, server: Server, tmp_path: Path
) -> None:
    window.click(*CORE)
    window.click(*IN_CORE, holding="shift")
    window.click(*BESIDE, holding="alt")
    answered(window, 3)
    window.press("Return")
    kept(window, 1)
    window.look(*BUD, 4)
    window.click(*BUD)
    window.press("Return")  # before the answer is there
    kept(window, 2)
    window.press("ctrl+s")
    window.wait_for("!viewer.getImageData().isChanged()", "saved image")
    export = qupath.script(FOLDER / "export_objects.groovy", "-a", str(tmp_path), "-p", str(project))
    assert export.exit_code == 0, export.output
    saved = json.loads((tmp_path / f"{SLIDE.name}.geojson").read_text())["features"]
    assert sorted(len(feature["properties"]["metadata"]["qupath-sam.clicks"].split()) for feature in saved) == [1, 3]
    for feature in saved:
        made = feature["properties"]["metadata"]
        again = segmented(server, made["qupath-sam.clicks"], made["qupath-sam.view_downsample"], tmp_path)
        assert made["qupath-sam.model"] == again["properties"]["metadata"]["qupath-sam.model"]
        assert same_outline(shape(feature["geometry"]), shape(again["geometry"]))


def test_a_server_killed_and_started_again_is_survived(window: Window, server: Server, tmp_path: Path) -> None:
    window.click(*CORE)
    answered(window, 1)
    server.kill()
    window.click(*BESIDE, holding="alt")
    window.wait_for(CLICKER + "clicker.@state?.name() == 'RECONNECTING'", "sign that the server has gone")
    window.screenshot(tmp_path / "waiting.png")
    server.start()
    last = answered(window, 2)
    assert not last["outline"].contains(Point(BESIDE))
    window.press("Return")
    (annotation,) = kept(window)
    made = annotation["metadata"]
    again = segmented(server, made["qupath-sam.clicks"], made["qupath-sam.view_downsample"], tmp_path)
    assert same_outline(annotation["outline"], shape(again["geometry"]))


def test_each_plane_of_a_stack_has_its_own_clicks(window: Window, tmp_path: Path) -> None:
    window.open_image("stack.tif")
    window.ask(CLEAR)
    window.look(300, 200, 1)
    window.ask("viewer.setZPosition(1); viewer.setTPosition(0)")
    window.click(*PLANES[1, 0])
    assert overlap(answered(window, 1)["outline"], PLANES[1, 0]) > 0.9
    window.ask("viewer.setZPosition(2); viewer.setTPosition(1)")
    window.click(*PLANES[2, 1])
    assert overlap(answered(window, 1)["outline"], PLANES[2, 1]) > 0.9
    window.screenshot(tmp_path / "stack.png")
    window.press("Return")
    (annotation,) = kept(window)
    assert annotation["plane"] == [2, 1]
    assert annotation["metadata"]["qupath-sam.pixels"] == "pushed (QuPath rendered RGB)"


def segmented(server: Server, clicks: str, downsample: str, folder: Path) -> dict[str, Any]:
    """What `qupath-sam segment` answers to the clicks of an annotation's metadata."""
    points = [
        part for click in clicks.split() for part in ("--point", click[1:] + ("" if click.startswith("+") else ",neg"))
    ]
    output = folder / "segmented.geojson"
    command = [sys.executable, "-m", "qupath_sam", "segment", str(SLIDE), "--server", f"127.0.0.1:{server.port}"]
    subprocess.run([*command, *points, "--view-downsample", downsample, "-o", str(output)], check=True, timeout=240)
    (feature,) = json.loads(output.read_text())["features"]
    assert isinstance(feature, dict)
    return feature


def same_outline(one: BaseGeometry, other: BaseGeometry) -> bool:
    """Vertex for vertex, but for the 0.01 px to which QuPath rounds."""
    return one.normalize().equals_exact(other.normalize(), 0.011)
