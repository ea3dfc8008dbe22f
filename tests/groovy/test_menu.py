"""Extensions > SAM in QuPath's own window: more of its commands, the model of a project, settings for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from .conftest import PATIENCE_S, QuPath
from .test_extension import AT_REST, CLICKER, DIALOG, OURS, VIEW, answered, switch
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

#: Nine discs; the one in the middle is the example.
DISCS = [(x, y) for x in (250, 400, 550) for y in (200, 350, 500)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("menu")


@pytest.fixture(scope="module")
def window(qupath: QuPath, server: str, folder: Path) -> Iterator[Window]:
    picture = Image.new("RGB", (900, 700), (240, 225, 235))
    for x, y in DISCS:
        ImageDraw.Draw(picture).ellipse((x - 15, y - 15, x + 15, y + 15), fill=(90, 40, 140))
    picture.save(folder / "discs.png")
    project = qupath.make_project(folder / "project", [folder / "discs.png"])
    (folder / "client.properties").touch()
    settings = {
        "QUPATH_SAM_PORT": server,
        "QUPATH_SAM_TIMEOUT": str(PATIENCE_S),
        "QUPATH_SAM_SETTINGS": str(folder / "client.properties"),
    }
    with open_window(qupath, project, "discs.png", folder, **settings) as opened:
        opened.wait_for(CLICKER + "clicker != null", "extension")
        opened.ask("getCurrentHierarchy().clearAll(); null")
        opened.press("j")
        opened.look(400, 350, 1)
        yield opened


def choose(window: Window, command: str) -> None:
    """Run a command of the menu, as its item does."""
    window.ask(f"Platform.runLater {{ gui.lookupMenuItem('Extensions>SAM>{command}').fire() }}; null")


def dropped(window: Window) -> None:
    """End what is being clicked."""
    window.press("Escape")
    window.wait_for(CLICKER + "clicker.@session == null || clicker.@session.isEmpty()", "end of the clicking")


def test_space_pans_and_clicks_nothing(window: Window, tmp_path: Path) -> None:
    centre = "[viewer.getCenterPixelX(), viewer.getCenterPixelY()]"
    before = window.ask(centre)
    window.hold("space")
    window.drag((400, 350), (480, 400))
    window.let_go("space")
    window.screenshot(tmp_path / "panned.png")
    after = window.ask(centre)
    assert after[0] < before[0] - 30, "the image goes with the mouse"
    assert after[1] < before[1] - 20, "the image goes with the mouse"
    assert window.ask(CLICKER + "clicker.@session == null || clicker.@session.isEmpty()")
    assert window.ask("gui.getToolManager().getSelectedTool().getName()") == "SAM"
    window.look(400, 350, 1)
    window.click(400, 350)
    answered(window, 1)
    dropped(window)


@pytest.mark.parametrize("mpp", ["0.0d", "0.5d"], ids=["alone", "with um per pixel"])
def test_the_scale_of_the_preferences_is_that_of_a_click(window: Window, mpp: str) -> None:
    """With both scales every click ended in an exception."""
    switch(window, "Scale: downsample", "2.0d")
    switch(window, "Scale: um per pixel", mpp)
    try:
        window.click(400, 350)
        answered(window, 1)
        window.press("Return")
        window.wait_for(f"{OURS}.size() == 1", "kept object")
        assert window.ask(f"{OURS}[0].getMetadata()['qupath-sam.downsample']") == "2"
    finally:
        switch(window, "Scale: um per pixel", "0.0d")
        switch(window, "Scale: downsample", "0.0d")
        window.ask("getCurrentHierarchy().clearAll(); null")


def test_a_setting_that_cannot_be_is_a_warning(window: Window, tmp_path: Path) -> None:
    switch(window, "Smallest part", "-1.0d")
    try:
        window.click(400, 350)
        window.wait_for(CLICKER + "clicker.@overlay.warning?.contains('must be at least 0')", "warning")
        window.screenshot(tmp_path / "warning.png")
    finally:
        switch(window, "Smallest part", "0.0d")
    window.click(400, 350)
    answered(window, 1)
    dropped(window)


def test_about_says_version_and_licences(window: Window, tmp_path: Path) -> None:
    choose(window, "About")
    told = window.wait_for(f"{DIALOG}.find {{ it.contains('SAM for QuPath') }}", "window")
    window.screenshot(tmp_path / "about.png")
    assert "Apache-2.0" in told
    assert "Models there" in told
    window.click_on("it instanceof Button && it.getText() == 'OK'")


def test_the_command_finder_knows_the_commands(window: Window, tmp_path: Path) -> None:
    """QuPath's own list of all commands, by its key."""
    window.key("ctrl+l")
    tables = (
        "javafx.stage.Window.getWindows().findAll { it.isShowing() && it != gui.getStage() }"
        ".collectMany { it.getScene().getRoot().lookupAll('.table-view') as List }"
    )
    known = f"{tables}.collectMany {{ it.getItems() }}.collect {{ it.getCommandPath() + ' > ' + it.getText() }}"
    window.wait_for(f"{tables}.size() > 0", "command list")
    listed = window.ask(known)
    window.screenshot(tmp_path / "finder.png")
    window.key("Escape")
    for command in ("Segment selected", "All like selected", "Propagate selected", "Server...", "About"):
        assert any("SAM" in each and command in each for each in listed), (command, listed)


