"""``bench click`` with the fake model: beside busy processes, and many clicks in one window."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import psutil

from qupath_sam.cli.benchmarks import busy, click
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
    found = click.time_prompts(model, np.zeros((256, 256, 3), np.uint8), 7)
    assert asked == [1, 7, *[1] * 7]
    assert found["n"] == 7
    assert found["ratio"] > 0


def test_one_run_has_clicks_alone_and_beside_busy_processes() -> None:
    found = click.run(("fake",), rounds=1, device="cpu", precision="fp32", runtime="torch", busy=1, prompts=3)
    figures = found["models"]["fake"]
    assert figures["busy"]["processes"] == 1
    assert figures["busy"]["ratio_p50"] > 0
    assert figures["prompts"]["n"] == 3
    assert figures["warm_click_ms"]["p50"] > 0
