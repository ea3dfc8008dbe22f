"""The comparison of runtimes, as far as it does not depend on the machine's mood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from qupath_sam.models import kept_networks
from qupath_sam.models.registry import DEFAULT_MODEL
from tools import bench_runtimes
from tools.bench_runtimes import EAGER, FOLDED, TODAY
from tools.click_parts import Part, parts_of, several

OPENVINO = "OpenVINO fp32"


def _part(name: str = "layer") -> Part:
    torch.manual_seed(0)
    network = torch.nn.Linear(8, 4).eval().requires_grad_(False)

    def run(*inputs: torch.Tensor) -> Any:
        return several(network(*inputs))

    return Part(name, network, (torch.randn(1, 3, 8),), 0, run, run, run, gflop=1e-6)


@pytest.fixture
def _one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_runtimes, "parts_of", lambda _: [_part()])


@pytest.mark.usefixtures("_one_layer")
def test_what_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(part: Part, *_: Any) -> Any:
        return lambda *inputs: [1.5 * answer for answer in part.eager(*inputs)]

    def broken(*_: Any) -> Any:
        raise RuntimeError("no such operator\nand much more")

    ways = {"absent": ("no_such_package", wrong), "wrong": ("torch", wrong), "broken": ("torch", broken)}
    monkeypatch.setattr(bench_runtimes, "WAYS", ways)
    result = json.loads(json.dumps(bench_runtimes.run(threads=1, rounds=2, ways=tuple(ways)), allow_nan=False))
    assert result["left_out"] == {
        "absent": "no_such_package is not installed",
        "broken, layer": "RuntimeError: no such operator",
    }
    layer = result["parts"]["layer"]
    assert layer.keys() == {EAGER, FOLDED, TODAY, "wrong"}
    assert layer["wrong"]["error"] == pytest.approx(0.5)
    assert layer[TODAY]["error"] == 0
    assert layer[EAGER]["of_eager"] == layer[TODAY]["of_today"] == 1
    shown = bench_runtimes.table(result)
    assert result["machine"]["instructions"] in shown
    assert "| wrong |" in shown
    assert result["peak_gflop_s"] > 0


@pytest.mark.skipif(not kept_networks.is_installed(), reason="the extra [openvino] is not installed")
@pytest.mark.usefixtures("_one_layer")
def test_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "runtimes.json"
    document = tmp_path / "server.md"
    document.write_text(f"Before\n\n<!-- begin: {bench_runtimes.TABLE} -->\n<!-- end -->\n\nAfter\n", "utf-8")
    written = ["--json", str(file), "--markdown", str(document), "--folder", str(tmp_path / "networks")]
    bench_runtimes.main(["--threads", "1", "--rounds", "1", "--way", OPENVINO, *written])
    assert f"| {OPENVINO} |" in capsys.readouterr().out
    text = document.read_text("utf-8")
    assert f"| {OPENVINO} |" in text
    assert text.endswith("\n\nAfter\n")
    result = json.loads(file.read_text("utf-8"))
    assert result["left_out"] == {}
    assert result["parts"]["layer"][OPENVINO]["error"] < 1e-5


def test_the_networks_that_are_exported_answer_as_the_trained_ones() -> None:
    parts = parts_of(DEFAULT_MODEL)
    assert [part.name for part in parts] == ["encoder", "decoder", "head"]
    encoder, *others = parts
    assert 70 < encoder.gflop < 80  # docs: 75 for the encoder
    with torch.inference_mode():
        for part in others:
            expected = part.eager(*part.inputs)
            for call, most in ((part.network, 1e-4), (part.folded, 1e-4), (part.today, 0.04)):
                for own, theirs in zip(several(call(*part.inputs)), expected, strict=True):
                    assert (own - theirs).norm() / theirs.norm() < most, part.name
    assert not any(weight.is_inference() for part in parts for weight in part.network.parameters())
