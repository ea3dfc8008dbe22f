"""Two QuPaths at once on one project, and an image that is in no project; with the fake model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from .conftest import PATIENCE_S, SCRIPTS, QuPath, with_options
from .test_extension import AT_REST, CLICKER, DIALOG, DRAWN, OURS, answered, switch
from .test_in_qupath import GRID
from .test_menu import choose
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

RUNS = "Thread.getAllStackTraces().keySet().any { it.getName() == 'alone' }"
SAVE = "getProjectEntry().saveImageData(viewer.getImageData()); null"


def picture(file: Path) -> Path:
    made = Image.new("RGB", (900, 700), (240, 225, 235))
    ImageDraw.Draw(made).ellipse((250, 250, 350, 350), fill=(120, 60, 160))
    made.save(file)
    return file


def settings_of(server: str, folder: Path) -> dict[str, str]:
    (folder / "client.properties").touch()
    return {
        "QUPATH_SAM_PORT": server,
        "QUPATH_SAM_TIMEOUT": str(PATIENCE_S),
        "QUPATH_SAM_SETTINGS": str(folder / "client.properties"),
    }


def select(window: Window, name: str) -> None:
    window.ask(f"selectObjects(getAllObjects(false).findAll {{ it.getName() == '{name}' }}); null")


def kept_with_a_click(window: Window, count: int) -> None:
    if window.ask("gui.getToolManager().getSelectedTool().getName()") != "SAM":
        window.press("j")
    window.look(300, 300, 1)
    window.click(300, 300)
    answered(window, 1)
    window.press("Return")
    window.wait_for(f"{OURS}.size() == {count}", "kept outline")


@pytest.fixture(scope="module")
def alone(qupath: QuPath, server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    """QuPath with an image, and no project."""
    folder = tmp_path_factory.mktemp("alone")
    file = picture(folder / "one.png")
    # Else QuPath asks what kind of image it is.
    setting = folder / "image_type.groovy"
    setting.write_text(
        "import qupath.lib.gui.prefs.PathPrefs\n"
        "PathPrefs.imageTypeSettingProperty().set(PathPrefs.ImageTypeSetting.NONE)\n"
    )
    assert qupath.script(setting).exit_code == 0
    with open_window(qupath, None, str(file), folder, **settings_of(server, folder)) as opened:
        opened.wait_for(CLICKER + "clicker != null", "extension")
        assert opened.ask("gui.getProject()") is None
        yield opened


def test_a_click_without_a_project(alone: Window, tmp_path: Path) -> None:
    kept_with_a_click(alone, 1)
    alone.screenshot(tmp_path / "kept.png")
    alone.press("ctrl+z")
    alone.wait_for(f"{OURS}.size() == 0", "undo")


@pytest.mark.parametrize(
    ("command", "selected"), [("Segment selected", "point"), ("Refine selected", "rough")], ids=["segment", "refine"]
)
def test_a_command_without_a_project(alone: Window, command: str, selected: str) -> None:
    alone.ask(DRAWN)
    select(alone, selected)
    choose(alone, command)
    alone.wait_for(f"{OURS}.size() == 1 && {AT_REST}", "outline")


def test_a_command_of_a_stack_without_a_project(alone: Window) -> None:
    alone.ask(DRAWN)
    select(alone, "rough")
    choose(alone, "Propagate selected")
    alone.wait_for(f"{DIALOG}.any {{ it.contains('The image is one plane') }}", "sentence")
    alone.click_on("it instanceof Button && it.getText() == 'OK'")
    alone.wait_for(AT_REST, "end of the command")


@pytest.mark.parametrize("name", ["everything_in_selected", "everything_for_project", "refine_for_project"])
def test_a_script_without_a_project(alone: Window, tmp_path: Path, name: str) -> None:
    """Those for projects ended in a NullPointerException, after all the work: they copied what was not there."""
    alone.ask(DRAWN)
    select(alone, "around")
    text = (SCRIPTS / f"{name}.groovy").read_text("utf-8")
    script = tmp_path / f"{name}.groovy"
    script.write_text(with_options(text, GRID) if name.startswith("everything") else text, "utf-8")
    alone.ask(f"Thread.startDaemon('alone') {{ gui.runScript(new File('{script.as_posix()}'), null) }}; null")
    alone.wait_for(f"!({RUNS})", "end of the script")
    assert alone.ask(f"{OURS}.size()") > 0, alone.log.read_text()[-2000:]


def test_windows_of_the_menu_without_a_project(alone: Window, tmp_path: Path) -> None:
    choose(alone, "About")
    alone.wait_for(f"{DIALOG}.any {{ it.contains('Models there') }}", "window")
    alone.click_on("it instanceof Button && it.getText() == 'OK'")
    choose(alone, "Server...")
    alone.wait_for(f"{DIALOG}.any {{ it.contains('Models there') }}", "answer of the server")
    assert "Model" in alone.ask(DIALOG)
    alone.screenshot(tmp_path / "server.png")
    alone.click_on("it instanceof ComboBox")
    alone.write("fake")
    alone.click_on("it instanceof Button && it.getText() == 'OK'")
    alone.wait_for("gui.getStage().isFocused()", "main window")
    assert "model=fake\n" in (alone.log.parent / "client.properties").read_text()
    choose(alone, "Run for project>Everything...")
    editor = "gui.getScriptEditor().getStage()"
    alone.wait_for(f"{editor}?.isShowing()", "script editor")
    alone.ask(f"{editor}.hide(); null")


def quits_after_a_question(window: Window, image: str) -> None:
    """Click, and end QuPath without the outline: it was lost without a word."""
    window.click(600, 300)
    answered(window, 1)
    window.ask("Platform.runLater { gui.sendQuitRequest() }; null")
    window.wait_for(f"{DIALOG}.any {{ it.contains('neither kept nor dropped: {image}') }}", "question")
    window.screenshot(window.log.parent / "quit.png")
    window.click_on("it instanceof Button && it.getText() == 'Yes'")
    assert window.process.wait(PATIENCE_S) == 0


def test_two_windows_on_one_project(qupath: QuPath, server: str, tmp_path: Path) -> None:
    """Each has a click tool, settings and a connection of its own; each saves the image that it shows."""
    images = [picture(tmp_path / f"{name}.png") for name in ("one", "two")]
    project = qupath.make_project(tmp_path / "project", images)
    settings = settings_of(server, tmp_path)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with (
        open_window(qupath, project, "one.png", tmp_path / "first", **settings) as first,
        open_window(qupath, project, "two.png", tmp_path / "second", **settings) as second,
    ):
        windows = (first, second)
        for window in windows:
            window.wait_for(CLICKER + "clicker != null", "extension")
            window.ask("getCurrentHierarchy().clearAll(); null")
        # A setting is that of its window while both run.
        switch(first, "Click tool: make detections")
        for window in windows:
            kept_with_a_click(window, 1)
        assert [window.ask(f"{OURS}[0].isDetection()") for window in windows] == [True, False]
        for window in windows:
            window.ask(DRAWN)
            select(window, "point")
        for window in windows:
            choose(window, "Segment selected")
        for window in windows:
            window.wait_for(f"{OURS}.size() == 1 && {AT_REST}", "outline")
        # Both write the settings: what the one has set stays when the other presses OK.
        for window, model in ((first, "fake"), (second, "")):
            choose(window, "Server...")
            window.wait_for(f"{DIALOG}.any {{ it.contains('Models there') }}", "answer of the server")
            if model:
                window.click_on("it instanceof ComboBox")
                window.write(model)
            window.click_on("it instanceof Button && it.getText() == 'OK'")
            window.wait_for("gui.getStage().isFocused()", "main window")
        assert "model=fake\n" in (project.parent / "sam.properties").read_text()
        for window in windows:
            kept_with_a_click(window, 2)
            window.ask(SAVE)
            window.screenshot(window.log.parent / "end.png")
        quits_after_a_question(first, "one.png")
        kept_with_a_click(second, 3)
    found = qupath.objects(project)
    assert {image: len(objects) for image, objects in found.items()} == {"one.png": 4, "two.png": 4}
