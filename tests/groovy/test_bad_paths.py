"""Extensions > SAM as a person in a hurry uses it: each time a sentence that says what to do, never a stack trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from qupath_sam.client.process import server_process

from .conftest import PATIENCE_S, QuPath
from .test_extension import AT_REST, CLICKER, VIEW
from .test_menu import DIALOG, choose, dropped
from .test_server_dialog import FIELDS, button, closed, opened
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

TOKEN = "of-the-laboratory-0123456789abcdef"
SCRIPTS = ("Segment selected", "Refine selected", "Everything in selected", "All like selected", "Propagate selected")
TO_EDITOR = (
    "Run for project>Segment...",
    "Run for project>Refine...",
    "Run for project>Everything...",
    "Run for project>All like examples...",
    "Create script>Everything in selected",
    "Create script>Segment selected",
)
#: The windows in sight but QuPath's own.
STAGES = (
    "javafx.stage.Window.getWindows()"
    ".findAll { it.isShowing() && it != gui.getStage() && it instanceof javafx.stage.Stage }"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("Schnitte für Müller")


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[str]:
    """Address of a server that wants a token."""
    token = folder / "lab.token"
    token.write_text(TOKEN)
    with server_process(["--model", "fake", "--device", "cpu", "--token-file", str(token)]) as address:
        yield address


@pytest.fixture(scope="module")
def window(qupath: QuPath, lab: str, folder: Path) -> Iterator[Window]:
    for name in ("one", "two"):
        picture = Image.new("RGB", (900, 700), (240, 225, 235))
        ImageDraw.Draw(picture).ellipse((250, 250, 350, 350), fill=(120, 60, 160))
        picture.save(folder / f"{name}.png")
    project = qupath.make_project(folder / "project", [folder / "one.png", folder / "two.png"])
    host, _, port = lab.rpartition(":")
    (folder / "client.properties").write_text(f"host={host}\nport={port}\ntoken={TOKEN}\n")
    settings = {"QUPATH_SAM_SETTINGS": str(folder / "client.properties"), "QUPATH_SAM_TIMEOUT": str(PATIENCE_S)}
    with open_window(qupath, project, "one.png", folder, **settings) as opened_window:
        opened_window.wait_for(CLICKER + "clicker != null", "extension")
        opened_window.ask("gui.getStage().getProperties()['test-project'] = gui.getProject(); null")
        yield opened_window


@pytest.fixture
def log(window: Window) -> Iterator[None]:
    """A test that ends with a stack trace in QuPath's log fails; its windows are closed."""
    before = len(window.log.read_text(errors="replace"))
    yield
    new = window.log.read_text(errors="replace")[before:]
    window.ask(f"{STAGES}.each {{ it.hide() }}; null")
    assert "\tat " not in new, new[-6000:]


def ended(window: Window) -> list[str]:
    """What the dialog says that a command of the menu ends in."""
    sentences = (
        f"{DIALOG}.findAll {{ it.length() > 20 && !it.contains('window_probe') }}"  # QuPath notes its startup script
    )
    told = window.wait_for(sentences, "dialog")
    window.click_on(button("OK"))
    window.wait_for(f"{AT_REST} && gui.getStage().isFocused()", "end of the script")
    return told


@pytest.mark.parametrize("command", SCRIPTS)
@pytest.mark.parametrize("state", ["no image", "nothing selected"])
def test_a_command_that_has_nothing_to_work_on_says_what_to_do(
    window: Window, log: None, state: str, command: str
) -> None:
    if state == "no image":
        window.ask("viewer.getImageData()?.setChanged(false); viewer.resetImageData(); null")
    else:
        window.open_image("one.png")
        window.ask("resetSelection(); null")
    choose(window, command)
    told = ended(window)
    wanted = "Open" if state == "no image" else "Select"
    assert any(wanted in sentence and sentence.endswith(".") for sentence in told), told


