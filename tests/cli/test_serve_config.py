"""Options of `serve` from a file, the environment and the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.errors import InvalidRequest


def printed(*arguments: str, environment: dict[str, str] | None = None) -> str:
    done = CliRunner().invoke(app, ["serve", "--print-config", *arguments], env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_nearer_place_wins(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('port = 1\nmax-calls = 7\nmodel = "fake"\n')
    options = ["--config", str(file), "--model", "given"]
    environment = {"QUPATH_SAM_SERVE_MAX_CALLS": "9", "QUPATH_SAM_SERVE_MODEL": "variable"}
    found = tomllib.loads(printed(*options, environment=environment))
    assert (found["port"], found["max_calls"], found["model"]) == (1, 9, "given")
    assert "tokens" not in found


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    maps = ["D:\\slides=/mnt/Präparate", "E:\\=/e"]
    text = printed("--path-map", maps[0], "--path-map", maps[1], "--slides", str(tmp_path), "--no-reflection")
    file = tmp_path / "server.toml"
    file.write_text(text, encoding="utf-8")
    assert printed("--config", str(file)) == text
    found = tomllib.loads(text)
    assert found["path_map"] == maps
    assert found["reflection"] is False


@pytest.mark.parametrize(
    ("content", "said"),
    [("prot = 1", "no options; known: .*port"), ("port = ", "no TOML"), ("config = 'x'", "no options")],
)
def test_a_file_that_is_wrong_says_so(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(content)
    with pytest.raises(InvalidRequest, match=said):
        printed("--config", str(file))


@pytest.mark.parametrize("option", ["config", "tokens", "token-file", "tls-certificate", "tls-key", "tls-client-ca"])
def test_a_service_says_of_a_file_that_it_may_not_read_what_to_do(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for its log, of the one who reads the file; not a box that typer draws before."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    done = CliRunner().invoke(app, ["serve", "--print-config", "--port", "0", f"--{option}", str(file)])
    assert "not readable" not in done.output
    assert done.exit_code == 0 or isinstance(done.exception, InvalidRequest)
