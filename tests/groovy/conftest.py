"""A QuPath to run scripts in, with preferences and a user directory of its own, and a server to talk to."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from qupath_sam.client.process import server_process
from qupath_sam.errors import QupathSamError
from qupath_sam.qupath.install import install

FOLDER = Path(__file__).parent
SCRIPTS = FOLDER.parents[1] / "groovy" / "scripts"
#: Seconds for one run of QuPath, or the start of its window: a busy machine needs minutes; on an idle one 90 will do.
PATIENCE_S = int(os.environ.get("QUPATH_SAM_PATIENCE", "400"))
LAUNCHERS = ("bin/QuPath", "Contents/MacOS/QuPath*", "QuPath-*(console).exe")


def with_options(text: str, options: dict[str, str]) -> str:
    """A script with other options, as Groovy writes their values; one that the script does not have is added.

    Of a name that stands in a map twice, Groovy takes the last: what is added before the others would say nothing.
    """
    (old,) = re.findall(r"^def options = \[.*\]", text, re.MULTILINE)
    new = old
    for name, value in options.items():
        new, there = re.subn(rf"\b{name}: ('[^']*'|[\w.]+)", f"{name}: {value}", new)
        assert there <= 1
        if not there:
            new = new.replace("[", f"[{name}: {value}, ", 1)
    return text.replace(old, new)


@dataclass
class Run:
    """How a run of QuPath ended."""

    exit_code: int
    output: str

    @property
    def said(self) -> list[str]:
        """What our scripts printed."""
        return [line for line in self.output.splitlines() if line.startswith("qupath-sam: ")]


@dataclass
class QuPath:
    """Runs `QuPath script`."""

    launcher: Path
    preferences: Path
    user_directory: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def java_options(self) -> str:
        """Java keeps preferences, and says why it crashed, where no other QuPath and no checkout sees it."""
        return f"-Djava.util.prefs.userRoot={self.preferences} -XX:ErrorFile={self.preferences / 'hs_err_pid%p.log'}"

    def script(self, script: Path, *arguments: str, **environment: str) -> Run:
        """Run a script; ``arguments`` go before it."""
        process = subprocess.Popen(
            [str(self.launcher), "-q", "script", *arguments, str(script)],
            env={**os.environ, "JAVA_TOOL_OPTIONS": self.java_options, **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            output, _ = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)  # Java prints what every thread does
            process.terminate()
            output, _ = process.communicate()
            pytest.fail(f"QuPath did not end within {PATIENCE_S} s:\n{output}")
        # The stack traces of a compilation that failed three times over help nobody.
        lines = output.splitlines()
        return Run(process.returncode, "\n".join(line for line in lines if not line.startswith("\tat ")))

    def make_project(self, folder: Path, images: list[Path]) -> Path:
        """A project with prompts and outlines in each image."""
        arguments = [part for path in (folder, *images) for part in ("-a", str(path))]
        run = self.script(FOLDER / "make_project.groovy", *arguments)
        assert f"project of {len(images)} images" in run.output, run.output
        return folder / "project.qpproj"

    def objects(self, project: Path) -> dict[str, dict[str, dict[str, str]]]:
        """Image name -> object name -> what `list_objects.groovy` prints of it."""
        run = self.script(FOLDER / "list_objects.groovy", "-p", str(project))
        found: dict[str, dict[str, dict[str, str]]] = {}
        for line in run.output.splitlines():
            if line.startswith("OBJECT\t"):
                image, name, *pairs = line.split("\t")[1:]
                found.setdefault(image, {})[name] = dict(pair.split("=", 1) for pair in pairs)
        return found


def _launcher() -> Path | None:
    named = os.environ.get("PAQUO_QUPATH_DIR")
    if named is None:
        return None
    return next((path for pattern in LAUNCHERS for path in Path(named).glob(pattern)), None)


@pytest.fixture(scope="session")
def bare_qupath(tmp_path_factory: pytest.TempPathFactory) -> QuPath:
    """A QuPath without our jar."""
    launcher = _launcher()
    if launcher is None:
        pytest.skip("no QuPath: set PAQUO_QUPATH_DIR to an installation")
    return QuPath(launcher, tmp_path_factory.mktemp("bare-preferences"))


@pytest.fixture(scope="session")
def qupath(bare_qupath: QuPath, tmp_path_factory: pytest.TempPathFactory) -> QuPath:
    """A QuPath into whose user directory our jar has been installed."""
    user = tmp_path_factory.mktemp("user-directory")
    try:
        install(user)
    except QupathSamError as absent:
        pytest.skip(str(absent))
    installed = QuPath(bare_qupath.launcher, tmp_path_factory.mktemp("preferences"), user)
    setting = user.parent / "set_user_directory.groovy"
    setting.write_text(f"qupath.lib.gui.prefs.PathPrefs.userPathProperty().set('{user.as_posix()}')\n")
    run = installed.script(setting)
    assert run.exit_code == 0, run.output
    return installed


@pytest.fixture(scope="module")
def two_images(qupath: QuPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two images of different pixels and the same objects."""
    folder = tmp_path_factory.mktemp("projekt für tests")
    images = []
    for name, colour in (("one", (120, 60, 160)), ("two", (60, 120, 160))):
        picture = Image.new("RGB", (900, 700), (240, 225, 235))
        ImageDraw.Draw(picture).ellipse((250, 250, 350, 350), fill=colour)
        picture.save(folder / f"{name}.png")
        images.append(folder / f"{name}.png")
    return qupath.make_project(folder / "project", images)


@pytest.fixture
def copy(two_images: Path, tmp_path: Path) -> Path:
    """The project again, to be changed."""
    shutil.copytree(two_images.parent, tmp_path / "copy")
    return tmp_path / "copy" / two_images.name


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Port of a server with the fake model that reads slides."""
    with server_process(["--model", "fake", "--device", "cpu"]) as address:
        yield address.rpartition(":")[2]


@pytest.fixture(scope="module")
def blind_server() -> Iterator[str]:
    """Port of a server with the fake model that reads no slides."""
    with server_process(["--model", "fake", "--device", "cpu", "--no-read-slides"]) as address:
        yield address.rpartition(":")[2]
