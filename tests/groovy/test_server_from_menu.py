"""A server that is started from Extensions > SAM > Server..., in QuPath's own window, with the default model."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import psutil
import pytest

from qupath_sam.assets import demo_slide_path

from .conftest import PATIENCE_S, QuPath
from .window import open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

CLICKER = "def clicker = gui.getStage().getProperties()['qupath-sam']\n"
VIEW = CLICKER + "def view = clicker.@view\n"
ANSWERED = VIEW + "view != null && !view.working() && view.mask() != null && view.clicks().size() == 1"
#: The dialog's nodes of a style.
NODES = (
    "javafx.stage.Window.getWindows().findAll { it.isShowing() }.collect { it.getScene().getRoot() }"
    ".collectMany { it.lookupAll('STYLE') as List }"
)
CORE = (1262.0, 2085.0)


def test_it_is_started_answers_a_click_and_ends_with_qupath(qupath: QuPath, tmp_path: Path) -> None:
    program = shutil.which("qupath-sam", path=str(Path(sys.executable).parent))
    assert program is not None
    slide = Path(demo_slide_path())
    project = qupath.make_project(tmp_path / "project", [slide])
    # Where nothing answers: the server of the menu is asked all the same.
    settings = {"QUPATH_SAM_PORT": "1", "QUPATH_SAM_TIMEOUT": str(PATIENCE_S)}
    with open_window(qupath, project, slide.name, tmp_path, **settings) as window:
        window.wait_for(CLICKER + "clicker != null", "extension")
        # The tests of one session share preferences, and another one may have set the program.
        window.ask("gui.getStage().getProperties()['qupath-sam-settings'].serverProgram.set('qupath-sam')")
        window.ask("Platform.runLater { gui.lookupMenuItem('Extensions>SAM>Server...').fire() }; null")
        fields, texts = NODES.replace("STYLE", ".text-field"), NODES.replace("STYLE", ".text-area")
        window.wait_for(f"{texts}.any {{ it.getText()?.contains('no server answers') }}", "reason")
        window.screenshot(tmp_path / "none.png")
        window.ask(f"{fields}.find {{ it.getText() == 'qupath-sam' }}.setText('{program}'); null")
        window.click_on("it instanceof Button && it.getText() == 'Start a server here'")
        window.wait_for(f"{texts}.any {{ it.getText()?.contains('Models there') }}", "description of the server")
        window.screenshot(tmp_path / "started.png")
        window.click_on("it instanceof Button && it.getText() == 'Cancel'")
        window.press("j")
        window.look(*CORE, 1.5)
        window.click(*CORE)
        window.wait_for(ANSWERED, "outline")
        window.screenshot(tmp_path / "outline.png")
        started = [
            process
            for process in psutil.Process(window.process.pid).children(recursive=True)
            if "serve" in process.cmdline()
        ]
        assert started, "no server runs below QuPath"
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive, "it has outlived QuPath"
