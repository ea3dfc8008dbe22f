"""The model ``auto`` in QuPath's own window, with the models themselves: the view's scale chooses between them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qupath_sam.models.registry import AUTO, DEFAULT_MODEL, REGION_MODEL

from .conftest import PATIENCE_S, QuPath
from .live_server import Server
from .test_live_click import BUD, CLICKER, CORE, IN_CORE, SLIDE, answered, kept
from .test_menu import choose
from .window import HIDE_NOTIFICATIONS, Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

#: The slide has .5 um per px: 2 um and .75 um per px of the screen.
FAR, NEAR = 4, 1.5
MODELS = (
    "javafx.stage.Window.getWindows().findAll { it instanceof javafx.stage.Stage }"
    ".find { it.isShowing() && it.getTitle() == 'SAM server' }"
    "?.getScene()?.getRoot()?.lookup('.combo-box')"
)
CHOICES = CLICKER + "clicker.@view.choices()"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def project(qupath: QuPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qupath.make_project(tmp_path_factory.mktemp("auto") / "project", [SLIDE])


@pytest.fixture(scope="module")
def window(qupath: QuPath, project: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    folder = tmp_path_factory.mktemp("window")
    (folder / "client.properties").touch()
    settings = {
        "QUPATH_SAM_PORT": server.port,
        "QUPATH_SAM_TIMEOUT": str(PATIENCE_S),
        "QUPATH_SAM_SETTINGS": str(folder / "client.properties"),
    }
    with open_window(qupath, project, SLIDE.name, folder, **settings) as opened:
        opened.wait_for(CLICKER + "clicker != null", "extension")
        opened.ask(
            "getCurrentHierarchy().clearAll(); PathPrefs.autoSetAnnotationClassProperty().set(getPathClass('Tumor'))"
        )
        yield opened


def test_auto_is_chosen_for_a_project(window: Window, project: Path, tmp_path: Path) -> None:
    choose(window, "Server...")
    window.wait_for(f"{MODELS}?.getItems()?.contains('{AUTO}')", "list of models")
    window.ask(HIDE_NOTIFICATIONS)  # one lies over the buttons
    window.click_on("it.getStyleClass().contains('arrow-button') && it.getParent() instanceof ComboBox")
    window.click_on(f"it instanceof ListCell && it.getText() == '{AUTO}'")
    window.screenshot(tmp_path / "dialog.png")
    assert window.ask(f"{MODELS}.getEditor().getText()") == AUTO
    window.click_on("it instanceof Button && it.getText() == 'OK'")
    window.wait_for(f"{MODELS} == null", "end of the dialog")
    assert f"model={AUTO}" in (project.parent / "sam.properties").read_text()


def test_a_far_view_has_the_model_for_regions_which_is_told_while_it_loads(
    window: Window, server: Server, tmp_path: Path
) -> None:
    window.look(*CORE, FAR)
    with server.stopped():  # so that the click comes before the model is there, on any machine
        window.press("j")
        window.click(*CORE)
        window.wait_for(CLICKER + "clicker.@view?.working()", "request under way")
    window.wait_for(
        CLICKER + f"clicker.@view?.text('') == 'The server is loading the model {REGION_MODEL}'", "sentence"
    )
    window.screenshot(tmp_path / "loading.png")
    answered(window, 1)
    window.screenshot(tmp_path / "region.png")


def test_the_clicks_on_an_object_stay_with_its_model_when_the_view_is_zoomed(window: Window, tmp_path: Path) -> None:
    window.look(*CORE, NEAR)
    window.click(*IN_CORE, holding="shift")
    answered(window, 2)
    window.press("Tab")  # it has one outline, or others: the object stays what it is
    window.screenshot(tmp_path / "zoomed.png")
    window.press("Return")
    (region,) = kept(window, 1)
    assert region["metadata"]["qupath-sam.model"] == REGION_MODEL
    assert float(region["metadata"]["qupath-sam.view_downsample"]) == FAR
    assert len(region["metadata"]["qupath-sam.clicks"].split()) == 2


def test_a_near_view_has_the_default_and_tab_shows_its_other_outline(window: Window, tmp_path: Path) -> None:
    window.look(*BUD, NEAR)
    window.click(*BUD)
    first = answered(window, 1)
    assert window.ask(CHOICES) > 1
    window.press("Tab")
    window.wait_for(CLICKER + "clicker.@view.choice() == 1", "other outline")
    window.screenshot(tmp_path / "other.png")
    assert answered(window, 1)["outline"] != first["outline"]
    window.look(*BUD, FAR)
    window.click(BUD[0] + 20, BUD[1], holding="shift")
    answered(window, 2)
    window.press("Return")
    (bud,) = [each for each in kept(window, 2) if each["metadata"]["qupath-sam.model"] == DEFAULT_MODEL]
    assert float(bud["metadata"]["qupath-sam.view_downsample"]) == NEAR


def test_refining_the_project_takes_one_model_for_all(
    window: Window, qupath: QuPath, project: Path, server: Server
) -> None:
    """What `project refine` works on has no view: the default answers, for what either model has made."""
    window.press("ctrl+s")
    window.wait_for("!viewer.getImageData().isChanged()", "saved image")
    window.process.terminate()
    window.process.wait(60)
    command = [
        sys.executable,
        "-m",
        "qupath_sam",
        "project",
        "refine",
        str(project),
        "--model",
        AUTO,
        "--class",
        "Tumor",
    ]
    run = subprocess.run(
        [*command, "--server", f"127.0.0.1:{server.port}", "--min-iou", "0.1", "--max-area-change", "10"],
        env={**os.environ, "PAQUO_QUPATH_DIR": str(qupath.launcher.parents[1])},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    models = [
        re.findall(r"qupath-sam\.model:(\w+)", each["metadata"])
        for each in qupath.objects(project)[SLIDE.name].values()
    ]
    assert models == [[DEFAULT_MODEL], [DEFAULT_MODEL]]
