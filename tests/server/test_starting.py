"""A server listens before its model is there: callers are asked to come back, and come back; what it does is said."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import Access, SamClient, Slide
from qupath_sam.errors import ServerStarting, SlideNotFound, Unauthenticated, UnknownModel
from qupath_sam.server.app import complete, start_server
from qupath_sam.server.listener import Listener, listen
from qupath_sam.server.settings import ServerSettings

FAKE = ServerSettings(port=0, model="fake", device="cpu")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Of a server that never gets its model."""
    early = listen(FAKE)
    yield early
    early.close()


def health(address: str, service: str) -> int | grpc.StatusCode:
    with grpc.insecure_channel(address) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            return health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status
        except grpc.RpcError as error:
            return error.code()


def test_who_comes_early_is_asked_to_come_back(listener):
    with SamClient(listener.address, timeout_s=0.5) as client:
        with pytest.raises(ServerStarting, match="ask again in a moment") as caught:
            client.capabilities()
        assert caught.value.retry_after_s == 0.25
        assert not client.is_serving()
    assert health(listener.address, "") == NOT_SERVING


def test_a_client_waits_for_a_server_that_starts(monkeypatch):
    early, servers = listen(FAKE), []
    # The server is completed while the client waits for the first time.
    monkeypatch.setattr("qupath_sam.client.sam.sleep", lambda seconds: servers.append(complete(early)))
    with SamClient(early.address, timeout_s=30) as client:
        assert client.capabilities().default_model == "fake"
        assert client.is_serving()
    assert len(servers) == 1
    servers[0].stop(0)


def test_a_stranger_is_sent_away_before_a_server_is_ready():
    listener = listen(replace(FAKE, token="0123456789abcdef0123456789abcdef"))
    try:
        with SamClient(listener.address, timeout_s=5) as stranger, pytest.raises(Unauthenticated):
            stranger.capabilities()
        access = Access(token="0123456789abcdef0123456789abcdef")
        with SamClient(listener.address, timeout_s=0.5, access=access) as known, pytest.raises(ServerStarting):
            known.capabilities()
    finally:
        listener.close()


def test_a_model_that_cannot_be_loaded_frees_the_port():
    listener = listen(replace(FAKE, model="nonesuch"))
    with pytest.raises(UnknownModel):
        complete(listener)
    start_server(replace(FAKE, port=listener.port)).stop(0)


def test_health_knows_the_models():
    with start_server(FAKE) as server:
        assert health(server.address, "model/fake") == SERVING
        assert health(server.address, "model/lite_medsam") is grpc.StatusCode.NOT_FOUND
        server.engine.models.put(replace(server.engine.models.get("fake"), spec=_named(server, "second")))
        server.engine.models.put(replace(server.engine.models.get("fake"), spec=_named(server, "third")))
        assert health(server.address, "model/third") == SERVING


def _named(server, name):
    return replace(server.engine.models.get("fake").spec, name=name)


def test_what_it_does_is_logged_in_order(caplog):
    caplog.set_level(logging.INFO, "qupath_sam.server.phase")
    start_server(FAKE).stop(0)
    phases = [record for record in caplog.records if record.name == "qupath_sam.server.phase"]
    said = [record.getMessage().partition(" (")[0] for record in phases]
    assert said == ["loading the model fake", "warming up fake", "serving", "stopping"]


def test_the_settings_of_a_running_server_change(tmp_path):
    slide = Slide(demo_slide_path())
    with start_server(FAKE) as server, SamClient(server.address, timeout_s=30) as client:
        assert client.describe(slide).width
        wanted = replace(FAKE, slide_roots=(tmp_path,), embedding_bytes=1, grace_s=9, max_calls=3)
        changed, left = server.reconfigure(wanted)
        assert set(changed) == {"slide_roots", "embedding_bytes", "grace_s"}
        assert left == ("max_calls",)
        assert server.settings.grace_s == 9
        assert server.engine.embeddings.memory.max_bytes == 1
        with pytest.raises(SlideNotFound):
            client.describe(slide)
        assert server.reconfigure(FAKE)[0]
        assert client.describe(slide).width


