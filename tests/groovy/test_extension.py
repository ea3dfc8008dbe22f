"""The jar in QuPath's own window, as an extension: menu, tool, and what a person does with it; with the fake model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely
from PIL import Image, ImageDraw

from .conftest import PATIENCE_S, QuPath
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

CLICKER = "def clicker = gui.getStage().getProperties()['qupath-sam']\n"
VIEW = CLICKER + "def view = clicker.@view\n"
ANSWERED = VIEW + "view != null && !view.working() && view.mask() != null && view.clicks().size() == COUNT"
#: All texts of the windows in sight but QuPath's own.
DIALOG = (
    "javafx.stage.Window.getWindows().findAll { it.isShowing() && it != gui.getStage() }"
    ".collect { it.getScene().getRoot() }.collectMany { it.lookupAll('.label') + it.lookupAll('.text-area') as List }"
    ".collect { it.getText() }.findAll { it }"
)
#: What was kept, whichever test did.
OURS = "getCurrentHierarchy().getAllObjects(false).findAll { it.getMeasurements().containsKey('SAM score') }"
REMOVE_OURS = (
    "def shown = getCurrentHierarchy(); shown.getAllObjects(false)"
    ".findAll { it.getMeasurements().containsKey('SAM score') || it.getName() == 'around' }"
    ".each { shown.removeObject(it, true) }"
)
SETTINGS = "def items = gui.getPreferencePane().getPropertySheet().getItems().findAll { it.getCategory() == 'SAM' }"
MENUS = "javafx.stage.Window.getWindows().findAll { it.isShowing() && it instanceof javafx.scene.control.ContextMenu }"
SHOWN_MENU = f"{MENUS}.collectMany {{ it.getItems().collect {{ item -> item.getText() }} }}"
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


@pytest.fixture
def clean(window: Window, tmp_path: Path) -> Iterator[Window]:
    """The window with image one, no object of ours and nothing being clicked; settings as they come."""
    window.open_image("one.png")
    if window.ask("gui.getToolManager().getSelectedTool().getName()") != "SAM":
        window.press("j")
    window.look(400, 320, 2)
    window.ask(f"{REMOVE_OURS}; PathPrefs.autoSetAnnotationClassProperty().set(getPathClass('Tumor')); null")
    yield window
    window.screenshot(tmp_path / "end.png")
    window.press("Escape")
    window.ask(
        f"{SETTINGS}; items.each {{ if (it.getValue() instanceof Boolean) it.setValue(false) }}; {REMOVE_OURS}; null"
    )
    window.ask("viewer.getOverlayOptions().setPathClassHidden(getPathClass('Tumor'), false); null")
    window.wait_for(CLICKER + "clicker.@session == null || clicker.@session.isEmpty()", "end of the clicking")


def switch(window: Window, setting: str, value: str = "true") -> None:
    """Change a setting in QuPath's preferences pane."""
    window.ask(f"{SETTINGS}; items.find {{ it.getName() == '{setting}' }}.setValue({value}); null")


def ours(window: Window, count: int) -> list[dict[str, Any]]:
    """The objects that were kept, as soon as there are so many."""
    window.wait_for(f"{OURS}.size() == {count}", f"{count} kept objects")
    return window.ask(
        f"{OURS}.collect {{ [id: it.getID().toString(), area: it.getROI().getArea(), parent: it.getParent().getName(), "
        "name: it.getName(), isDetection: it.isDetection(), locked: it.isLocked(), "
        "outline: it.getROI().getGeometry().toText(), metadata: new TreeMap(it.getMetadata())] }"
    )


def test_a_click_goes_on_from_what_tab_chose_and_the_wheel_makes_it_wider(clean: Window, tmp_path: Path) -> None:
    window = clean
    window.look(300, 300, 1)
    window.click(300, 300)
    answered(window, 1)
    best = window.ask(VIEW + "view.mask().areaPx2()")
    window.press("Tab", "Tab")
    window.wait_for(VIEW + "view.choice() == 2", "third outline")
    chosen = window.ask(VIEW + "view.mask().areaPx2()")
    assert chosen > best
    window.click(303, 300, holding="shift")
    answered(window, 2)
    after = window.ask(VIEW + "view.mask().areaPx2()")
    assert after >= chosen, "on 0.1.0 the click went on from the best"
    opacity = window.ask("viewer.getOverlayOptions().getOpacity()")
    window.wheel(3, holding="ctrl")
    window.wait_for(VIEW + "view.grown() == 3", "wider outline")
    window.screenshot(tmp_path / "wider.png")
    assert window.ask(VIEW + "view.mask().areaPx2()") > after
    window.wheel(-1, holding="ctrl")
    window.wait_for(VIEW + "view.grown() == 2", "narrower outline")
    assert window.ask("viewer.getOverlayOptions().getOpacity()") == opacity, "that is what the wheel does else"
    window.press("Return")
    (kept,) = ours(window, 1)
    assert kept["metadata"]["qupath-sam.grown"] == "2 px"
    assert kept["metadata"]["qupath-sam.clicks"].endswith("@2")


