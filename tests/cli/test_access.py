"""Locked servers on the command line: a real ``serve`` with certificate and token, and what others need for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.access import read_access
from qupath_sam.cli.project_session import Session
from qupath_sam.client.process import server_process
from tests.certificates import CERTIFICATE, KEY, OTHER_KEY
from tests.project import plain_project

SLIDE = demo_slide_path()
TOKEN = "a-token-for-tests~0123456789"


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("Schlüssel bund") / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def locked_address(token_file: Path) -> Iterator[str]:
    options = ["--tls-certificate", str(CERTIFICATE), "--tls-key", str(KEY), "--token-file", str(token_file)]
    with server_process(["--model", "fake", "--device", "cpu", *options]) as address:
        yield address


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUPATH_SAM_TOKEN", "QUPATH_SAM_TLS", "QUPATH_SAM_CA"):
        monkeypatch.delenv(name, raising=False)


def test_segment_gets_in_with_options_or_variables(qupath_sam, locked_address, token_file, monkeypatch) -> None:
    request = "segment", SLIDE, "--point", "700,600", "--server", locked_address, "--json"
    told = qupath_sam(*request, "--tls-ca", CERTIFICATE, "--token-file", token_file)
    assert told.code == 0, told.stderr
    monkeypatch.setenv("QUPATH_SAM_CA", str(CERTIFICATE))
    monkeypatch.setenv("QUPATH_SAM_TOKEN", TOKEN)
    found = qupath_sam(*request)
    assert found.code == 0, found.stderr
    assert json.loads(told.stdout)["objects"] == json.loads(found.stdout)["objects"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--tls"),
        (("--tls",), "does not prove who it is"),
        (("--tls-ca", CERTIFICATE), "--token-file"),
        (("--tls-ca", KEY), "holds no certificate"),
        (("--tls-ca", CERTIFICATE, "--token-file", KEY), "one word"),
        (("--tls-ca", CERTIFICATE, "--token-file", "absent"), "cannot read the token in absent"),
    ],
)
def test_who_does_not_get_in_is_told_why_in_one_line(qupath_sam, locked_address, options, said) -> None:
    done = qupath_sam("segment", SLIDE, "--point", "700,600", "--server", locked_address, *options)
    assert done.code == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_variable_that_holds_no_token_is_named(qupath_sam, locked_address, monkeypatch) -> None:
    monkeypatch.setenv("QUPATH_SAM_TOKEN", "no token at all")
    done = qupath_sam("segment", SLIDE, "--point", "700,600", "--server", locked_address, "--tls-ca", CERTIFICATE)
    assert done.code == 2
    assert "QUPATH_SAM_TOKEN: a token is one word" in done.stderr
    assert "no token at all" not in done.stderr


def test_doctor_asks_with_the_token(qupath_sam, locked_address, token_file) -> None:
    def finding(*options: object) -> dict[str, str]:
        done = qupath_sam("doctor", "--server", locked_address, "--json", *options)
        return {f["topic"]: f for f in json.loads(done.stdout)["findings"]}["server"]

    assert finding("--tls-ca", CERTIFICATE, "--token-file", token_file)["state"] == "ok"
    stranger = finding("--tls-ca", CERTIFICATE)
    assert stranger["state"] == "problem"
    assert "--token-file" in stranger["remedy"]


def test_projects_are_refused_before_anything_is_started(qupath_sam, locked_address, token_file, tmp_path) -> None:
    project = plain_project.make(tmp_path / "project")
    for command in (("refine",), ("segment", "--class", "SAM")):
        refused = qupath_sam("project", *command, project, "--server", locked_address, "--tls-ca", CERTIFICATE)
        assert (refused.code, "--token-file" in refused.stderr) == (2, True)
    assert plain_project.version_of(project, "1") == 0
    access = read_access(token_file, False, CERTIFICATE)
    with Session.open([locked_address], [], "1g", 60, push_pixels=False, access=access) as session:
        assert session.window_px("") == 256


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tls-certificate", CERTIFICATE), "--tls-key"),
        (("--tls-certificate", CERTIFICATE, "--tls-key", OTHER_KEY), "does not belong"),
        (("--token-file", "absent"), "cannot read the token in absent"),
        (("--token-file", CERTIFICATE), "one word"),
    ],
)
def test_a_server_that_could_not_be_locked_does_not_start(qupath_sam, options, said) -> None:
    done = qupath_sam("serve", "--port", "0", "--model", "fake", *options)
    assert done.code == 2
    assert said in done.stderr
    assert not done.stdout


def test_a_token_on_the_open_network_needs_tls_or_a_word(qupath_sam, token_file) -> None:
    done = qupath_sam("serve", "--host", "0.0.0.0", "--port", "0", "--model", "fake", "--token-file", token_file)
    assert done.code == 2
    assert "--token-without-tls" in done.stderr
