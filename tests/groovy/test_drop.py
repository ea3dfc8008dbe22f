"""The jar, dragged by the mouse onto QuPath's window, as docs/qupath.md says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from PIL import Image

from qupath_sam.errors import QupathSamError
from qupath_sam.qupath.install import find_jar

from .conftest import QuPath
from .window import open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

#: A window of another owner, from which a file is dragged as from a file manager.
SOURCE = """
import javafx.event.EventHandler
import javafx.scene.Scene
import javafx.scene.control.Label
import javafx.scene.input.ClipboardContent
import javafx.scene.input.TransferMode
import javafx.stage.Stage
def label = new Label('JAR')
label.setId('drag-source')
label.setMinSize(160, 80)
label.setOnDragDetected({ event ->
    def content = new ClipboardContent()
    content.putFiles([new File('JAR')])
    label.startDragAndDrop(TransferMode.COPY).setContent(content)
    event.consume()
} as EventHandler)
def stage = new Stage()
stage.setScene(new Scene(label))
stage.setX(1000)
stage.setY(600)
stage.show()
null
"""
MENU = "gui.getMenu('Extensions>SAM', false)?.getItems()?.collect { it.getText() } ?: []"


def test_the_jar_is_dragged_onto_the_window(bare_qupath: QuPath, tmp_path: Path) -> None:
    try:
        jar = find_jar()
    except QupathSamError as absent:
        pytest.skip(str(absent))
    user = tmp_path / "QuPath user"
    user.mkdir()
    setting = tmp_path / "set_user_directory.groovy"
    setting.write_text(f"qupath.lib.gui.prefs.PathPrefs.userPathProperty().set('{user.as_posix()}')\n")
    (tmp_path / "preferences").mkdir()
    qupath = QuPath(bare_qupath.launcher, tmp_path / "preferences", user)
    assert qupath.script(setting).exit_code == 0
    Image.new("RGB", (900, 700), (240, 225, 235)).save(tmp_path / "one.png")
    project = qupath.make_project(tmp_path / "project", [tmp_path / "one.png"])
    copied = user / "extensions" / jar.name
    with open_window(qupath, project, "one.png", tmp_path) as window:
        assert window.ask(MENU) == []
        window.ask(SOURCE.replace("JAR", jar.as_posix()))
        window.drag_from("it.getId() == 'drag-source'", (450, 350))
        window.screenshot(tmp_path / "dropped.png")
        for _ in range(600):
            if copied.is_file() and copied.stat().st_size == jar.stat().st_size:
                break
            time.sleep(0.1)
        assert copied.read_bytes() == jar.read_bytes()
    again = tmp_path / "again"  # it may load a dropped jar at once; after a restart it has to
    again.mkdir()
    with open_window(qupath, project, "one.png", again) as window:
        window.wait_for(f"'Server...' in {MENU} && 'Click tool' in {MENU}", "menu of the extension")
        window.screenshot(tmp_path / "menu.png")
        window.press("j")
        window.wait_for("gui.getToolManager().getSelectedTool().getName() == 'SAM'", "SAM tool by its key")