def test_n_keeps_and_the_next_click_is_another_object(clean: Window) -> None:
    window = clean
    window.click(300, 300)
    answered(window, 1)
    window.press("n")
    ours(window, 1)
    window.click(600, 300)
    window.hold("n")
    window.click(600, 500)  # while N is down: the one under way is kept, and this is the next
    window.let_go("n")
    ours(window, 2)
    answered(window, 1)
    window.press("Return")
    assert len({kept["outline"] for kept in ours(window, 3)}) == 3


def test_many_nuclei_in_a_row(clean: Window, tmp_path: Path) -> None:
    window = clean
    switch(window, "Click tool: auto-keep")
    switch(window, "Click tool: make detections")
    switch(window, "Click tool: name", "'{class} {n}'")
    places = [(200, 150), (450, 150), (700, 150), (700, 500)]
    for place in places:
        window.click(*place)
    window.click(660, 500, holding="shift")  # belongs to the last one
    window.press("Return")
    kept = ours(window, len(places))
    switch(window, "Click tool: name", "''")
    assert all(each["isDetection"] for each in kept)
    assert {each["name"] for each in kept} == {f"Tumor {n + 1}" for n in range(len(places))}


def test_ctrl_click_refines_the_annotation_that_is_there(clean: Window, tmp_path: Path) -> None:
    window = clean
    window.click(300, 300)
    answered(window, 1)
    window.press("Return")
    (before,) = ours(window, 1)
    edge = window.ask(f"def b = {OURS}[0].getROI(); [b.getBoundsX() + b.getBoundsWidth() - 6, b.getCentroidY()]")
    window.click(*edge, holding="ctrl")
    answered(window, 1)
    window.screenshot(tmp_path / "refining.png")
    window.press("Return")
    window.wait_for(f"{OURS}[0].getMetadata().containsKey('qupath-sam.refined')", "refined outline")
    (after,) = ours(window, 1)
    assert after["id"] == before["id"]
    assert after["outline"] != before["outline"]
    window.press("ctrl+z")
    window.wait_for(f"!{OURS}[0].getMetadata().containsKey('qupath-sam.refined')", "the outline before")
    window.ask(f"{OURS}[0].setLocked(true); null")
    window.click(300, 300, holding="ctrl")
    window.wait_for(CLICKER + "clicker.@overlay.warning?.contains('locked')", "reason")
    window.ask(
        f"{OURS}[0].setLocked(false); viewer.getOverlayOptions().setPathClassHidden(getPathClass('Tumor'), true); null"
    )
    window.click(310, 310, holding="ctrl")
    window.wait_for(CLICKER + "clicker.@overlay.warning?.contains('no annotation')", "reason")
    assert window.ask(CLICKER + "clicker.@session == null || clicker.@session.isEmpty()")


def test_the_right_button_offers_what_the_keys_do(clean: Window, tmp_path: Path) -> None:
    window = clean
    ours_shown = f"{SHOWN_MENU}.any {{ it?.startsWith('Take away here') }}"
    window.right_click(600, 300)  # nothing is being clicked: QuPath's own
    window.wait_for(f"{SHOWN_MENU}.size() > 0", "QuPath's menu")
    assert not window.ask(ours_shown)
    window.ask(f"{MENUS}.each {{ it.hide() }}; null")
    window.click(300, 300)
    answered(window, 1)
    for chosen, happened in (
        ("Next", "view.choice() == 1"),
        ("Larger", "view.grown() == 2"),
        ("Smaller", "view.grown() == 0"),
    ):
        window.right_click(320, 300)
        window.click_on(f"it instanceof Label && it.getText()?.startsWith('{chosen} ')")
        window.wait_for(VIEW + happened, chosen)
    window.right_click(320, 300)
    window.wait_for(ours_shown, "menu")
    window.screenshot(tmp_path / "menu.png")
    window.click_on("it instanceof Label && it.getText()?.startsWith('Take away here')")
    answered(window, 2)
    (first, second) = window.ask(VIEW + "view.clicks().collect { [it.points()[0].x(), it.positive()] }")
    assert [first[1], second[1]] == [True, False]
    assert abs(second[0] - 320) < 3
    window.right_click(320, 300)
    window.wait_for(ours_shown, "menu")
    window.click(500, 150)  # closes the menu, and is no click on an object
    assert window.ask(VIEW + "view.clicks().size()") == 2
    window.right_click(320, 300)
    window.click_on("it instanceof Label && it.getText() == 'Keep (Enter)'")
    ours(window, 1)


