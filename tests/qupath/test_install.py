"""Where the jar and the scripts go, without a QuPath."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from qupath_sam.errors import QupathSamError
from qupath_sam.qupath import install as install_module
from qupath_sam.qupath.install import JAR_NAME, folder_name, install, registry_text, user_directories

PREFERENCES = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!DOCTYPE map SYSTEM "http://java.sun.com/dtd/preferences.dtd">
<map MAP_XML_VERSION="1.0">
  <entry key="userPath" value="{path}"/>
  <entry key="openslide.crop" value="true"/>
</map>
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that carries a jar and two scripts."""
    folder = tmp_path / "site-packages" / "qupath_sam"
    (folder / "assets" / "qupath" / "scripts").mkdir(parents=True)
    (folder / "assets" / "qupath" / JAR_NAME).write_bytes(b"jar")
    (folder / "assets" / "qupath" / "scripts" / "live_click.groovy").write_text("1")
    (folder / "assets" / "qupath" / "scripts" / "refine_selected.groovy").write_text("2")
    monkeypatch.setattr(install_module, "_PACKAGE", folder)
    return folder


def preference(home: Path, version: str, text: str) -> None:
    folder = home / ".java" / ".userPrefs" / folder_name("io.github.qupath") / folder_name(version)
    folder.mkdir(parents=True)
    (folder / "prefs.xml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("node", "folder"),
    [  # as a QuPath 0.7.0 on Linux has made them
        ("io.github.qupath", "_!'k!bw!u!'c!a@\"0!'g!d@\"i!#4!c@\"1!(!!}@\"0!'g="),
        ("0.7", "_!$!!.g!3"),
        ("plain", "plain"),
    ],
)
def test_folders_are_named_as_java_names_them(node: str, folder: str) -> None:
    assert folder_name(node) == folder


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("/C:////users//me/u00e4//q", "C:\\\\users\\meä\\q"),
        ("/C:///Users", "C:\\Users"),
        ("\\home\\me", "/home/me"),
        ("////server//share", "\\\\server\\share"),
    ],
)
def test_registry_values_are_read_back(stored: str, text: str) -> None:
    assert registry_text(stored) == text


@pytest.mark.skipif("sys.platform != 'linux'")
def test_the_user_directory_is_read_from_the_preferences(tmp_path: Path) -> None:
    there = tmp_path / "QuPath ü"
    there.mkdir()
    preference(tmp_path, "0.6", PREFERENCES.format(path=there))
    preference(tmp_path, "0.7", PREFERENCES.format(path=tmp_path / "deleted"))
    preference(tmp_path, "0.5", "<map")
    assert [(found.version, found.path) for found in user_directories(home=tmp_path)] == [("0.6", there)]


def test_without_preferences_there_is_no_user_directory(tmp_path: Path) -> None:
    assert user_directories(home=tmp_path) == ()


def test_an_older_jar_is_replaced(package: Path, tmp_path: Path) -> None:
    extensions = tmp_path / "user" / "extensions"
    extensions.mkdir(parents=True)
    (extensions / JAR_NAME).write_bytes(b"old and longer")
    written = install(tmp_path / "user")
    assert written.jar == extensions / JAR_NAME
    assert written.jar.read_bytes() == b"jar"
    assert [script.name for script in written.scripts] == ["live_click.groovy", "refine_selected.groovy"]


def test_a_package_without_the_jar_says_where_to_get_it(package: Path) -> None:
    (package / "assets" / "qupath" / JAR_NAME).unlink()
    with pytest.raises(QupathSamError, match="mvn -f groovy/client package"):
        install_module.find_jar()


def test_a_folder_that_cannot_be_written_is_named(package: Path, tmp_path: Path) -> None:
    (tmp_path / "extensions").write_text("a file, not a folder")
    with pytest.raises(QupathSamError, match="extensions"):
        install(tmp_path)


def test_the_command_says_the_next_step(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from qupath_sam.cli.install_qupath import install_qupath

    app = typer.Typer()
    app.command()(install_qupath)
    monkeypatch.setattr(install_module, "user_directories", lambda: ())
    alone = CliRunner().invoke(app, ["--folder", str(tmp_path / "out")])
    assert alone.exit_code == 0, alone.output
    assert "drag this jar onto QuPath" in alone.output
    assert (tmp_path / "out" / JAR_NAME).is_file()
    known = CliRunner().invoke(app, ["--user-dir", str(tmp_path / "user")])
    assert known.exit_code == 0, known.output
    assert "restart QuPath" in known.output
    assert (tmp_path / "user" / "scripts" / "live_click.groovy").is_file()
