"""The jar in QuPath's own window, as an extension: menu, tool, and what a person does with it; with the fake model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from .conftest import PATIENCE_S, QuPath
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

CLICKER = "def clicker = gui.getStage().getProperties()['qupath-sam']\n"
VIEW = CLICKER + "def view = clicker.@view\n"
ANSWERED = VIEW + "view != null && !view.working() && view.mask() != null && view.clicks().size() == COUNT"
MENU = """
def sam = gui.getMenu('Extensions>SAM', false)
sam?.getItems()?.collect { it.getText() }
"""


@pytest.fixture(scope="module")
def window(qupath: QuPath, server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    folder = tmp_path_factory.mktemp("extension")
    images = []
    for name in ("one", "two"):
        picture = Image.new("RGB", (900, 700), (240, 225, 235))
        ImageDraw.Draw(picture).ellipse((250, 250, 350, 350), fill=(120, 60, 160))
        picture.save(folder / f"{name}.png")
        images.append(folder / f"{name}.png")
    project = qupath.make_project(folder / "project", images)
    settings = {"QUPATH_SAM_PORT": server, "QUPATH_SAM_TIMEOUT": str(PATIENCE_S)}
    with open_window(qupath, project, "one.png", folder, **settings) as opened:
        opened.wait_for(CLICKER + "clicker != null", "extension")
        yield opened


def answered(window: Window, count: int) -> None:
    window.wait_for(ANSWERED.replace("COUNT", str(count)), f"answer to {count} clicks")


def test_menu_and_tool_are_there_without_any_script(window: Window, tmp_path: Path) -> None:
    items = window.ask(MENU)
    wanted = ["Click tool", "Server...", "Segment selected", "Refine selected", "Settings...", "About"]
    assert [item for item in wanted if item not in items] == [], items
    window.press("j")
    window.wait_for("gui.getToolManager().getSelectedTool().getName() == 'SAM'", "SAM tool by its key")
    window.screenshot(tmp_path / "menu.png")
    assert "Loaded extension SAM" not in window.log.read_text() or "-1.-1.-1" not in window.log.read_text()


def test_many_clicks_boxes_strokes_and_the_next_outline(window: Window, tmp_path: Path) -> None:
    window.look(300, 300, 1)
    for step in range(6):  # on 0.1.0 the second of these kept the outline
        window.click(300 + 3 * step, 300)
    answered(window, 6)
    assert not window.ask("getAnnotationObjects().any { it.getMetadata().containsKey('qupath-sam.model') }")
    window.press("Escape")
    window.wait_for(CLICKER + "clicker.@session.isEmpty()", "end of the clicking")
    window.click(300, 300)
    answered(window, 1)
    choices = window.ask(VIEW + "view.choices()")
    assert choices > 1
    window.press("Tab")
    window.wait_for(VIEW + "view.choice() == 1", "next outline")
    window.screenshot(tmp_path / "tab.png")
    window.press("Escape")
    window.drag((240, 240), (370, 360))
    window.wait_for(VIEW + "view?.box() != null && view.mask() != null && !view.working()", "answer to the box")
    window.drag((280, 280), (320, 310), holding="shift")
    answered(window, 1)
    assert window.ask(VIEW + "view.clicks()[0].points().size() > 1"), "a stroke has several points"
    window.screenshot(tmp_path / "box.png")
    window.press("Escape")
    window.wait_for(CLICKER + "clicker.@session.isEmpty()", "end of the clicking")


def test_an_outline_waits_while_another_image_is_shown(window: Window, tmp_path: Path) -> None:
    """On 0.1.0 it vanished without a word."""
    window.look(300, 300, 1)
    window.click(300, 300)
    answered(window, 1)
    before = window.ask(VIEW + "view.mask().areaPx2()")
    window.open_image("two.png")
    window.wait_for(CLICKER + "clicker.@session == null", "other image")
    window.screenshot(tmp_path / "other.png")
    window.open_image("one.png")
    answered(window, 1)
    assert window.ask(VIEW + "view.mask().areaPx2()") == before
    window.press("Return")
    kept = "getAnnotationObjects().count { it.getMetadata().containsKey('qupath-sam.model') }"
    window.wait_for(f"{kept} == 1", "annotation")
    window.press("ctrl+z")
    window.wait_for(f"{kept} == 0", "undo")


def test_an_empty_viewer_does_no_harm_and_works_once_an_image_is_there(window: Window, tmp_path: Path) -> None:
    """On 0.1.0 a click there was a NullPointerException, and the tool stayed dead when an image was opened."""
    window.ask("viewer.getImageData().setChanged(false); viewer.resetImageData(); null")
    window.wait_for("viewer.getImageData() == null", "empty viewer")
    window.click_in_viewer()
    assert "NullPointerException" not in window.log.read_text()
    window.screenshot(tmp_path / "empty.png")
    window.ask(
        "def wanted = gui.getProject().getImageList().find { it.getImageName() == 'two.png' }\n"
        "gui.openImageEntry(wanted); null"
    )
    window.wait_for("getProjectEntry()?.getImageName() == 'two.png' && viewer.getImageData() != null", "image")
    window.look(300, 300, 1)
    window.click(300, 300)
    answered(window, 1)
    window.press("Escape")
    window.wait_for(CLICKER + "clicker.@session.isEmpty()", "end of the clicking")


def test_a_script_without_a_prompt_says_so_in_a_dialog(window: Window, tmp_path: Path) -> None:
    window.ask("resetSelection(); gui.lookupMenuItem('Extensions>SAM>Segment selected').fire(); null")
    shown = (
        "javafx.stage.Window.getWindows().findAll { it.isShowing() && it != gui.getStage() }"
        ".collect { it.getScene().getRoot() }"
        ".any { it.lookupAll('.label').any { l -> l.getText()?.contains('Nothing is selected') } }"
    )
    window.wait_for(shown, "dialog")
    window.screenshot(tmp_path / "dialog.png")
    window.click_on("it instanceof Button && it.getText() == 'OK'")
    assert "For help interpreting" not in window.log.read_text()


def test_the_server_dialog_says_what_is_there(window: Window, tmp_path: Path) -> None:
    window.ask("javafx.application.Platform.runLater { gui.lookupMenuItem('Extensions>SAM>Server...').fire() }; null")
    text = (
        "javafx.stage.Window.getWindows().findAll { it.isShowing() }.collect { it.getScene().getRoot() }"
        ".collectMany { it.lookupAll('.text-area') as List }.collect { it.getText() }"
        ".find { it?.contains('Models there') }"
    )
    told = window.wait_for(text, "description of the server")
    window.screenshot(tmp_path / "server.png")
    assert "lite_medsam_histology" in told
    assert "fake:" not in told
    window.click_on("it instanceof Button && it.getText() == 'Cancel'")
