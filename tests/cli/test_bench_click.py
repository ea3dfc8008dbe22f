"""``bench click`` with the fake model: beside busy processes, and many clicks in one window."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from qupath_sam.cli.benchmarks import busy, click, click_network
from qupath_sam.errors import InvalidRequest
from qupath_sam.models.fake import FakeSegmenter


def test_busy_processes_are_busy_and_end_with_the_measurement() -> None:
    with busy.busy_processes(2) as processes:
        watched = [psutil.Process(process.pid) for process in processes]
        before = [sum(each.cpu_times()[:2]) for each in watched]
        deadline = time.monotonic() + 30
        while any(sum(each.cpu_times()[:2]) - was < 0.05 for each, was in zip(watched, before, strict=True)):
            assert time.monotonic() < deadline, "they do nothing"
            time.sleep(0.02)
    assert all(process.returncode is not None for process in processes)


def test_a_busy_process_ends_when_the_measurement_was_killed() -> None:
    orphan = subprocess.Popen(
        [sys.executable, "-S", "-c", busy._LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with orphan:
        assert orphan.stdout is not None
        assert orphan.stdin is not None
        orphan.stdout.readline()
        orphan.stdin.close()
        assert orphan.wait(30) == 0


def test_clicks_in_one_window_are_decoded_together_and_one_by_one() -> None:
    model = FakeSegmenter()
    asked: list[int] = []
    original = model.decode
    model.decode = lambda embedding, prompts, **options: (  # type: ignore[method-assign]
        asked.append(len(prompts)) or original(embedding, prompts, **options)
    )
    found = click_network.time_prompts(model, np.zeros((256, 256, 3), np.uint8), 7)
    assert asked == [1, 7, *[1] * 7]
    assert found["n"] == 7
    assert found["ratio"] > 0


def test_one_run_has_clicks_alone_and_beside_busy_processes() -> None:
    found = click.run(("fake",), rounds=1, device="cpu", ways=[click.Way("torch", "fp32")], busy=1, prompts=3)
    figures = found["models"]["fake"]
    assert figures["busy"]["processes"] == 1
    assert figures["busy"]["ratio_p50"] > 0
    assert figures["prompts"]["n"] == 3
    assert figures["warm_click_ms"]["p50"] > 0


def test_ways_to_run_a_model_take_turns_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click, "PLACES", click.PLACES[:2])
    order: list[click.Way] = []
    visit = click._TimedModel.visit

    def noted(timed: click._TimedModel, place: tuple[int, int]) -> None:
        order.append(timed._way)
        visit(timed, place)

    monkeypatch.setattr(click._TimedModel, "visit", noted)
    ways = [click.Way.parse("torch:fp32_eager"), click.Way("torch", "bf16")]
    found = click.run(("fake",), rounds=1, device="cpu", ways=ways)["models"]
    assert order == [*ways, *ways]
    assert list(found) == ["fake, torch:fp32_eager", "fake, torch:bf16"]
    first, second = found.values()
    assert set(first["to_first_way"].values()) == {1.0}
    expected = second["warm_click_ms"]["p50"] / first["warm_click_ms"]["p50"]
    assert second["to_first_way"]["warm_click"] == pytest.approx(expected, abs=1e-3)
    assert "fp32_eager" not in first["encode_ms"]


@pytest.mark.parametrize("text", ["torch", ":bf16", "torch:", ""])
def test_a_way_has_runtime_and_precision(text: str) -> None:
    with pytest.raises(InvalidRequest, match="RUNTIME:PRECISION, such as torch:bf16"):
        click.Way.parse(text)


def test_nuclei_of_one_view_are_clicked_in_a_row() -> None:
    (found,) = click.run(("fake",), rounds=1, device="cpu", ways=[click.Way("torch", "fp32")], row=4)["models"].values()
    row = found["row"]
    assert row["n"] == 4
    assert 0 <= row["encodes"] <= 4
    assert row["ratio_p50"] == pytest.approx(row["click_ms"]["p50"] / found["warm_click_ms"]["p50"], abs=0.1)
