"""The client jar and the Groovy scripts: where they are in this package, and where QuPath looks for them.

QuPath keeps its user directory in Java's preferences, node ``io.github.qupath/0.7``, key ``userPath``: an XML file on
Linux, the registry on Windows, a property list on macOS. There is none until the user has agreed to one.
"""

from __future__ import annotations

import plistlib
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qupath_sam.errors import QupathSamError

JAR_NAME = "qupath-sam-client.jar"
#: Versions of QuPath that the jar and the scripts are for, newest first.
QUPATH_VERSIONS = ("0.7", "0.6", "0.5")
_NODE = "io.github.qupath"
_KEY = "userPath"
_PACKAGE = Path(__file__).resolve().parents[1]
#: Java's own base 64, for folder names that hold other than letters and digits (java.util.prefs.Base64).
_ALPHABET = "!\"#$%&'(),-.:;<>@[]^`_{|}~abcdefghijklmnopqrstuvwxyz0123456789+?"


@dataclass(frozen=True, slots=True)
class UserDirectory:
    """QuPath's user directory of one version."""

    version: str
    path: Path


@dataclass(frozen=True, slots=True)
class Installed:
    """The written files."""

    jar: Path
    scripts: tuple[Path, ...]


def find_jar() -> Path:
    """Find the client jar: of the installed package, or of a checkout in which it was built.

    Raises:
        QupathSamError: there is none.
    """
    built = _PACKAGE.parent / "groovy" / "client" / "target"
    for candidate in (_PACKAGE / "assets" / "qupath" / JAR_NAME, built / JAR_NAME):
        if candidate.is_file():
            return candidate
    raise QupathSamError(
        f"this installation carries no {JAR_NAME}; install a released wheel, or build it in a checkout with "
        "`mvn -f groovy/client package` (needs Maven and a JDK of at least 17)"
    )


def find_scripts() -> tuple[Path, ...]:
    """Find the Groovy scripts, sorted by name.

    Raises:
        QupathSamError: there are none.
    """
    for folder in (_PACKAGE / "assets" / "qupath" / "scripts", _PACKAGE.parent / "groovy" / "scripts"):
        scripts = tuple(sorted(folder.glob("*.groovy")))
        if scripts:
            return scripts
    raise QupathSamError("this installation carries no scripts; install a released wheel, or use a checkout")


def install(folder: Path, *, jar_folder: str = "extensions", script_folder: str = "scripts") -> Installed:
    """Copy jar and scripts into ``folder``, replacing what an earlier release has put there.

    Args:
        folder: QuPath's user directory, or any other folder; made where it is not there.
        jar_folder: folder in it for the jar; "" for itself.
        script_folder: the same for the scripts.

    Raises:
        QupathSamError: a file cannot be written.
    """
    jar, scripts = find_jar(), find_scripts()
    return Installed(
        _copy(jar, folder / jar_folder), tuple(_copy(script, folder / script_folder) for script in scripts)
    )


def _copy(source: Path, folder: Path) -> Path:
    target = folder / source.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        # Windows keeps a jar locked while QuPath has it open.
        raise QupathSamError(f"cannot write {target} ({error.strerror}); close QuPath and repeat") from error
    return target


def user_directories(*, home: Path | None = None) -> tuple[UserDirectory, ...]:
    """Find the user directories in QuPath's settings that exist, newest version first.

    Args:
        home: of the user, where preferences are looked for on Linux and macOS.
    """
    home = home or Path.home()
    found: dict[str, str] = {}
    if sys.platform == "win32":
        found = dict(_from_registry())
    elif sys.platform == "darwin":
        found = dict(_from_property_list(home))
    else:
        found = dict(_from_xml(home))
    return tuple(
        UserDirectory(version, Path(found[version]))
        for version in QUPATH_VERSIONS
        if version in found and Path(found[version]).is_dir()
    )


def _from_xml(home: Path) -> Iterator[tuple[str, str]]:
    root = home / ".java" / ".userPrefs" / folder_name(_NODE)
    for version in QUPATH_VERSIONS:
        file = root / folder_name(version) / "prefs.xml"
        if file.is_file():
            try:
                entries = ElementTree.parse(file).getroot().iter("entry")
            except ElementTree.ParseError:
                continue  # half written, by a crash: as if nothing were set
            for entry in entries:
                if entry.get("key") == _KEY and entry.get("value"):
                    yield version, str(entry.get("value"))


def _from_property_list(home: Path) -> Iterator[tuple[str, str]]:
    file = home / "Library" / "Preferences" / "com.apple.java.util.prefs.plist"
    if file.is_file():
        tree: Any = plistlib.loads(file.read_bytes())
        for version in QUPATH_VERSIONS:
            value = tree.get("/", {}).get(f"{_NODE}/", {}).get(f"{version}/", {}).get(_KEY)
            if value:
                yield version, str(value)


def _from_registry() -> Iterator[tuple[str, str]]:
    if sys.platform == "win32":
        import winreg

        for version in QUPATH_VERSIONS:
            try:
                with winreg.OpenKey(winreg.HKEY_CURRENT_USER, rf"Software\JavaSoft\Prefs\{_NODE}\{version}") as node:
                    value, _ = winreg.QueryValueEx(node, "user/Path")
            except OSError:
                continue
            yield version, registry_text(str(value))
    yield from ()


def registry_text(stored: str) -> str:
    """Undo java.util.prefs.WindowsPreferences: ``/X`` is a capital, ``//`` a backslash, ``/u12ab`` a code unit."""

    def one(match: re.Match[str]) -> str:
        code = match.group()
        if code == "\\":
            return "/"
        if code == "//":
            return "\\"
        return chr(int(code[2:], 16)) if code.startswith("/u") else code[1:]

    return re.sub(r"/u[0-9a-f]{4}|/.|\\", one, stored)


def folder_name(node: str) -> str:
    """Return the folder of a node of java.util.prefs.FileSystemPreferences: its name, or ``_`` and its base 64."""
    if all(" " <= c < "\x7f" and c not in "/._" for c in node):
        return node
    data = b"".join(ord(c).to_bytes(2, "big") for c in node)
    bits = "".join(f"{byte:08b}" for byte in data)
    digits = [bits[i : i + 6].ljust(6, "0") for i in range(0, len(bits), 6)]
    text = "".join(_ALPHABET[int(digit, 2)] for digit in digits)
    return "_" + text + "=" * (-len(text) % 4)
