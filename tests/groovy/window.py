"""QuPath's window on a display of its own: clicks and keys as a person's, and questions about what came of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from .conftest import FOLDER, PATIENCE_S, QuPath

#: Without bindings: Alt with a click, and every key, must reach QuPath.
OPENBOX = """<openbox_config xmlns="http://openbox.org/3.4/rc">
<focus><focusNew>yes</focusNew><followMouse>no</followMouse></focus><keyboard/><mouse/></openbox_config>"""
SIZE = (1400, 900)
#: The JavaFX thread answers a question within this time, also on a busy machine, or it hangs.
ANSWER_S = 90
#: What Java writes when it crashes.
CRASHED = b"A fatal error has been detected by the Java Runtime Environment"
#: Characters of QuPath's log that a failure shows; a dump of all threads is as long.
LOG_END = 20_000
NEEDED = ("Xvfb", "xdotool", "openbox")

CAPTURE = """
def screen = javafx.stage.Screen.getPrimary().getBounds()
def seen = new javafx.scene.robot.Robot().getScreenCapture(null, screen.minX, screen.minY, screen.width, screen.height)
javax.imageio.ImageIO.write(javafx.embed.swing.SwingFXUtils.fromFXImage(seen, null), 'png', new File('FILE'))
"""

HIDE_NOTIFICATIONS = """
javafx.stage.Window.getWindows().findAll { it.isShowing() && it instanceof javafx.stage.Popup }.each { it.hide() }
null
"""

#: Where on the screen the middle of a node is; null where there is none.
NODE = """
import javafx.scene.*
import javafx.scene.control.*
def nodes = []
def walk
walk = { nodes << it; if (it instanceof Parent) it.getChildrenUnmodifiable().each(walk) }
javafx.stage.Window.getWindows().findAll { it.isShowing() }.each { walk(it.getScene().getRoot()) }
def node = nodes.find { it.isVisible() && !it.isDisabled() && (CONDITION) }
def bounds = node == null ? null : node.localToScreen(node.getLayoutBounds())
bounds == null || bounds.width <= 0 ? null : [bounds.centerX, bounds.centerY]
"""


class Window:
    """A running QuPath with an image open."""

    def __init__(self, display: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.display = display
        self.port = port
        self.process = process
        self.log = log
        self._lost: str | None = None

    def ask(self, source: str) -> Any:
        """The value of Groovy source, run on the JavaFX thread; see `window_probe.groovy`.

        Once QuPath is dead, or its JavaFX thread has not answered within `ANSWER_S`, every question fails at once.
        """
        self._check_lives()
        try:
            answer = json.loads(self._asked(source))
        except (OSError, ValueError) as failure:  # no connection; or it ended in the middle of an answer
            time.sleep(1)  # until Java has ended, or has written that it crashed
            self._check_lives()
            self._lose(f"QuPath does not answer: {failure!r}")
        assert "error" not in answer, f"{answer['error']}\nin:\n{source}"
        return answer.get("value")

    def _asked(self, source: str) -> bytes:
        """The answer of the probe as it comes; whether QuPath lives is looked at each second."""
        deadline = time.monotonic() + ANSWER_S
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(source.encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while True:
                try:
                    part = connection.recv(65536)
                except TimeoutError:
                    self._check_lives()
                    if time.monotonic() > deadline:
                        self.process.send_signal(signal.SIGQUIT)  # Java prints what every thread does
                        time.sleep(2)
                        self._lose(f"QuPath's JavaFX thread has not answered for {ANSWER_S} s to:\n{source}")
                    continue
                if not part:
                    return answer
                answer += part

    def _check_lives(self) -> None:
        if self._lost is not None:
            pytest.fail(f"QuPath was lost before: {self._lost}")
        if self.process.poll() is not None:
            self._lose(f"QuPath has ended with exit code {self.process.returncode}")
        if CRASHED in self.log.read_bytes():  # Java may then wait for a lock of the memory that it lost, and never end
            self._lose("QuPath's Java has crashed")

    def _lose(self, why: str) -> NoReturn:
        self._lost = why.splitlines()[0]
        pytest.fail(f"{why}\nThe end of its log:\n{self.log.read_text(errors='replace')[-LOG_END:]}")

    def wait_for(self, source: str, what: str, *, seconds: float = PATIENCE_S) -> Any:
        """Ask until the answer is true, and return it."""
        deadline = time.monotonic() + seconds
        while not (answer := self.ask(source)):
            assert time.monotonic() < deadline, f"no {what} within {seconds:g} s:\n{self.log.read_text()[-4000:]}"
            time.sleep(0.1)
        return answer

    def open_image(self, name: str) -> None:
        """Show another image of the project, without saving this one; nothing happens where it shows already."""
        self.ask(
            f"def wanted = gui.getProject().getImageList().find {{ it.getImageName() == '{name}' }}\n"
            "def shown = viewer.getImageData()\n"
            "if (shown == null || gui.getProject().getEntry(shown) != wanted) {\n"
            "    shown?.setChanged(false) // else it asks\n"
            "    gui.openImageEntry(wanted)\n"
            "}"
        )
        self.wait_for(f"getProjectEntry()?.getImageName() == '{name}'", f"image {name}")

    def look(self, x: float, y: float, downsample: float) -> None:
        """Put a place of the image, level-0 px, into the middle of the viewer."""
        self.ask(f"viewer.setDownsampleFactor({downsample}); viewer.setCenterPixelLocation({x}, {y})")

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place of the image, level-0 px, as exactly as the screen's pixels allow."""
        place = self.ask(
            f"def p = viewer.imagePointToComponentPoint(new Point2D.Double({x}, {y}), null, false)\n"
            "def s = viewer.getView().localToScreen(p.x, p.y)\n[s.x, s.y]"
        )
        self._xdotool("mousemove", *(str(round(coordinate)) for coordinate in place))

    def click(self, x: float, y: float, *, holding: str | None = None, times: int = 1) -> None:
        """Click on a place of the image, level-0 px."""
        self.point(x, y)
        click = ["click", "--repeat", str(times), "--delay", "60", "1"]
        with self._seen(buttons=times, keys=1 if holding else 0):
            self._xdotool(*(["keydown", holding, *click, "keyup", holding] if holding else click))

    def right_click(self, x: float, y: float) -> None:
        """Click with the right button on a place of the image, level-0 px; the menu that comes may take the release."""
        self.point(x, y)
        self._xdotool("click", "3")

    def drag(self, start: tuple[float, float], end: tuple[float, float], *, holding: str | None = None) -> None:
        """Drag from a place of the image to another, level-0 px."""
        self.point(*start)
        with self._seen(buttons=1, keys=1 if holding else 0):
            if holding:
                self._xdotool("keydown", holding)
            self._xdotool("mousedown", "1")
            for step in range(1, 6):
                self.point(*(a + (b - a) * step / 5 for a, b in zip(start, end, strict=True)))
            self._xdotool("mouseup", "1")
            if holding:
                self._xdotool("keyup", holding)

    def click_in_viewer(self) -> None:
        """Click into the middle of the viewer, whatever it shows."""
        place = self.ask(
            "def b = viewer.getView().localToScreen(viewer.getView().getLayoutBounds()); [b.centerX, b.centerY]"
        )
        with self._seen(buttons=1):
            self._xdotool("mousemove", *(str(round(coordinate)) for coordinate in place), "click", "1")

    def click_on(self, condition: str) -> None:
        """Click on the node in sight for which a Groovy condition on ``it`` holds, once it is there and rests."""
        source = NODE.replace("CONDITION", condition)
        before, place = None, self.wait_for(source, condition)
        while place != before:
            before, place = place, self.wait_for(source, condition)
        self._xdotool("mousemove", *(str(round(coordinate)) for coordinate in place), "click", "1")

    def drag_from(self, condition: str, end: tuple[float, float]) -> None:
        """Drag what a node gives (drag and drop) to a place of the image, level-0 px; wait for what comes of it."""
        start = self.wait_for(NODE.replace("CONDITION", condition), condition)
        self._xdotool("mousemove", *(str(round(coordinate)) for coordinate in start), "mousedown", "1")
        for step in range(1, 4):  # a drag begins after some px
            self._xdotool("mousemove_relative", "--", str(-5 * step), "-5")
            time.sleep(0.2)
        for nudge in (12, 6, 0):
            self.point(end[0] + nudge, end[1])
            time.sleep(0.3)
        self._xdotool("mouseup", "1")

    def wheel(self, notches: int, *, holding: str) -> None:
        """Turn the wheel where the mouse is, up or (negative) down; what comes of it is to be waited for."""
        turn = ["click", "--repeat", str(abs(notches)), "--delay", "60", "4" if notches > 0 else "5"]
        with self._seen(keys=1):
            self._xdotool("keydown", holding, *turn, "keyup", holding)

    def hold(self, key: str) -> None:
        """Press a key and leave it down."""
        self._xdotool("keydown", key)

    def let_go(self, key: str) -> None:
        """Let a key go."""
        with self._seen(keys=1):
            self._xdotool("keyup", key)

    def press(self, *keys: str) -> None:
        """Press keys by their X names, such as ``ctrl+z``. QuPath's notifications are hidden before Escape.

        JavaFX gives Escape to a notification in sight, which hides and takes the key with it: nothing else sees it. One
        is there for the first five seconds ("Running startup script"), and on an idle machine the first Escape comes
        within them.
        """
        if "Escape" in keys:
            self.ask(HIDE_NOTIFICATIONS)
        with self._seen(keys=sum(len(key.split("+")) for key in keys)):
            self._xdotool("key", *keys)

    def key(self, key: str) -> None:
        """Press a key where the release may go to another window; what comes of it is to be waited for."""
        self._xdotool("key", key)

    def write(self, text: str) -> None:
        """Write into the field that has the focus, in place of what stands there."""
        self._xdotool("key", "ctrl+a")
        self._xdotool("type", "--delay", "60", text)

    def screenshot(self, file: Path) -> None:
        """What the whole screen shows, as soon as it rests (what moves for ever is taken after two seconds)."""
        before, deadline = b"", time.monotonic() + 2
        while True:
            self.ask(CAPTURE.replace("FILE", file.as_posix()))
            now = file.read_bytes()
            if now == before or time.monotonic() > deadline:
                return
            before = now

    @contextmanager
    def _seen(self, *, buttons: int = 0, keys: int = 0) -> Iterator[None]:
        """Wait until as many buttons and keys have been let go in the main window as in the ``with`` block."""
        let = "def let = gui.getStage().getProperties()['window-probe']\n"
        before = self.ask(let + "let")
        yield
        wanted = f"let.buttons >= {before['buttons'] + buttons} && let.keys >= {before['keys'] + keys}"
        self.wait_for(let + wanted, "sign of the mouse and the keys")

    def _xdotool(self, *arguments: str) -> None:
        subprocess.run(["xdotool", *arguments], env={**os.environ, "DISPLAY": self.display}, check=True, timeout=60)


