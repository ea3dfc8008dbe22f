"""Many at one server: batches, frozen clients, and people who click meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress

import pytest

from qupath_sam.client import Access, SamClient
from qupath_sam.errors import ServerBusy
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.server.tokens import TokenFile
from qupath_sam.types.prompts import Click, ObjectPrompts

OBJECTS = [ObjectPrompts((Click.at(700, 600),))]

FROZEN = """
import sys
from qupath_sam.client import SamClient, Slide
from qupath_sam.assets import demo_slide_path
from qupath_sam.types.prompts import Click, ObjectPrompts
client = SamClient(sys.argv[1], timeout_s=60)
live = client.live()
live.predict(Slide(demo_slide_path()), [ObjectPrompts((Click.at(700, 600),))]).result(60)
print("open", flush=True)
sys.stdin.read()
"""


def test_a_batch_holds_no_states_and_answers_the_same(slide):
    with start_server(ServerSettings(port=0, model="fake", device="cpu")) as server:
        with SamClient(server.address, timeout_s=30, batch=True) as batch:
            answer = batch.predict(slide, OBJECTS).results[0]
        assert answer.token == b""
        assert len(server.engine.states) == 0
        with SamClient(server.address, timeout_s=30) as person:
            clicked = person.predict(slide, OBJECTS).results[0]
        assert clicked.token
        assert len(server.engine.states) == 1
        assert clicked.outlines[0].geometry.equals(answer.outlines[0].geometry)


def test_seven_refine_calls_do_not_push_a_persons_state_out(slide, tmp_path):
    """As many as pushed it out before. By name: channels of one process to one server share a connection."""
    tokens = TokenFile(tmp_path / "tokens.json")
    anna, refine = (Access(token=tokens.create(name)) for name in ("Anna", "refine"))
    settings = ServerSettings(port=0, model="fake", device="cpu", state_bytes=8 * 1024 * 1024, tokens=tokens.path)
    many = [ObjectPrompts((Click.at(300 + 10 * n, 400 + 7 * n),)) for n in range(64)]
    with (
        start_server(settings) as server,
        SamClient(server.address, timeout_s=60, access=anna) as person,
        SamClient(server.address, timeout_s=60, access=refine) as program,
    ):
        person.predict(slide, OBJECTS)
        for _ in range(7):
            program.predict(slide, many)
        more = [ObjectPrompts((Click.at(700, 600), Click.at(720, 610)))]
        assert person.predict(slide, more).results[0].resumed_steps == 1


def frozen_client_frees_its_place(keepalive_s: float | None, slide, limit_s: float) -> None:
    options = {} if keepalive_s is None else {"keepalive_s": keepalive_s}
    settings = ServerSettings(port=0, model="fake", device="cpu", max_calls=1, **options)
    with start_server(settings) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", FROZEN, server.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout.readline().strip() == b"open"
            with SamClient(server.address, timeout_s=10) as other:
                with pytest.raises(ServerBusy):
                    other.capabilities()
                os.kill(process.pid, signal.SIGSTOP)
                frozen = time.monotonic()
                while True:
                    with suppress(ServerBusy):
                        other.capabilities()
                        break
                    assert time.monotonic() - frozen < limit_s, "the place is still taken"
                    time.sleep(0.2)
                with closing(other.live()) as live:
                    assert live.predict(slide, OBJECTS).result(20).results
        finally:
            process.kill()
            process.communicate()


stoppable = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows cannot stop a process")


@stoppable
def test_a_frozen_client_frees_its_place(slide):
    frozen_client_frees_its_place(1.0, slide, 45)


@stoppable
@pytest.mark.slow
def test_a_frozen_client_frees_its_place_in_a_minute_by_default(slide):
    frozen_client_frees_its_place(None, slide, 60)
