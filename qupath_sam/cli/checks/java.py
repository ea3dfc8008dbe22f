"""Java, QuPath and the client jar in its user folder; no JVM stays behind, and QuPath is not started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from qupath_sam.cli.checks.findings import Finding, State

#: Java that a QuPath release needs.
NEEDED_JAVA = {(0, 5): 17, (0, 6): 21, (0, 7): 25}
CLIENT_JAR = "qupath-sam-client"
_NEEDS = "QuPath 0.5 needs 17, 0.6 needs 21, 0.7 needs 25"


def system_java() -> Iterator[Finding]:
    """Check the Java on the path. QuPath's installers bring their own, so none is no problem."""
    command = _java_command()
    if command is None:
        yield Finding("java", State.OK, "none on the path; QuPath brings its own, only building its client needs one")
        return
    try:
        ran = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("java", State.WARNING, f"{command} does not run: {error}", "repair it, or take it off the path")
        return
    major = java_major(ran.stderr + ran.stdout)
    if major is None:
        yield Finding("java", State.WARNING, f"{command} does not say its version", "install a JDK, 17 or newer")
    elif major < 17:
        yield Finding("java", State.WARNING, f"Java {major} ({command}); {_NEEDS}", "install a JDK, 17 or newer")
    else:
        yield Finding("java", State.OK, f"Java {major} ({command}); {_NEEDS}")


def java_major(text: str) -> int | None:
    """Return the major version in what ``java -version`` prints: 8 for "1.8.0_402", 25 for "25.0.3"."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else None


def qupath() -> Iterator[Finding]:
    """Check the QuPath that project commands would use: where paquo looks."""
    import paquo
    from paquo.jpype_backend import find_qupath

    try:
        settings = paquo.settings.to_dict()
        info = find_qupath(**{key.lower(): value for key, value in settings.items()})
    except (ValueError, OSError) as error:
        where = os.environ.get("PAQUO_QUPATH_DIR")
        said = f"not found{f' in PAQUO_QUPATH_DIR={where}' if where else ''} ({error})"
        remedy = "install QuPath 0.5 to 0.7 and set PAQUO_QUPATH_DIR to its folder, for commands that work on projects"
        yield Finding("qupath", State.PROBLEM if where else State.WARNING, said, remedy)
        return
    yield _qupath_version(Path(info.app_dir), Path(info.runtime_dir))
    yield _client_jar(Path.home() / "QuPath")


def _qupath_version(app: Path, runtime: Path) -> Finding:
    version = qupath_version(app)
    if version is None:
        said, remedy = f"an installation without a version in {app}", "install QuPath 0.5 to 0.7"
        return Finding("qupath", State.WARNING, said, remedy)
    brought = java_major(_release(runtime).replace("JAVA_VERSION=", "version "))
    needed = NEEDED_JAVA.get(version[:2])
    said = f"QuPath {'.'.join(map(str, version))} in {app}, with Java {brought or 'unknown'}"
    if needed is None:
        known = ", ".join(".".join(map(str, release)) for release in NEEDED_JAVA)
        return Finding("qupath", State.WARNING, said, f"known to work: {known}; install one of them beside it")
    if brought is not None and brought < needed:
        return Finding("qupath", State.PROBLEM, f"{said}; it needs {needed}", f"put a Java {needed} into {runtime}")
    return Finding("qupath", State.OK, said)


def qupath_version(app: Path) -> tuple[int, int, int] | None:
    """Return the version in the name of QuPath's core jar; None where there is no such jar."""
    for jar in sorted(app.glob("qupath-core-[0-9]*.jar")):
        found = re.match(r"qupath-core-(\d+)\.(\d+)(?:\.(\d+))?", jar.name)
        if found:
            major, minor, patch = (int(part or 0) for part in found.groups())
            return major, minor, patch
    return None


def _client_jar(user_folder: Path) -> Finding:
    """Check the client jar in QuPath's default user folders; another one can be chosen in its preferences."""
    jars = sorted(user_folder.glob(f"v*/extensions/**/{CLIENT_JAR}*.jar"))
    if jars:
        return Finding("client jar", State.OK, ", ".join(map(str, jars)))
    return Finding(
        "client jar",
        State.WARNING,
        f"no {CLIENT_JAR}.jar under {user_folder}",
        "run `qupath-sam install-qupath` if you want to click there (unless your user folder is elsewhere)",
    )


def _java_command() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return (shutil.which("java", path=str(Path(home) / "bin")) if home else None) or shutil.which("java")


def _release(runtime: Path) -> str:
    """Read what a Java runtime says of itself in its file ``release``."""
    try:
        return (runtime / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
