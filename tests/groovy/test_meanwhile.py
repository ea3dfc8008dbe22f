"""What a person does in QuPath's own window while a script waits for the server's answer; with the fake model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import shapely
from PIL import Image, ImageDraw

from .conftest import PATIENCE_S, SCRIPTS, QuPath, with_options
from .live_server import Server
from .test_extension import AT_REST, CLICKER, DIALOG, DRAWN, OURS, STATE, answered
from .test_in_qupath import GRID
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

#: A step of undo between what `DRAWN` draws and what the server is asked.
FURTHER = (
    "def further = PathObjects.createAnnotationObject(ROIs.createPointsROI(600, 300, viewer.getImagePlane()))\n"
    "further.setName('further'); addObject(further); null"
)
#: Names, parents and outlines of what a script has found.
FOUND = (
    f"{OURS}.collect {{ [name: it.getName(), parent: it.getParent().getName(), kind: it.getROI().getRoiName(), "
    "isDetection: it.isDetection()] }"
)
#: A command of the menu waits for the server.
ASKS = (
    "Thread.getAllStackTraces().any { thread, stack -> thread.getName() =~ /qupath-sam-.+_selected/ && "
    "stack.any { it.getClassName().contains('grpc') } }"
)
SCRIPT_RUNS = "Thread.getAllStackTraces().keySet().any { it.getName() =~ /qupath-sam-.+_selected|meanwhile/ }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"), "--model", "fake")
    yield running
    running.kill()


@pytest.fixture(scope="module")
def opened(qupath: QuPath, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    folder = tmp_path_factory.mktemp("meanwhile")
    images = []
    for name in ("one", "two"):
        picture = Image.new("RGB", (900, 700), (240, 225, 235))
        ImageDraw.Draw(picture).ellipse((250, 250, 350, 350), fill=(120, 60, 160))
        picture.save(folder / f"{name}.png")
        images.append(folder / f"{name}.png")
    project = qupath.make_project(folder / "project", images)
    settings = {"QUPATH_SAM_PORT": server.port, "QUPATH_SAM_TIMEOUT": str(PATIENCE_S)}
    with open_window(qupath, project, "one.png", folder, **settings) as window:
        window.wait_for(CLICKER + "clicker != null", "extension")
        yield window


@pytest.fixture
def window(opened: Window, tmp_path: Path) -> Iterator[Window]:
    """Image one with a region, an outline and a point in it, and a further point, each a step of undo."""
    opened.open_image("one.png")
    opened.ask(DRAWN)
    opened.ask(FURTHER)
    yield opened
    opened.screenshot(tmp_path / "end.png")


def select(window: Window, name: str) -> None:
    window.ask(f"selectObjects(getAllObjects(false).findAll {{ it.getName() == '{name}' }}); null")


def choose(window: Window, command: str) -> None:
    """Run a command of the menu, and wait until it has begun."""
    window.ask(f"Platform.runLater {{ gui.lookupMenuItem('Extensions>SAM>{command}').fire() }}; null")
    window.wait_for(ASKS, "question")


def begin_everything(window: Window, folder: Path) -> None:
    """Run everything_in_selected with a grid that the fake model answers, as the script editor does."""
    script = folder / "everything.groovy"
    script.write_text(with_options((SCRIPTS / "everything_in_selected.groovy").read_text("utf-8"), GRID), "utf-8")
    window.ask(f"Thread.startDaemon('meanwhile') {{ gui.runScript(new File('{script.as_posix()}'), null) }}; null")


def everything(window: Window, folder: Path) -> None:
    """The same with a server that does not answer, until a person is told how far the work is."""
    begin_everything(window, folder)
    window.wait_for(
        "javafx.stage.Window.getWindows().any { it instanceof javafx.stage.Stage && it.isShowing() && "
        "it.getTitle()?.startsWith('SAM: everything in') }",
        "progress",
    )


def ended(window: Window) -> None:
    window.wait_for(f"!({SCRIPT_RUNS}) && {AT_REST}", "end of the script")


def found(window: Window) -> list[dict[str, Any]]:
    return window.ask(FOUND)


def test_what_is_found_lies_below_the_region_after_a_step_back(window: Window, server: Server, tmp_path: Path) -> None:
    """The region that the script knew was no longer in the image: all that was found in it was lost."""
    select(window, "around")
    with server.stopped():
        everything(window, tmp_path)
        window.ask("gui.getUndoRedoManager().undoOnce(); null")
    ended(window)
    ours = found(window)
    assert len(ours) > 1
    assert {(each["parent"], each["isDetection"]) for each in ours} == {("around", True)}
    assert not window.ask("getAllObjects(false).any { it.getName() == 'further' }"), "the step back holds"


#: Outlines of what a script has found; no two are of one object.
OUTLINES = (
    f"{OURS}.collect {{ [id: it.getID().toString(), parent: it.getParent().getName(), "
    "wkt: it.getROI().getGeometry().toText()] }"
)
DELETE = "removeObject(getAnnotationObjects().find { it.getName() == 'around' }, true); null"
NARROW = (
    "getAnnotationObjects().find { it.getName() == 'around' }"
    ".setROI(ROIs.createRectangleROI(150, 150, 300, 130, viewer.getImagePlane())); null"
)


def twice(window: Window, server: Server, folder: Path, meanwhile: str) -> tuple[list[Any], list[Any]]:
    """What a first run finds, and what is there after a second one while which a person does something."""
    select(window, "around")
    begin_everything(window, folder)
    ended(window)
    first = window.wait_for(OUTLINES, "objects")
    with server.stopped():
        everything(window, folder)
        window.ask(meanwhile)
    ended(window)
    second = window.ask(OUTLINES)
    outlines = [shapely.from_wkt(each["wkt"]) for each in second]
    for one, other in combinations(outlines, 2):
        assert one.intersection(other).area < 0.5 * one.union(other).area, "the same object twice"
    return first, second


def test_what_is_found_stays_where_the_region_has_been_deleted(window: Window, server: Server, tmp_path: Path) -> None:
    """It lay beside what an earlier run had found."""
    first, second = twice(window, server, tmp_path, DELETE)
    assert len(first) == len(second) > 1
    assert not {each["id"] for each in first} & {each["id"] for each in second}
    assert {each.get("parent") for each in second} == {None}
    assert "the region is no longer there" in window.log.read_text()
    # A region that is drawn anew takes what lies in it.
    window.ask(
        "def square = ROIs.createRectangleROI(150, 150, 300, 300, viewer.getImagePlane())\n"
        "def again = PathObjects.createAnnotationObject(square)\n"
        "again.setName('around'); addObject(again); null"
    )
    select(window, "around")
    begin_everything(window, tmp_path)
    ended(window)
    third = window.ask(OUTLINES)
    assert len(third) == len(second)
    assert {each["parent"] for each in third} == {"around"}


def test_a_region_that_was_edited_takes_what_lies_in_it_now(window: Window, server: Server, tmp_path: Path) -> None:
    first, second = twice(window, server, tmp_path, NARROW)
    assert {each["parent"] for each in second} == {"around"}
    region = shapely.box(150, 150, 450, 280)
    before = {each["id"] for each in first}
    inside = {each["id"]: region.intersects(shapely.from_wkt(each["wkt"]).centroid) for each in second}
    assert sum(inside.values()) not in (0, len(inside))
    assert all((each not in before) == lies for each, lies in inside.items()), "what is not looked for again stays"
    assert "the region has been changed meanwhile" in window.log.read_text()


@pytest.mark.parametrize(
    ("meanwhile", "kept"),
    [
        ("gui.getUndoRedoManager().undoOnce()", False),
        ("rough.setROI(ROIs.createEllipseROI(250, 260, 90, 80, viewer.getImagePlane()))", True),
        ("rough.setLocked(true)", True),
    ],
    ids=["step back", "edited", "locked"],
)
def test_an_outline_is_replaced_only_if_it_is_as_it_was(
    window: Window, server: Server, meanwhile: str, kept: bool
) -> None:
    """What is edited or locked while the server works stays as it is; an outline after a step back is the same one."""
    select(window, "rough")
    with server.stopped():
        choose(window, "Refine selected")
        window.ask(f"def rough = getAnnotationObjects().find {{ it.getName() == 'rough' }}; {meanwhile}; null")
        state = window.ask(STATE)
    ended(window)
    assert (window.ask(STATE) == state) == kept
    assert len(found(window)) == (0 if kept else 1)
    if kept:
        assert "1 of them have been changed meanwhile, and stay as they are" in window.log.read_text()


def test_a_prompt_that_was_moved_meanwhile_stays(window: Window, server: Server) -> None:
    select(window, "point")
    with server.stopped():
        choose(window, "Segment selected")
        window.ask(
            "getAnnotationObjects().find { it.getName() == 'point' }"
            ".setROI(ROIs.createPointsROI(320, 330, viewer.getImagePlane())); null"
        )
    ended(window)
    assert window.ask("getAnnotationObjects().count { it.getName() == 'point' && it.getROI().isPoint() }") == 1
    assert [each.get("parent") for each in found(window)] == ["around"]


def test_an_image_that_was_closed_meanwhile_is_named(window: Window, server: Server, tmp_path: Path) -> None:
    """All was written to an image that nobody sees or saves, and the report said that it was there."""
    select(window, "point")
    with server.stopped():
        choose(window, "Segment selected")
        window.open_image("two.png")
        two = window.ask(STATE)
    told = window.wait_for(f"{DIALOG}.find {{ it.contains('was closed before the answer came') }}", "sentence")
    window.screenshot(tmp_path / "closed.png")
    assert "'one.png'" in told
    window.click_on("it instanceof Button && it.getText() == 'OK'")
    ended(window)
    assert window.ask(STATE) == two


def test_an_image_that_is_closed_as_soon_as_a_command_is_chosen_is_named(window: Window, tmp_path: Path) -> None:
    """The script began a second later, and took the image for one of a run over a project: its answer was lost."""
    select(window, "point")
    window.ask(
        "gui.lookupMenuItem('Extensions>SAM>Segment selected').fire()\n"
        "viewer.getImageData().setChanged(false)\n"
        "gui.openImageEntry(gui.getProject().getImageList().find { it.getImageName() == 'two.png' }); null"
    )
    told = window.wait_for(f"{DIALOG}.find {{ it.contains('was closed before the answer came') }}", "sentence")
    window.screenshot(tmp_path / "left.png")
    assert "'one.png'" in told
    window.click_on("it instanceof Button && it.getText() == 'OK'")
    ended(window)
    assert window.ask("getProjectEntry().getImageName()") == "two.png"
    assert not window.ask(f"{OURS}.size()")


def test_an_image_that_was_opened_again_meanwhile_gets_the_answer(
    window: Window, server: Server, tmp_path: Path
) -> None:
    window.ask("getProjectEntry().saveImageData(viewer.getImageData()); null")
    before = window.ask(STATE)
    select(window, "point")
    with server.stopped():
        choose(window, "Segment selected")
        window.open_image("two.png")
        window.open_image("one.png")
    window.wait_for(f"{OURS}.size() == 1", "outline")
    ended(window)
    assert [each.get("parent") for each in found(window)] == ["around"]
    assert window.ask("viewer.getImageData().isChanged()"), "else it would not be saved"
    window.ask("gui.getUndoRedoManager().undoOnce(); null")
    assert window.ask(STATE) == before


def test_nothing_refined_is_no_step_of_undo(window: Window) -> None:
    window.ask("getAnnotationObjects().find { it.getName() == 'rough' }.setLocked(true); null")
    select(window, "rough")
    steps = "getCurrentImageData().getHistoryWorkflow().getSteps().size()"
    before = window.ask(steps)
    window.ask("gui.lookupMenuItem('Extensions>SAM>Refine selected').fire(); null")
    window.wait_for("true", "command")
    ended(window)
    assert "0 refined, 0 refused, 1 locked" in window.log.read_text()
    assert window.ask(steps) == before
    window.ask("gui.getUndoRedoManager().undoOnce(); null")
    assert not window.ask("getAllObjects(false).any { it.getName() == 'further' }"), "what was drawn is the last step"


@pytest.fixture
def clicking(window: Window) -> Iterator[Window]:
    """The click tool on an image that is saved, with the class Tumor set."""
    window.ask(
        "PathPrefs.autoSetAnnotationClassProperty().set(getPathClass('Tumor'))\n"
        "getProjectEntry().saveImageData(viewer.getImageData()); null"
    )
    if window.ask("gui.getToolManager().getSelectedTool().getName()") != "SAM":
        window.press("j")
    window.look(300, 300, 1)
    yield window
    window.press("Escape")
    window.wait_for(CLICKER + "clicker.@session == null || clicker.@session.isEmpty()", "end of the clicking")


CONNECT = CLICKER + "clicker.connect(); null"


def second_run(window: Window) -> None:
    first = window.ask(CLICKER + "System.identityHashCode(clicker)")
    window.ask(f"gui.runScript(new File('{(SCRIPTS / 'live_click.groovy').as_posix()}'), null); null")
    window.wait_for(CLICKER + f"clicker != null && System.identityHashCode(clicker) != {first}", "second run")


def test_outlines_that_are_not_yet_kept_stay_with_another_connection(clicking: Window) -> None:
    """OK in the dialog of the server dropped them, here and on other images."""
    clicking.click(300, 300)
    answered(clicking, 1)
    clicking.open_image("two.png")
    clicking.look(300, 300, 1)
    clicking.click(300, 300)
    answered(clicking, 1)
    clicking.ask(CONNECT)
    answered(clicking, 1)
    clicking.click(310, 305, holding="shift")
    answered(clicking, 2)
    clicking.press("Escape")
    clicking.open_image("one.png")
    answered(clicking, 1)
    clicking.press("Return")
    clicking.wait_for(f"{OURS}.size() == 1", "kept outline")


def test_what_is_being_kept_is_kept_over_another_connection(clicking: Window, server: Server) -> None:
    with server.stopped():
        clicking.click(300, 300)
        clicking.press("Return")
        clicking.ask(CONNECT)
    clicking.wait_for(f"{OURS}.size() == 1", "kept outline")


def test_a_second_run_of_the_script_keeps_what_is_clicked(clicking: Window) -> None:
    clicking.click(300, 300)
    answered(clicking, 1)
    second_run(clicking)
    answered(clicking, 1)
    clicking.click(310, 305, holding="shift")
    answered(clicking, 2)


def test_what_is_being_kept_is_kept_over_a_second_run_and_another_connection(clicking: Window, server: Server) -> None:
    """The second run did not know of it, so its next connection dropped it without a word."""
    with server.stopped():
        clicking.click(300, 300)
        clicking.press("Return")
        second_run(clicking)
        clicking.ask(CONNECT)
    clicking.wait_for(f"{OURS}.size() == 1", "kept outline")
    assert clicking.ask(CLICKER + "clicker.@keeper.waiting().size()") == 0


def test_an_outline_whose_image_was_closed_is_added_when_it_is_open_again(clicking: Window) -> None:
    """The answer was there already, and the image gone before the outline could be added."""
    clicking.click(300, 300)
    answered(clicking, 1)
    clicking.ask(
        CLICKER + "viewer.getImageData().setChanged(false); clicker.keep(clicker.@session.keep())\n"
        "gui.openImageEntry(gui.getProject().getImageList().find { it.getImageName() == 'two.png' }); null"
    )
    clicking.wait_for("getProjectEntry().getImageName() == 'two.png'", "image")
    assert clicking.ask(f"{OURS}.size()") == 0
    clicking.wait_for(CLICKER + "clicker.@keeper.namesOfClosed().size() == 1", "outline that waits")
    clicking.open_image("one.png")
    clicking.wait_for(f"{OURS}.size() == 1", "kept outline")


def test_an_annotation_that_is_edited_while_it_is_refined_stays(clicking: Window) -> None:
    clicking.click(300, 345, holding="ctrl")
    answered(clicking, 1)
    clicking.ask(
        "getAnnotationObjects().find { it.getName() == 'rough' }"
        ".setROI(ROIs.createEllipseROI(250, 260, 90, 80, viewer.getImagePlane())); null"
    )
    clicking.press("Return")
    clicking.wait_for(f"{OURS}.size() == 1", "kept outline")
    assert clicking.ask("getAnnotationObjects().find { it.getName() == 'rough' }.getROI().getRoiName()") == "Ellipse"
