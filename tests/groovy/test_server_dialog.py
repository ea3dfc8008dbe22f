"""Extensions > SAM > Server... in QuPath's own window: what a person has set stays, and the last choice counts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageDraw

from qupath_sam.client.process import server_process

from .conftest import PATIENCE_S, QuPath
from .test_extension import CLICKER, answered
from .test_menu import DIALOG, choose, dropped
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

TOKEN = "of-the-laboratory-0123456789abcdef"
#: The dialog's fields by their place: host, port, certificate, token, (model,) program.
FIELDS = (
    # A tooltip is a window without a title.
    "javafx.stage.Window.getWindows().findAll { it instanceof javafx.stage.Stage }"
    ".find { it.isShowing() && it.getTitle() == 'SAM server' }"
    "?.getScene()?.getRoot()?.lookupAll('.text-field')?.toList()"
)
IN_USE = "io.github.qupathsam.client.Settings.load().address()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server dialog")


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[str]:
    """Address of a server that wants a token."""
    token = folder / "lab.token"
    token.write_text(TOKEN)
    with server_process(["--model", "fake", "--device", "cpu", "--token-file", str(token)]) as address:
        yield address


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    """What the dialog starts: with the fake model, in a folder such as people have."""
    if sys.platform == "win32":
        pytest.skip("written for a shell")
    written = folder / "Müller lab" / "qupath-sam"
    written.parent.mkdir()
    written.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m qupath_sam \"$@\" --model fake --device cpu\n")
    written.chmod(0o755)
    return written


@pytest.fixture(scope="module")
def window(qupath: QuPath, lab: str, folder: Path) -> Iterator[Window]:
    picture = Image.new("RGB", (900, 700), (240, 225, 235))
    ImageDraw.Draw(picture).ellipse((250, 250, 350, 350), fill=(120, 60, 160))
    picture.save(folder / "one.png")
    project = qupath.make_project(folder / "project", [folder / "one.png"])
    (folder / "client.properties").touch()
    settings = {"QUPATH_SAM_SETTINGS": str(folder / "client.properties"), "QUPATH_SAM_TIMEOUT": str(PATIENCE_S)}
    with open_window(qupath, project, "one.png", folder, **settings) as opened:
        opened.wait_for(CLICKER + "clicker != null", "extension")
        yield opened


@pytest.fixture
def of_the_lab(window: Window, lab: str, folder: Path) -> Iterator[Path]:
    """The settings of the laboratory, as its administrator hands them out; afterwards no local server runs."""
    host, _, port = lab.rpartition(":")
    file = folder / "client.properties"
    file.write_text(f"# from the laboratory's wiki\nhost={host}\nport={port}\ntoken={TOKEN}\n")
    yield file
    window.ask("io.github.qupathsam.client.LocalServer.stop(); null")
    for each in folder.glob("client.properties*"):
        each.unlink()
    file.touch()


def button(text: str) -> str:
    return f"it instanceof Button && it.getText() == '{text}'"


def opened(window: Window, words: str = "Models there") -> None:
    choose(window, "Server...")
    window.wait_for(f"{DIALOG}.any {{ it.contains('{words}') }}", words)


def started_here(window: Window, program: Path) -> None:
    window.ask(f"def fields = {FIELDS}; fields[-1].setText('{program}'); null")
    window.click_on(button("Start a server here"))
    window.wait_for(f"{DIALOG}.any {{ it.startsWith('the server started here, 127.0.0.1') }}", "server of its own")
    window.wait_for(f"{DIALOG}.any {{ it.contains('Models there') }}", "its description")


def closed(window: Window, text: str = "OK") -> None:
    window.click_on(button(text))
    window.wait_for(f"{FIELDS} == null", "end of the dialog")


def serving(window: Window) -> list[psutil.Process]:
    below = psutil.Process(window.process.pid).children(recursive=True)
    return [process for process in below if "serve" in process.cmdline()]


def test_a_server_of_its_own_leaves_the_address_of_the_laboratory(
    window: Window, of_the_lab: Path, lab: str, program: Path, tmp_path: Path
) -> None:
    """On 0.1.0 OK wrote the address and the token of the local server in place of them."""
    before = of_the_lab.read_text()
    opened(window)
    started_here(window, program)
    window.screenshot(tmp_path / "started.png")
    closed(window)
    assert of_the_lab.read_text() == before
    assert window.ask(IN_USE) != lab
    window.press("j")
    window.look(300, 300, 1)
    window.click(300, 300)
    answered(window, 1)
    opened(window)
    closed(window)
    assert window.ask(CLICKER + "clicker.@view.clicks().size()") == 1, "OK that changes nothing drops no outline"
    opened(window)
    window.click_on(button("Stop"))
    window.wait_for(f"{DIALOG}.any {{ it.contains('Stopped. In use: {lab}') }}", "what is in use")
    window.screenshot(tmp_path / "stopped.png")
    closed(window)
    assert of_the_lab.read_text() == before
    assert window.ask(IN_USE) == lab
    assert not psutil.wait_procs(serving(window), timeout=30)[1], "it runs on"
    dropped(window)


def test_the_address_that_was_set_last_counts(
    window: Window, of_the_lab: Path, lab: str, program: Path, tmp_path: Path
) -> None:
    """On 0.1.0 it was ignored as long as the local server ran."""
    opened(window)
    started_here(window, program)
    closed(window, "Cancel")
    mine = serving(window)
    assert mine
    opened(window)
    window.ask(f"def fields = {FIELDS}; fields[0].setText('localhost'); null")
    window.click_on(button("OK"))
    port = lab.rpartition(":")[2]
    window.wait_for(f"{DIALOG}.any {{ it.contains('is ended. In use: localhost:{port}') }}", "what is in use")
    window.screenshot(tmp_path / "other.png")
    window.click_on(button("OK"))
    assert window.ask(IN_USE) == f"localhost:{port}"
    assert of_the_lab.read_text() == f"# from the laboratory's wiki\nhost=localhost\nport={port}\ntoken={TOKEN}\n"
    assert not psutil.wait_procs(mine, timeout=30)[1], "it runs on"


def test_a_broken_file_is_kept_beside_the_new_one(window: Window, of_the_lab: Path, tmp_path: Path) -> None:
    """On 0.1.0 the dialog showed the defaults, and OK wrote them over it."""
    broken = of_the_lab.read_text() + "ca=C:\\users\\me\\ca.pem\n"
    of_the_lab.write_text(broken)
    opened(window, "write folders with /")
    window.screenshot(tmp_path / "broken.png")
    window.ask(f"def fields = {FIELDS}; fields[2].setText(''); null")
    window.click_on("it instanceof CheckBox")
    window.click_on(button("OK"))
    window.wait_for(f"{DIALOG}.any {{ it.contains('client.properties.broken') }}", "where the old one is")
    window.click_on(button("OK"))
    assert of_the_lab.with_name("client.properties.broken").read_text() == broken
    assert f"token={TOKEN}" in of_the_lab.read_text()
    assert window.ask("io.github.qupathsam.client.StoredSettings.read().fault()") == ""


def test_what_cannot_be_saved_is_said_and_the_dialog_stays(window: Window, of_the_lab: Path) -> None:
    """On 0.1.0 the dialog was gone with what had been written into it."""
    before = of_the_lab.read_text()
    opened(window)
    window.ask(f"def fields = {FIELDS}; fields[1].setText('http'); null")
    window.click_on(button("OK"))
    window.wait_for(f"{DIALOG}.any {{ it.startsWith('port must be a whole number') }}", "reason")
    assert window.ask(f"{FIELDS}[1].getText()") == "http"
    closed(window, "Cancel")
    assert of_the_lab.read_text() == before


def test_a_server_that_ends_in_the_middle_is_said(
    window: Window, of_the_lab: Path, program: Path, tmp_path: Path
) -> None:
    """On 0.1.0 nobody was told; the reason of the next click was that of a server which a person starts."""
    opened(window)
    started_here(window, program)
    closed(window)
    window.press("j")
    window.look(300, 300, 1)
    window.click(300, 300)
    answered(window, 1)
    for process in serving(window):
        process.kill()
    window.wait_for(f"{DIALOG}.any {{ it.contains('has ended. Start it again in Extensions') }}", "notification")
    window.screenshot(tmp_path / "ended.png")
    assert window.ask(CLICKER + "clicker.@view.clicks().size()") == 1, "the outline stays"
    opened(window, "has ended; start it again")
    window.screenshot(tmp_path / "dialog.png")
    started_here(window, program)
    closed(window)
