"""The pictures of docs/qupath.md, taken in QuPath's own window with the default model.

    QUPATH_SAM_PICTURES=docs/images python -m pytest tests/groovy/test_pictures.py

Look at each before it is committed: that a picture is there says nothing of what it shows.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from qupath_sam.assets import demo_slide_path

from .conftest import FOLDER, PATIENCE_S, QuPath
from .live_server import Server
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(3000)]

MOST_BYTES = 120_000
#: Width and height of QuPath's window, px.
WINDOW = (1040, 700)
CLICKER = "def clicker = gui.getStage().getProperties()['qupath-sam']\n"
WINDOWS = "javafx.stage.Window.getWindows()"
VIEW = CLICKER + "def view = clicker.@view\n"
ANSWERED = VIEW + "view != null && !view.working() && view.mask() != null && view.clicks().size() == COUNT"
#: A keratin core of the slide, and places in it and beside it.
CORE, BESIDE = (1262.0, 2085.0), (1322.0, 1980.0)
SAM_SETTINGS = "gui.getPreferencePane().getPropertySheet().lookup('.accordion').getExpandedPane()?.getText() == 'SAM'"
#: The window of the preferences, and its height, px, at which all rows of SAM's category are in sight.
PREFERENCES, TALL = "gui.getPreferencePane().getPropertySheet().getScene().getWindow()", 800
ROWS_IN_SIGHT = """
def sheet = gui.getPreferencePane().getPropertySheet()
def scroller = sheet.lookup('.scroll-pane'), ours = sheet.lookup('.accordion').getExpandedPane()
def place = { y -> scroller.sceneToLocal(ours.localToScene(0, y)).y }
place(0) >= -1 && place(ours.getHeight()) <= scroller.getHeight() + 1
"""
#: Centre and downsample of a view of the whole slide: white compresses better than tissue.
WHOLE = (1100.0, 1480.0, 6.0)
#: Nuclei round here are outlined all at once.
NUCLEI = (1120, 820, 260, 200)


@pytest.fixture(scope="module")
def folder() -> Path:
    named = os.environ.get("QUPATH_SAM_PICTURES")
    if not named:
        pytest.skip("set QUPATH_SAM_PICTURES to the folder of the pictures to take them")
    return Path(named)


@pytest.fixture(scope="module")
def window(qupath: QuPath, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    place = tmp_path_factory.mktemp("pictures")
    server = Server(place)
    x, y, width, height = NUCLEI
    outline = f"rectangle {x} {y} {width} {height} 0 0 Region"
    arguments = place / "project", demo_slide_path(), "ROTATE_NONE", outline
    made = qupath.script(
        FOLDER / "make_planes_project.groovy", *(part for each in arguments for part in ("-a", str(each)))
    )
    assert made.exit_code == 0, made.output
    settings = {"QUPATH_SAM_PORT": server.port, "QUPATH_SAM_TIMEOUT": str(PATIENCE_S)}
    try:
        with open_window(
            qupath, place / "project" / "project.qpproj", Path(demo_slide_path()).name, place, **settings
        ) as opened:
            opened.wait_for(CLICKER + "clicker != null", "extension")
            opened.ask(
                "def stage = gui.getStage(); stage.setX(0); stage.setY(0); "
                f"stage.setWidth({WINDOW[0]}); stage.setHeight({WINDOW[1]}); null"
            )
            opened.ask("PathPrefs.autoSetAnnotationClassProperty().set(getPathClass('Tumor')); null")
            yield opened
    finally:
        server.kill()


@pytest.fixture
def take(window: Window, folder: Path, tmp_path: Path):
    """Takes a picture of a rectangle of the screen; of QuPath's window without one."""

    def picture(name: str, area: tuple[int, int, int, int] | None = None) -> None:
        window.screenshot(tmp_path / "screen.png")
        seen = Image.open(tmp_path / "screen.png").convert("RGB")
        seen = seen.crop(area or (0, 0, *WINDOW))
        for quality in (88, 80, 72, 64, 56):
            written = io.BytesIO()
            seen.save(written, "JPEG", quality=quality, optimize=True)
            if written.tell() < MOST_BYTES:
                break
        assert written.tell() < MOST_BYTES, name
        (folder / f"qupath_{name}.jpg").write_bytes(written.getvalue())

    return picture


def around(window: Window, x: float, y: float, width: int = 620, height: int = 420) -> tuple[int, int, int, int]:
    """The rectangle of the screen round a place of the image, within the viewer."""
    at = window.ask(
        f"def p = viewer.imagePointToComponentPoint(new Point2D.Double({x}, {y}), null, false)\n"
        "def s = viewer.getView().localToScreen(p.x, p.y)\n[s.x, s.y]"
    )
    left, top = round(at[0]) - width // 2, round(at[1]) - height // 2
    return left, top, left + width, top + height


def answered(window: Window, count: int) -> None:
    window.wait_for(ANSWERED.replace("COUNT", str(count)), f"answer to {count} clicks")


