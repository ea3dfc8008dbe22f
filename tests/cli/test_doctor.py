"""The doctor: what is well is called well, what is not comes with a remedy, and nothing hides the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qupath_sam import __version__
from qupath_sam.cli.app import app
from qupath_sam.cli.checks import Finding, State, examination, examine
from qupath_sam.cli.checks.java import java_major, qupath_version
from qupath_sam.cli.checks.server import server as check_server
from qupath_sam.server.app import RunningServer


def by_topic(findings: list[Finding], topic: str) -> Finding:
    return next(finding for finding in findings if finding.topic == topic)


def test_everything_that_the_tests_need_is_well() -> None:
    findings = list(examine())
    for topic in ("python", "torch", "threads", "model", "slide readers", "slide"):
        found = by_topic(findings, topic)
        assert found.state is not State.PROBLEM, found
    assert "SHA-256" in by_topic(findings, "model").said
    assert all(finding.remedy for finding in findings if finding.state is not State.OK)


def test_what_was_asked_for_and_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path / "no QuPath"))
    answer = CliRunner().invoke(
        app, ["doctor", "--server", "127.0.0.1:1", "--slide", str(tmp_path / "no.svs"), "--json"]
    )
    assert answer.exit_code == 1
    report = json.loads(answer.stdout)
    assert report["schema"] == "qupath-sam/doctor/1"
    assert report["machine"]["cores"] >= 1
    assert report["ok"] is False
    problems = {f["topic"]: f for f in report["findings"] if f["state"] == "problem"}
    assert {"server", "slide"} <= problems.keys()
    assert "qupath-sam serve" in problems["server"]["remedy"]
    assert "path" in problems["slide"]["remedy"]


def test_a_look_that_breaks_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Finding]:
        raise AttributeError("half an installation")

    monkeypatch.setattr(examination.machine, "disk", broken)
    findings = list(examine())
    assert by_topic(findings, "disk").state is State.PROBLEM
    assert "half an installation" in by_topic(findings, "disk").said
    assert by_topic(findings, "slide").state is State.OK


def test_missing_weights_are_a_problem_with_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    from qupath_sam.cli.checks import inference

    monkeypatch.setattr(inference, "DEFAULT_MODEL", "sam_vit_h")
    monkeypatch.setenv("QUPATH_SAM_HOME", str(Path(__file__).parent / "no home"))
    (found,) = inference.default_model()
    assert found.state is State.PROBLEM
    assert "models pull sam_vit_h" in found.remedy


def test_a_server_of_another_version_is_named(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    (same,) = check_server(server.address)
    assert same.state is State.OK
    assert __version__ in same.said
    monkeypatch.setattr("qupath_sam.cli.checks.server.__version__", "99.0")
    (other,) = check_server(server.address)
    assert other.state is State.WARNING
    assert "same version" in other.remedy


@pytest.mark.parametrize(
    ("said", "major"),
    [
        ('openjdk version "17.0.11" 2024-04-16', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ("command not found", None),
    ],
)
def test_java_versions(said: str, major: int | None) -> None:
    assert java_major(said) == major


def test_qupath_tells_its_version_by_its_jar(tmp_path: Path) -> None:
    assert qupath_version(tmp_path) is None
    (tmp_path / "qupath-core-processing-0.7.0.jar").touch()
    assert qupath_version(tmp_path) is None
    (tmp_path / "qupath-core-0.6.0-rc4.jar").touch()
    assert qupath_version(tmp_path) == (0, 6, 0)


def test_a_finding_that_is_not_well_must_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="what to do"):
        Finding("disk", State.WARNING, "full")
