"""``bench server`` and ``bench soak``: short ones, on the fake model, and what they would say of a faulty server."""

from __future__ import annotations

import json
import threading

import pytest
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.cli.benchmarks import server as bench
from qupath_sam.cli.benchmarks.soak import slope
from qupath_sam.client import SamClient


def call(*arguments: str) -> dict:
    ended = CliRunner().invoke(app, ["bench", *arguments, "--json"])
    assert ended.exit_code == 0, ended.exception
    return json.loads(ended.stdout)


def test_many_clients_are_measured(server_address) -> None:
    mix = "clicks,batch,embed,refine"
    found = call("server", "--server", server_address, "--clients", "3", "--seconds", "1.5", "--mix", mix)
    assert found["schema"] == "qupath-sam/bench-server/1"
    for phase in ("alone", "closed", "open"):
        assert found[phase]["clicks"]["n"] > 0
        assert found[phase]["clicks"]["p50"] <= found[phase]["clicks"]["p95"] <= found[phase]["clicks"]["max"]
        assert (found[phase]["wrong"], found[phase]["failed"]) == (0, {})
    assert found["closed"]["clients_answered"] == 3
    assert found["closed"]["batch"]["n"] >= 1
    assert found["closed"]["embed"]["n"] >= 1
    assert found["closed"]["refined"] >= 64
    assert found["closed"]["p95_over_alone"] > 0
    assert found["closed"]["throughput_of_alone"] > 0
    assert found["closed"]["slowest_over_fastest"] >= 1
    assert "batch" not in found["alone"]


def test_a_repeated_click_is_decoded_again(server_address) -> None:
    with SamClient(server_address) as client:

        def decoded() -> int:
            return next(turn["items"] for turn in client.status()["turns"] if turn["kind"] == "decode")

        before = decoded()
        answers = {bench.click_once(client, bench.PLACES[0]) for _ in range(3)}
        assert len(answers) == 1
        assert decoded() - before >= 3


def test_a_wrong_answer_is_counted() -> None:
    clicks = bench.Clicks({(1, 1): b"right"})
    for answer in (b"right", b"wrong", b"right"):
        clicks.check((1, 1), answer)
    assert clicks.wrong == 1


def test_what_ends_later_takes_nothing_from_the_throughput() -> None:
    def clicks(found: bench.Clicks, end: float) -> None:
        for _ in range(10):
            found.add("clicks", 0, 1.0)

    def late(found: bench.Clicks, end: float) -> None:
        threading.Event().wait(0.5)

    assert bench._phase(bench.Clicks({}), [clicks, late], 0.1)["per_s"] > 10 / 0.4


def test_a_mix_without_clicks_is_refused() -> None:
    assert "clicks among them" in str(CliRunner().invoke(app, ["bench", "server", "--mix", "batch"]).exception)


def test_a_soak_says_what_is_left() -> None:
    found = call("soak", "--minutes", "0.1", "--model", "fake")
    assert found["acts"].keys() == {"click", "cut off", "cancel", "no slide", "other model", "push"}
    assert min(found["acts"].values()) > 0
    assert (found["wrong"], found["unexpected"]) == (0, {})
    assert not any(found["stuck"].values())
    assert found["memory_mib"]["last"] > 0


@pytest.mark.slow
def test_hostile_clients_get_no_more_memory_than_the_server_says() -> None:
    found = call("hostile", "--clients", "8", "--seconds", "3", "--model", "fake")
    assert sum(found["acts"].values()) >= 8
    assert (found["wrong"], found["unexpected"]) == (0, {})
    assert found["clicks"] > 0
    memory = found["memory_mib"]
    assert memory["budget"] < memory["allowed"] == memory["budget"] + memory["arriving"]
    assert 0 < memory["taken"] <= memory["allowed"], memory
    assert found["kept"]


def test_the_slope_of_a_line() -> None:
    assert slope([(x, 3 * x + 5) for x in (1e9, 1e9 + 1, 1e9 + 2)]) == pytest.approx(3)
    assert slope([(1, 1)]) == 0