def test_children_and_neighbours(clean: Window, tmp_path: Path) -> None:
    window = clean
    switch(window, "Click tool: make children")
    switch(window, "Click tool: cut at neighbours")
    window.ask(
        "def around = ROIs.createRectangleROI(100, 100, 600, 500, viewer.getImagePlane())\n"
        "def region = PathObjects.createAnnotationObject(around)\n"
        "region.setName('around'); getCurrentHierarchy().addObject(region); null"
    )
    window.click(300, 300)
    window.press("Return")
    ours(window, 1)
    window.click(330, 300)
    window.press("Return")
    kept = ours(window, 2)
    window.screenshot(tmp_path / "cut.png")
    one, other = (shapely.from_wkt(each["outline"]) for each in kept)
    assert one.touches(other), "they overlap, or lie apart"
    assert [each["parent"] for each in kept] == ["around", "around"]


#: A neighbour of what is clicked whose outline crosses itself, as a brush may leave it.
CROSSING = """
def geometry = new org.locationtech.jts.io.WKTReader(GeometryTools.getDefaultFactory())
        .read('POLYGON ((310 100, 600 100, 600 500, 312 500, 312 90, 310 100))')
def odd = GeometryTools.geometryToROI(geometry, viewer.getImagePlane())
"""
#: One that cannot be had as a geometry at all.
FAILING = """
def drawn = ROIs.createRectangleROI(310, 200, 200, 200, viewer.getImagePlane())
def kind = qupath.lib.roi.interfaces.ROI
def odd = java.lang.reflect.Proxy.newProxyInstance(kind.getClassLoader(), [kind] as Class[],
        { proxy, method, arguments ->
            if (method.getName() == 'getGeometry')
                throw new IllegalStateException('no geometry')
            return method.invoke(drawn, arguments)
        } as java.lang.reflect.InvocationHandler)
"""


@pytest.mark.parametrize(("neighbour", "is_cut"), [(CROSSING, True), (FAILING, False)], ids=["crossing", "failing"])
def test_what_cannot_be_cut_at_its_neighbours_is_kept(
    clean: Window, tmp_path: Path, neighbour: str, is_cut: bool
) -> None:
    """An exception while it was cut lost the outline, without a word."""
    window = clean
    switch(window, "Click tool: cut at neighbours")
    window.ask(
        f"{neighbour}\ndef beside = PathObjects.createAnnotationObject(odd, getPathClass('Tumor'))\n"
        "beside.setName('around'); getCurrentHierarchy().addObject(beside); null"
    )
    window.click(300, 300)
    window.press("Return")
    (kept,) = ours(window, 1)
    window.screenshot(tmp_path / "kept.png")
    right = shapely.from_wkt(kept["outline"]).bounds[2]
    assert right < 315 if is_cut else right > 330
    warning = window.ask(CLICKER + "clicker.@overlay.warning") or ""
    assert ("is kept whole: no geometry" in warning) != is_cut, warning


def test_quitting_asks_about_outlines_that_are_not_in_their_images(clean: Window, tmp_path: Path) -> None:
    """They were lost without a word."""
    window = clean
    window.click(300, 300)
    answered(window, 1)
    window.open_image("two.png")
    window.look(300, 300, 1)
    window.click(300, 300)
    answered(window, 1)
    window.ask("viewer.getImageData().setChanged(false); Platform.runLater { gui.sendQuitRequest() }; null")
    told = window.wait_for(f"{DIALOG}.find {{ it.contains('neither kept nor dropped') }}", "question")
    window.screenshot(tmp_path / "quit.png")
    assert "one.png" in told
    assert "two.png" in told
    window.click_on("it instanceof Button && it.getText() == 'No'")
    window.wait_for("gui.getStage().isFocused()", "main window")
    answered(window, 1)
    window.press("Escape")
    window.ask("viewer.getImageData().setChanged(false); null")
    window.open_image("one.png")
    answered(window, 1)


def test_the_icon_says_what_the_server_does(clean: Window) -> None:
    look = (
        "def tools = gui.getToolManager()\n"
        "[gui.getStage().getProperties()['qupath-sam-paint'].get().toString(), "
        "tools.getToolAction(tools.getSelectedTool()).getLongText()]"
    )
    clean.click(300, 300)
    answered(clean, 1)
    paint, told = clean.ask(look)
    assert paint == "0x2e8b57ff"
    assert "ready" in told
    clean.ask(CLICKER + "clicker.starting(true); null")
    assert "Waiting" in clean.ask(look)[1]
    clean.ask(CLICKER + "clicker.starting(false); null")


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