def test_a_project_keeps_its_model_and_tool_and_scripts_take_it(window: Window, folder: Path, tmp_path: Path) -> None:
    """Before, a model was chosen for all projects. Here the preferences name one that no server has."""
    switch(window, "Model", "'no_such_model'")
    try:
        window.click(400, 350)
        window.wait_for(VIEW + "view?.message()?.contains('no_such_model')", "refusal")
        dropped(window)
        choose(window, "Server...")
        window.wait_for(f"{DIALOG}.any {{ it.contains('Models there') }}", "answer of the server")
        assert "Model of this project" in window.ask(DIALOG)
        window.click_on("it instanceof ComboBox")
        window.write("fake")
        window.screenshot(tmp_path / "server.png")
        window.click_on("it instanceof Button && it.getText() == 'OK'")
        kept = folder / "project" / "sam.properties"
        window.wait_for(f"new File('{kept.as_posix()}').exists() && gui.getStage().isFocused()", "choice")
        assert "model=fake\n" in kept.read_text()
        assert "model" not in (folder / "client.properties").read_text()
        written = "io.github.qupathsam.extension.ScriptTexts.withSettings('NAME')"
        click = window.ask(written.replace("NAME", "live_click"))
        assert "modelElsewhere = 'no_such_model'" in click, "the choice of this project became that of all later ones"
        assert "\ndef model = ''" in window.ask(written.replace("NAME", "segment_for_project"))
        window.click(400, 350)
        answered(window, 1)
        dropped(window)
        point = "ROIs.createPointsROI(400, 350, viewer.getImagePlane())"
        window.ask(
            f"def drawn = PathObjects.createAnnotationObject({point}); addObject(drawn); selectObjects(drawn); null"
        )
        choose(window, "Segment selected")
        window.wait_for(f"{OURS}.size() == 1 && {AT_REST}", "outline")
        assert window.ask(f"{OURS}[0].getMetadata()['qupath-sam.model']") == "fake"
        kept.unlink()
        window.ask(CLICKER + "clicker.connect(); null")
    finally:
        switch(window, "Model", "''")
        window.ask("getCurrentHierarchy().clearAll(); null")


def test_all_like_selected_finds_the_other_discs_as_annotations(window: Window, folder: Path, tmp_path: Path) -> None:
    """With the packaged model, which the project chooses."""
    kept = folder / "project" / "sam.properties"
    kept.write_text("model=lite_medsam_histology\n")
    switch(window, "Everything, All like: make annotations")
    try:
        window.ask(
            "def example = PathObjects.createAnnotationObject("
            "ROIs.createEllipseROI(385, 335, 30, 30, viewer.getImagePlane()), getPathClass('Tumor'))\n"
            "addObject(example); selectObjects(example); null"
        )
        choose(window, "All like selected")
        window.wait_for(f"{OURS}.size() > 0 && {AT_REST}", "what is like it")
        window.screenshot(tmp_path / "like.png")
        found = window.ask(
            f"{OURS}.collect {{ [it.isAnnotation(), it.getROI().getCentroidX(), it.getROI().getCentroidY()] }}"
        )
        assert all(is_annotation for is_annotation, _, _ in found)
        others = [disc for disc in DISCS if disc != (400, 350)]
        hit = [disc for disc in others if any(abs(disc[0] - x) < 8 and abs(disc[1] - y) < 8 for _, x, y in found)]
        assert len(hit) >= 6, found
        window.wait_for("gui.getUndoRedoManager().canUndo().get()", "step of undo", seconds=60)
        window.screenshot(tmp_path / "found.png")
        window.press("ctrl+z")
        window.wait_for(f"{OURS}.size() == 0", "undo", seconds=60)
    finally:
        switch(window, "Everything, All like: make annotations", "false")
        kept.unlink()
        window.ask("getCurrentHierarchy().clearAll(); null")