@pytest.mark.parametrize("command", TO_EDITOR)
def test_a_script_is_opened_without_image_and_project(window: Window, log: None, command: str) -> None:
    window.ask("viewer.getImageData()?.setChanged(false); viewer.resetImageData(); gui.setProject(null); null")
    try:
        choose(window, command)
        window.wait_for(f"{STAGES}.any {{ it.getTitle() =~ /ditor|groovy/ }}", "script editor")
    finally:
        window.ask("gui.setProject(gui.getStage().getProperties()['test-project']); null")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"token": "of-another-laboratory-0123456789"}, "lets in only who sends a token"),
        ({"tls": "true"}, "does not speak TLS"),
        ({"ca": "C:/Users/Jörg Müller/lab ca.pem"}, "cannot read the certificates of C:/Users/Jörg Müller/lab ca.pem"),
        ({"port": "http"}, "port must be a whole number"),
    ],
    ids=["token", "tls", "certificate", "port"],
)
def test_a_wrong_setting_is_said_by_dialog_script_and_tool(
    window: Window, log: None, lab: str, folder: Path, changed: dict[str, str], reason: str, tmp_path: Path
) -> None:
    window.open_image("one.png")
    host, _, port = lab.rpartition(":")
    right = {"host": host, "port": port, "token": TOKEN}
    file = folder / "client.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in {**right, **changed}.items()), encoding="utf-8")
    try:
        window.ask(CLICKER + "clicker.connect(); null")
        opened(window, reason)
        window.screenshot(tmp_path / "dialog.png")
        closed(window, "Cancel")
        window.ask(
            "def drawn = PathObjects.createAnnotationObject(ROIs.createPointsROI(300, 300, viewer.getImagePlane()))\n"
            "addObject(drawn); selectObjects(drawn); null"
        )
        choose(window, "Segment selected")
        told = ended(window)
        assert any(reason in sentence for sentence in told), told
        window.press("j")
        window.look(300, 300, 1)
        window.click(300, 300)
        window.wait_for(
            VIEW + f"(view?.message()?.contains('{reason}') || clicker.@live.trouble()?.contains('{reason}'))",
            "reason in the viewer",
        )
        window.screenshot(tmp_path / "viewer.png")
        dropped(window)
    finally:
        file.write_text(f"host={host}\nport={port}\ntoken={TOKEN}\n")
        window.ask(CLICKER + "clicker.connect(); null")


def test_a_fault_of_a_window_of_the_menu_is_a_sentence(window: Window, log: None, tmp_path: Path) -> None:
    """On 0.1.0 a command whose script failed outside of its own work did nothing that a person could see."""
    window.ask(
        "gui.getStage().getProperties()['test'] = gui.getStage().getProperties().remove('qupath-sam-settings'); null"
    )
    try:
        choose(window, "Server...")
        told = ended(window)
        window.screenshot(tmp_path / "fault.png")
        assert any("fault of the script" in sentence and "DEBUG" in sentence for sentence in told), told
    finally:
        window.ask(
            "gui.getStage().getProperties()['qupath-sam-settings'] = gui.getStage().getProperties()['test']; null"
        )


def test_a_project_that_cannot_be_written_keeps_the_dialog(window: Window, log: None, folder: Path) -> None:
    """A folder is in the way: for an administrator, as whom tests may run, no folder is read-only."""
    window.open_image("one.png")
    opened(window)
    (folder / "project" / "sam.properties").mkdir()
    try:
        window.click_on("it instanceof ComboBox")
        window.write("fake")
        window.click_on(button("OK"))
        window.wait_for(f"{DIALOG}.any {{ it.contains('sam.properties') }}", "reason")
        assert window.ask(f"{FIELDS} != null")
        closed(window, "Cancel")
        opened(window, "sam.properties")
        closed(window, "Cancel")
    finally:
        (folder / "project" / "sam.properties").rmdir()