#: Draws a region with an outline and a point in it where nothing else is, and says so to QuPath once.
DRAWN = """
getCurrentHierarchy().clearAll()
def plane = viewer.getImagePlane()
def drawn = { roi, name -> PathObjects.createAnnotationObject(roi, getPathClass(name)) }
def around = drawn(ROIs.createRectangleROI(150, 150, 300, 300, plane), 'Region*')
def rough = drawn(ROIs.createEllipseROI(240, 240, 120, 115, plane), 'Tumor')
def point = drawn(ROIs.createPointsROI(300, 300, plane), 'Tumor')
[around: around, rough: rough, point: point].each { name, each -> each.setName(name) }
around.addChildObjects([rough, point])
getCurrentHierarchy().addObject(around)
null
"""
#: Every object with its outline.
STATE = "getAllObjects(false).collect { it.getID().toString() + it.getROI().getGeometry() }.toSorted()"
#: No command of the menu is at work.
AT_REST = "Thread.getAllStackTraces().keySet().every { !(it.getName() ==~ /qupath-sam-.+_selected/) }"


@pytest.mark.parametrize(
    ("command", "selected"),
    [
        ("Segment selected", "point"),
        ("Refine selected", "rough"),
    ],
)
def test_a_command_of_the_menu_is_one_step_of_undo(clean: Window, tmp_path: Path, command: str, selected: str) -> None:
    """QuPath says after every script that the hierarchy has changed: what scripts say beside that is a second step."""
    clean.ask(DRAWN)
    before = clean.ask(STATE)
    clean.ask(f"selectObjects(getAnnotationObjects().findAll {{ it.getName() == '{selected}' }}); null")
    clean.ask(f"Platform.runLater {{ gui.lookupMenuItem('Extensions>SAM>{command}').fire() }}; null")
    clean.wait_for(f"{OURS}.size() > 0 && {AT_REST}", "objects of ours, and the end of the script")
    clean.screenshot(tmp_path / "done.png")
    assert clean.ask(STATE) != before
    clean.press("ctrl+z")
    clean.wait_for("gui.getUndoRedoManager().canRedo().get()", "undo", seconds=60)
    assert clean.ask(STATE) == before


def test_what_changes_nothing_is_no_step_of_undo(clean: Window) -> None:
    """On 0.1.0 each window of the menu, and each run that failed, was a step of undo that did nothing."""
    clean.ask(DRAWN)
    before = clean.ask(STATE)
    clean.ask(
        "addObject(PathObjects.createAnnotationObject(ROIs.createPointsROI(600, 300, viewer.getImagePlane()))); null"
    )
    drawn = clean.ask(STATE)
    assert len(drawn) == len(before) + 1
    clean.ask("Platform.runLater { gui.lookupMenuItem('Extensions>SAM>Server...').fire() }; null")
    clean.click_on("it instanceof Button && it.getText() == 'Cancel'")
    clean.ask("resetSelection(); gui.lookupMenuItem('Extensions>SAM>Refine selected').fire(); null")
    clean.click_on("it instanceof Button && it.getText() == 'OK'")
    clean.wait_for(f"gui.getStage().isFocused() && {AT_REST}", "main window")
    assert clean.ask(STATE) == drawn
    clean.press("ctrl+z")
    clean.wait_for("gui.getUndoRedoManager().canRedo().get()", "undo", seconds=60)
    assert clean.ask(STATE) == before, "what was drawn is the last step"


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


def test_the_settings_open_at_those_of_sam(window: Window, tmp_path: Path) -> None:
    """On 0.1.0 the preferences opened at QuPath's first category; later that of SAM was open, below the edge."""
    window.ask("javafx.application.Platform.runLater { gui.lookupMenuItem('Extensions>SAM>Settings...').fire() }; null")
    sheet = "gui.getPreferencePane().getPropertySheet()"
    window.wait_for(f"{sheet}.lookup('.accordion')?.getExpandedPane()?.getText() == 'SAM'", "category SAM")
    window.screenshot(tmp_path / "settings.png")
    seen = (
        f"def scroller = {sheet}.lookup('.scroll-pane')\n"
        f"def ours = {sheet}.lookup('.accordion').getExpandedPane()\n"
        "def top = scroller.sceneToLocal(ours.localToScene(0, 0)).y\n"
        "def bottom = scroller.sceneToLocal(ours.localToScene(0, ours.getHeight())).y\n"
        "top >= -1 && (top < 40 || bottom <= scroller.getHeight() + 1)"
    )
    window.wait_for(seen, "category SAM in sight")
    window.ask(f"{sheet}.getScene().getWindow().hide(); null")


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
