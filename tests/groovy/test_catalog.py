"""catalog.json, as the tool writes it for a release, and as QuPath reads it."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from qupath_sam import __version__
from tools.catalog import main, with_release

from .conftest import QuPath

JAR = f"https://github.com/someone/qupath-sam/releases/download/v{__version__}/qupath-sam-client.jar"


def releases(catalog: dict[str, Any]) -> list[str]:
    return [release["name"] for release in catalog["extensions"][0]["releases"]]


def test_releases_stand_newest_first_and_once() -> None:
    first = with_release(None, JAR)
    assert releases(with_release(first, JAR)) == [f"v{__version__}"]
    next_jar = JAR.replace(f"v{__version__}", "v9.8.7")
    second = with_release(first, next_jar, version="9.8.7")
    assert releases(second) == ["v9.8.7", f"v{__version__}"]
    assert second["extensions"][0]["releases"][0]["main_url"] == next_jar


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://example.org/qupath-sam-client.jar", "no jar of a release"),
        (JAR.replace("https", "http"), "no jar of a release"),
        (JAR.replace("v", "", 1), "no jar of a release"),
        (JAR.replace(f"v{__version__}", "v77.0.0"), "check out that release"),
    ],
)
def test_what_qupath_would_not_take_is_refused(url: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        with_release(None, url)
    assert main([url, "--file", str(tmp_path / "catalog.json")]) == 2
    assert not (tmp_path / "catalog.json").exists()


def test_a_catalogue_of_another_repository_is_left_alone() -> None:
    with pytest.raises(ValueError, match="the jar of"):
        with_release(with_release(None, JAR), JAR.replace("someone/qupath-sam", "other/sam"))


def test_a_catalogue_in_this_repository_names_releases_that_are_there() -> None:
    """None is committed before there is a release; one that is must hold to the rules."""
    file = Path(__file__).parents[2] / "catalog.json"
    if not file.exists():
        pytest.skip("no release has been made yet: python -m tools.catalog URL writes catalog.json")
    for release in json.loads(file.read_text("utf-8"))["extensions"][0]["releases"]:
        assert with_release(None, release["main_url"], version=release["name"][1:].split("-")[0])


@pytest.mark.qupath
@pytest.mark.slow
def test_qupath_reads_it(bare_qupath: QuPath, tmp_path: Path) -> None:
    """By the class that QuPath 0.6 and newer read catalogues with."""
    assert main([JAR, "--file", str(tmp_path / "catalog.json")]) == 0
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        script = tmp_path / "read.groovy"
        script.write_text(
            "def fetcher = Class.forName('qupath.ext.extensionmanager.core.model.CatalogModelFetcher')\n"
            f"def catalog = fetcher.getCatalog(new URI('http://127.0.0.1:{files.server_port}/catalog.json')).get()\n"
            "def release = catalog.extensions()[0].releases()[0]\n"
            'println "READ ${catalog.extensions()[0].name()} ${release.name()} ${release.mainUrl()}"\n'
        )
        run = bare_qupath.script(script)
        files.shutdown()
    assert f"READ SAM v{__version__} {JAR}" in run.output, run.output
