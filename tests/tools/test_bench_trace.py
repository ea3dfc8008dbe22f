"""The tracing benchmark, as far as it does not depend on the machine's mood."""

from __future__ import annotations

import json

import pytest

from tools import bench_trace


def test_what_is_reported() -> None:
    result = json.loads(json.dumps(bench_trace.run(repeats=1), allow_nan=False))
    assert result["schema"] == "qupath-sam/bench-trace/1"
    assert result["machine"].keys() == {"cpu", "cores", "torch", "threads", "instructions", "load"}
    assert result["machine"]["cpu"]
    assert result["machine"]["cores"] >= 1
    assert result["cases"].keys() == {"region", "nuclei300", "masks64"}
    for case in result["cases"].values():
        assert case.keys() == {"ours_ms", "rasterio_ms", "speedup", "equal"}
        assert case["equal"] is True
        assert case["speedup"] == pytest.approx(case["rasterio_ms"] / case["ours_ms"], rel=0.05)


def test_the_cases_are_what_their_names_say() -> None:
    assert 330_000 < bench_trace.region_mask().sum() < 370_000
    assert bench_trace.nuclei_labels().max() == 300
    assert bench_trace.many_masks().shape == (64, 1024, 1024)
    assert bench_trace.many_masks().any(axis=(1, 2)).all()


def test_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    bench_trace.main(["--repeats", "1"])
    assert json.loads(capsys.readouterr().out)["cases"]["region"]["equal"] is True