def test_a_token_changes_while_its_server_runs():
    old, new = "old-token-of-the-lab-0123456789", "new-token-of-the-lab-0123456789"
    with start_server(replace(FAKE, token=old)) as server:
        assert server.reconfigure(replace(FAKE, token=new)) == (("token",), ())
        with SamClient(server.address, token=new) as client:
            assert client.capabilities().default_model == "fake"
        with SamClient(server.address, token=old) as client, pytest.raises(Unauthenticated):
            client.capabilities()
        assert server.reconfigure(FAKE) == ((), ("token",))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_sighup_reads_the_configuration_again(tmp_path):
    file, log = tmp_path / "server.toml", tmp_path / "log"
    file.write_text('model = "fake"\ngrace = 3.0\n')
    command = [sys.executable, "-m", "qupath_sam", "serve", "--config", str(file), "--device", "cpu", "--port", "0"]
    command += ["--log-format", "json"]
    with (
        log.open("w") as sink,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("listening on ")

            def reload(content: str, awaited: str) -> str:
                file.write_text(content)
                process.send_signal(signal.SIGHUP)
                deadline = time.monotonic() + 20
                while awaited not in log.read_text() and time.monotonic() < deadline:
                    threading.Event().wait(0.05)
                return log.read_text()

            said = reload('model = "fake"\ngrace = 7.0\nmax_calls = 5\ndevice = "cuda"\n', "only a restart")
            assert "changed grace_s" in said
            assert "only a restart changes max_calls" in said  # not the device: the command line goes before
            assert "stays as it was" in reload("grase = 7.0\n", "stays as it was")
            assert "nothing has changed" in reload('model = "fake"\ngrace = 7.0\nmax_calls = 5\n', "nothing has")
        finally:
            process.terminate()
    assert "calls under way get 7 s" in log.read_text()
    said = [json.loads(line)["message"] for line in log.read_text("utf-8").splitlines()]  # from the first line on
    assert (said[0], said[-1]) == ("starting", "stopped")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_sighup_while_a_server_starts_has_the_configuration_read_when_it_is_there(tmp_path):
    """`systemctl reload` within the first half second ended it."""
    file, log = tmp_path / "server.toml", tmp_path / "log"
    file.write_text('model = "fake"\ngrace = 3.0\n')
    command = [sys.executable, "-m", "qupath_sam", "serve", "--config", str(file), "--device", "cpu", "--port", "0"]
    with (
        log.open("w") as sink,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True) as process,
    ):
        try:
            while "starting" not in log.read_text() and process.poll() is None:
                pass
            process.send_signal(signal.SIGHUP)
            assert process.stdout is not None
            assert process.stdout.readline().startswith("listening on "), log.read_text()
            deadline = time.monotonic() + 20
            while "configuration read again" not in log.read_text():
                assert time.monotonic() < deadline
                threading.Event().wait(0.05)
        finally:
            process.terminate()


@pytest.mark.skipif(sys.platform == "win32", reason="no masks of signals there")
def test_serve_listens_for_sighup_before_its_code_is_imported():
    code = (
        "import signal, sys, builtins\n"
        "before = builtins.__import__\n"
        "def watched(name, *rest):\n"
        "    if name == 'qupath_sam.cli.app':\n"
        "        signal.raise_signal(signal.SIGHUP)\n"
        "        sys.exit(7)\n"
        "    return before(name, *rest)\n"
        "from qupath_sam.cli import main\n"
        "builtins.__import__ = watched\n"
        "sys.argv[1:] = ['serve']\n"
        "main()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 7


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize(
    ("moment", "options"),
    [(" answers; until", ("--model", "fake")), pytest.param("warming up", (), marks=pytest.mark.slow)],
    ids=["libraries", "model"],
)
def test_ctrl_c_ends_a_server_that_starts(tmp_path, moment, options):
    """Twice, as people press it: the second met torch at work while Python took it down, which ended in an abort."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "qupath_sam", "serve", "--device", "cpu", "--port", "0", *options]
    with log.open("w") as sink, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=sink) as process:
        deadline = time.monotonic() + 120
        while moment not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    said = log.read_text()
    assert moment in said
    assert code == (0 if ": serving" in said else -signal.SIGINT), said