@contextmanager
def open_window(
    qupath: QuPath,
    project: Path | None,
    image: str,
    folder: Path,
    *,
    startup_script: Path | None = None,
    **environment: str,
) -> Iterator[Window]:
    """QuPath's window with an image of a project, or, without one, of a path.

    ``startup_script`` is run as one that the preferences name.
    """
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        pytest.skip(f"QuPath's window cannot be driven: {', '.join(missing)} missing")
    log, port = folder / "qupath.log", folder / "probe.port"
    java = (
        f"{qupath.java_options} -Dprism.order=sw -Duser.language=en -Duser.country=US "
        f"-Dqupath.startup.script={FOLDER / 'window_probe.groovy'}"
    )
    with _display(folder) as display, log.open("wb") as written:
        process = subprocess.Popen(
            [str(qupath.launcher), "-q", *([] if project is None else ["-p", str(project)]), "-i", image],
            env={
                **os.environ,
                **qupath.environment,
                **environment,
                "DISPLAY": display,
                "JAVA_TOOL_OPTIONS": java,
                "LIBGL_ALWAYS_SOFTWARE": "1",
                "WINDOW_PROBE_PORT": str(port),
                "WINDOW_STARTUP_SCRIPT": startup_script.as_posix() if startup_script else "",
            },
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not port.exists():
                assert process.poll() is None, f"QuPath has ended:\n{log.read_text()}"
                if time.monotonic() > deadline:
                    process.send_signal(signal.SIGQUIT)  # Java prints what every thread does
                    _end(process)
                    pytest.fail(f"QuPath's window did not come up:\n{log.read_text()}")
                time.sleep(0.2)
            window = Window(display, int(port.read_text()), process, log)
            window.wait_for("viewer?.getImageData() != null && gui.getStage().isFocused()", "image in a focused window")
            yield window
        finally:
            _end(process)


@contextmanager
def _display(folder: Path) -> Iterator[str]:
    """A screen with a window manager."""
    configuration = folder / "openbox.xml"
    configuration.write_text(OPENBOX)
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    manager = None
    try:
        number = server.stdout.readline().strip()
        assert number, "Xvfb did not start"
        display = f":{number}"
        manager = subprocess.Popen(
            ["openbox", "--sm-disable", "--config-file", str(configuration)],
            env={**os.environ, "DISPLAY": display, "XDG_CACHE_HOME": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        yield display
    finally:
        if manager is not None:
            _end(manager)
        _end(server)
        server.stdout.close()


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)