def test_the_click_tool(window: Window, take) -> None:
    window.press("j")
    window.wait_for("gui.getToolManager().getSelectedTool().getName() == 'SAM'", "SAM tool by its key")
    window.look(*CORE, 1.0)
    window.click(*CORE)
    answered(window, 1)
    place = around(window, *CORE)
    take("click", place)
    window.press("Tab")
    window.wait_for(VIEW + "view.choice() == 1", "next outline")
    take("tab", place)
    window.click(*BESIDE, holding="alt")
    answered(window, 2)
    take("take_away", place)
    window.press("Escape")
    window.drag((CORE[0] - 35, CORE[1] + 60), (CORE[0] + 40, CORE[1] - 70), holding="shift")
    answered(window, 1)
    window.drag((CORE[0] + 95, CORE[1] - 70), (CORE[0] + 75, CORE[1] + 60), holding="alt")
    answered(window, 2)
    take("strokes", place)
    window.right_click(CORE[0] + 10, CORE[1] + 10)
    window.wait_for("javafx.stage.Window.getWindows().any { it instanceof javafx.scene.control.ContextMenu }", "menu")
    left, top, right, bottom = place
    take("right_button", (left, top, right + 60, bottom + 60))
    window.click_on("it instanceof Label && it.getText() == 'Keep (Enter)'")
    window.wait_for("getAnnotationObjects().any { it.getPathClass()?.toString() == 'Tumor' }", "annotation")
    window.ask("gui.getToolManager().setSelectedTool(qupath.lib.gui.viewer.tools.PathTools.MOVE); null")
    window.look(*WHOLE)
    window.ask(
        "def tabs = gui.getAnalysisTabPane()\n"
        "tabs.getSelectionModel().select(tabs.getTabs().find { it.getText() == 'Annotations' }); null"
    )
    take("kept")


def test_menu_server_and_settings(window: Window, take) -> None:
    window.look(*WHOLE)
    window.click_on("it instanceof Label && it.getText() == 'Extensions'")
    window.click_on("it instanceof Label && it.getText() == 'SAM'")
    window.wait_for(
        "javafx.stage.Window.getWindows().count { it instanceof javafx.scene.control.ContextMenu } > 1", "menu"
    )
    take("menu")
    window.ask(f"{WINDOWS}.findAll {{ it instanceof javafx.scene.control.ContextMenu }}.each {{ it.hide() }}; null")
    window.ask("Platform.runLater { gui.lookupMenuItem('Extensions>SAM>Server...').fire() }; null")
    window.wait_for(
        "javafx.stage.Window.getWindows().findAll { it.isShowing() }.collect { it.getScene().getRoot() }"
        ".collectMany { it.lookupAll('.text-area') as List }.any { it.getText()?.contains('Models there') }",
        "description of the server",
    )
    take("server")
    window.click_on("it instanceof Button && it.getText() == 'Cancel'")
    window.ask("Platform.runLater { gui.lookupMenuItem('Extensions>SAM>Settings...').fire() }; null")
    window.wait_for(
        "javafx.stage.Window.getWindows().count { it.isShowing() && it instanceof javafx.stage.Stage } > 1", "settings"
    )
    window.wait_for(SAM_SETTINGS, "settings of SAM")
    # All rows: the preferences as tall as the screen, opened again so that QuPath scrolls to them once more.
    left, top, right, bottom = window.ask(
        f"def stage = {PREFERENCES}; stage.setY(0); stage.setHeight({TALL})\n"
        "[stage.getX(), stage.getY(), stage.getX() + stage.getWidth(), stage.getY() + stage.getHeight()]"
    )
    window.wait_for(f"{PREFERENCES}.getScene().getHeight() > {TALL - 80}", "tall preferences")
    window.ask("Platform.runLater { gui.lookupMenuItem('Extensions>SAM>Settings...').fire() }; null")
    window.wait_for(ROWS_IN_SIGHT, "all rows in sight")
    take("settings", (round(left), round(top), round(right), round(bottom)))
    window.ask(
        f"{WINDOWS}.findAll {{ it instanceof javafx.stage.Stage && it != gui.getStage() }}.each {{ it.hide() }}; null"
    )


def test_everything_in_a_region(window: Window, take) -> None:
    x, y, width, height = NUCLEI
    window.ask("gui.getViewerManager().showOverviewProperty().set(false); null")
    window.look(x + width / 2, y + height / 2, 0.6)
    window.ask("selectObjects(getAnnotationObjects().findAll { it.getName() == 'Region' }); null")
    window.ask("Platform.runLater { gui.lookupMenuItem('Extensions>SAM>Everything in selected').fire() }; null")
    window.wait_for("getDetectionObjects().size() > 0", "nuclei")
    window.ask("resetSelection(); null")
    time.sleep(3)  # QuPath paints detections in the background
    take("everything", around(window, x + width / 2, y + height / 2))
