"""The command line at its edges: what cannot be written, read or meant is named in one line, before the work."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.app import app
from qupath_sam.client.process import server_process
from qupath_sam.errors import QupathSamError
from qupath_sam.server.settings import ServerSettings

CLICK = ["--point", "700,600", "--model", "fake", "--device", "cpu"]


def call(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "absent/out.geojson"], "cannot be written"),
        (["-o", "."], "cannot be written"),
        (["--overlay", "absent/out.png"], "cannot be written"),
        (["--overlay", "out.xyz"], "must end in .png"),
        (["--region", "nan,0,10,10"], "not finite"),
        (["--region", "0,0,inf,10"], "not finite"),
        (["--mpp", "1", "--downsample", "1"], "not both"),
    ],
)
def test_what_cannot_be_is_told_before_the_work(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = call("segment", demo_slide_path(), *CLICK, *arguments)
    assert isinstance(result.exception, QupathSamError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    "arguments",
    [["--log-level", "loud"], ["--port", "-1"], ["--threads", "-2"], ["--embedding-mib", "-1"], ["--max-calls", "0"]],
)
def test_a_server_that_cannot_be_is_refused(arguments):
    result = call("serve", "--model", "fake", *arguments)
    assert isinstance(result.exception, QupathSamError)


def test_a_relative_path_is_the_callers_and_the_answer_the_same_with_and_without_a_server(tmp_path, monkeypatch):
    shutil.copy(demo_slide_path(), tmp_path / "ein Schnitt ü.tif")
    with server_process(["--model", "fake"]) as address:
        monkeypatch.chdir(tmp_path)
        arguments = ["segment", "ein Schnitt ü.tif", *CLICK, "--masks", "all", "--json"]
        here, there = call(*arguments), call(*arguments, "--server", address)
    assert here.exit_code == there.exit_code == 0, there.exception
    found = [json.loads(result.stdout) for result in (here, there)]
    assert found[0]["objects"] == found[1]["objects"]
    assert all(answer["schema"] and answer["machine"] for answer in found)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of another process are POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_server_cleanly(name):
    command = [sys.executable, "-m", "qupath_sam", "serve", "--port", "0", "--model", "fake", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on 127.0.0.1:")
        process.send_signal(getattr(signal, name))
        assert process.wait(30) == 0


def test_a_server_ends_with_the_program_that_started_it():
    """A program that crashes, as a QuPath may, closes its end of the pipe and no more."""
    command = [sys.executable, "-m", "qupath_sam", "serve", "--port", "0", "--model", "fake", "--device", "cpu"]
    with subprocess.Popen(
        [*command, "--until-input-ends"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on 127.0.0.1:")
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
@pytest.mark.parametrize(("option", "unit"), [("--memory", "GiB"), ("--model-memory", "GiB"), ("--grace", "seconds")])
def test_a_number_that_cannot_be_is_refused_by_the_name_of_its_option(option, unit, value):
    result = call("serve", "--port", "0", "--print-config", "--model", "fake", option, value)
    assert isinstance(result.exception, QupathSamError)
    assert f"{option} must be a finite number of {unit}" in str(result.exception)


def test_settings_refuse_what_is_no_number():
    with pytest.raises(QupathSamError, match="grace_s"):
        ServerSettings(grace_s=float("nan"))
