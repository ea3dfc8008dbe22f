"""Networks that OpenVINO runs: right answers or none, converted once, silent, and asleep while nobody asks."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from qupath_sam.errors import InvalidRequest
from qupath_sam.models import compiled, devices, kept_networks
from qupath_sam.models.compiled import CompiledNetwork
from qupath_sam.models.devices import Precision, Runtime, choose_execution, computes_in_bf16, prepare
from qupath_sam.networks.frozen_decoder import FrozenMaskDecoder
from qupath_sam.networks.network import PromptableNetwork
from tests.models.networks import seeded

needs_openvino = pytest.mark.skipif(not kept_networks.is_installed(), reason="the extra [openvino] is not installed")
BF16 = computes_in_bf16(torch.device("cpu"))


class Layers(torch.nn.Sequential):
    """A network that is converted in a moment."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4))


def _example(rows: int, *, seed: int = 0) -> list[Tensor]:
    return [torch.randn(1, rows, 8, generator=torch.Generator().manual_seed(seed))]


def _compiled(network: torch.nn.Module, folder: Path, *, threads: int = 1) -> CompiledNetwork:
    return CompiledNetwork(network, [_example(3)], [(1, -1, 8)], bf16=False, threads=threads, folder=folder)


@pytest.fixture
def network() -> Layers:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Layers().eval().requires_grad_(False)


def _no_conversion(*_: Any) -> Any:
    raise RuntimeError("converted again")


@needs_openvino
def test_it_is_converted_once_and_read_afterwards(
    network: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _compiled(network, tmp_path)
    monkeypatch.setattr(compiled, "_converted", _no_conversion)
    again = _compiled(network, tmp_path)
    for rows in (1, 5):
        (answer,) = again(*_example(rows, seed=rows))
        torch.testing.assert_close(answer, network(*_example(rows, seed=rows)), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        network[0].weight[0, 0] += 1
    with pytest.raises(InvalidRequest, match="converted again"):
        _compiled(network, tmp_path)


@needs_openvino
def test_a_spoilt_file_is_converted_again(network: Layers, tmp_path: Path) -> None:
    _compiled(network, tmp_path)
    (kept,) = tmp_path.glob("*/network.blob")
    whole = kept.read_bytes()
    for spoilt in (b"", b"nonsense", whole[: len(whole) // 2], whole[:-8]):
        kept.write_bytes(spoilt)
        (answer,) = _compiled(network, tmp_path)(*_example(2))
        torch.testing.assert_close(answer, network(*_example(2)), atol=1e-5, rtol=1e-4)
        assert len(kept.read_bytes()) > len(spoilt)


@needs_openvino
def test_what_is_kept_is_compiled_already(network: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling took most of the second in which a model was loaded. The number of threads is not part of it."""
    first = _compiled(network, tmp_path)
    monkeypatch.setattr(type(kept_networks.core()), "compile_model", _no_conversion)
    for threads in (1, 2):
        again = _compiled(network, tmp_path, threads=threads)
        assert again._request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == threads
        torch.testing.assert_close(again(*_example(4))[0], first(*_example(4))[0], atol=0, rtol=0)


@needs_openvino
@pytest.mark.parametrize("factor", [1.2, float("nan")])
def test_wrong_answers_are_not_used_and_not_kept(
    network: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    right = CompiledNetwork.__call__

    def wrong(self: CompiledNetwork, *inputs: Tensor) -> list[Tensor]:
        return [answer * factor for answer in right(self, *inputs)]

    monkeypatch.setattr(CompiledNetwork, "__call__", wrong)
    with pytest.raises(InvalidRequest, match=r"off those of torch\); use --runtime torch"):
        _compiled(network, tmp_path)
    assert not list(tmp_path.iterdir())


@needs_openvino
def test_only_the_last_used_networks_are_kept(network: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_networks, "MOST_KEPT", 2)
    for _ in range(4):
        with torch.no_grad():
            network[0].weight[0, 0] += 1
        _compiled(network, tmp_path)
        time.sleep(0.01)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(compiled, "_converted", _no_conversion)
    _compiled(network, tmp_path)


def _left(folder: Path, name: str, file: str, *, hours: float) -> Path:
    """Make a folder as another version or a dead process leaves it."""
    made = folder / name
    made.mkdir()
    path = made / file
    path.write_bytes(b"x")
    for each in (path, made):
        os.utime(each, (time.time() - hours * 3600,) * 2)
    return made


@needs_openvino
def test_what_others_have_left_is_removed_and_what_is_not_ours_stays(network: Layers, tmp_path: Path) -> None:
    key, other = "0123456789abcdef" * 2, "fedcba9876543210" * 2
    removed = [
        _left(tmp_path, key, "network.xml", hours=25),  # an earlier layout
        _left(tmp_path, f".{key}.01234567.tmp", "network.blob", hours=25),  # of a process that was killed
    ]
    kept = [
        _left(tmp_path, other, "network.xml", hours=23),  # an earlier version that runs beside
        _left(tmp_path, f".{other}.01234567.tmp", "network.blob", hours=23),  # another process writes it now
        _left(tmp_path, "networks of mine", "network.xml", hours=2500),
        _left(tmp_path, f"{key}.old", "network.xml", hours=2500),
        _left(tmp_path, ".git", "HEAD", hours=2500),
    ]
    (tmp_path / ("ab" * 16)).write_bytes(b"a file")
    _compiled(network, tmp_path)
    assert [path.name for path in removed if path.exists()] == []
    assert [path.name for path in kept if not path.exists()] == []
    assert (tmp_path / ("ab" * 16)).is_file()
    late = _left(tmp_path, key, "network.xml", hours=25)
    _compiled(network, tmp_path)  # which converts nothing
    assert not late.exists()


@needs_openvino
def test_a_link_is_left_alone_and_what_it_leads_to(network: Layers, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = _left(elsewhere, "0" * 32, "network.xml", hours=2500)
    folder = tmp_path / "openvino"
    folder.mkdir()
    try:
        (folder / ("0" * 32)).symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    _compiled(network, folder)
    assert (target / "network.xml").is_file()


@needs_openvino
def test_a_folder_that_cannot_be_written_costs_no_more_than_the_cache(
    network: Layers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A container's file system may be read only, and a file may lie where the folder should."""
    folder = tmp_path / "openvino"
    folder.write_bytes(b"")
    (answer,) = _compiled(network, folder)(*_example(2))
    torch.testing.assert_close(answer, network(*_example(2)), atol=1e-5, rtol=1e-4)
    assert "compiles it again" in caplog.text


@needs_openvino
def test_a_folder_that_is_read_only_is_read(network: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _compiled(network, tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(compiled, "_converted", _no_conversion)
    _compiled(network, tmp_path)


@needs_openvino
def test_nothing_goes_to_the_network(network: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: asked.append(args) or [])
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    _compiled(network, tmp_path)
    time.sleep(0.2)  # the reporting of `openvino.convert_model` runs on a thread of its own
    assert asked == []


@needs_openvino
def test_its_threads_sleep_while_nobody_asks(network: Layers, tmp_path: Path) -> None:
    run = _compiled(network, tmp_path, threads=2)
    run(*_example(4096))
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05


@needs_openvino
@torch.inference_mode()
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_a_decoder_answers_as_in_torch(precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if precision is Precision.BF16 and not BF16:
        pytest.skip("this processor does not compute in bf16")
    monkeypatch.setattr(kept_networks, "default_folder", lambda: tmp_path)
    network = seeded(PromptableNetwork(torch.nn.Identity(), input_size=256))
    prepare(network, choose_execution("cpu", precision, "openvino"))
    decoder = network.mask_decoder
    assert isinstance(decoder, FrozenMaskDecoder)
    assert decoder.compiled is not None
    random = torch.Generator().manual_seed(1)
    embedding = torch.randn(1, 256, 64, 64, generator=random) * 0.1
    position = network.prompt_encoder.get_dense_pe()
    run, answers = decoder.compiled, []
    for points in (1, 2, 7):
        places, labels = torch.rand(1, points, 2, generator=random) * 256, torch.ones(1, points)
        for decoder.compiled in (run, None):
            answers.append(network.decode(embedding, (places, labels), None, None, dense_position=position))
    # Compared at the end: no answer may be overwritten by a later call.
    for own, theirs in zip(answers[::2], answers[1::2], strict=True):
        for name in ("logits", "scores", "features"):
            a, b = getattr(own, name), getattr(theirs, name)
            assert (a - b).norm() / b.norm() < (1e-4 if precision is Precision.FP32 else 0.04), name


def test_auto_takes_openvino_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for installed, expected in ((True, Runtime.OPENVINO), (False, Runtime.TORCH)):
        monkeypatch.setattr(kept_networks, "is_installed", lambda found=installed: found)
        assert choose_execution("cpu", "fp32", "auto").runtime is expected
        assert choose_execution("cpu", "fp32_eager", "auto").runtime is Runtime.TORCH


def test_what_does_not_go_together_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="unknown runtime 'onnx'; known: auto, torch, openvino"):
        choose_execution("cpu", "fp32", "onnx")
    with pytest.raises(InvalidRequest, match="use --device cpu or --runtime torch"):
        choose_execution("cpu", "fp32_eager", "openvino")
    monkeypatch.setattr(kept_networks, "is_installed", lambda: False)
    with pytest.raises(InvalidRequest, match=r"pip install 'qupath-sam\[openvino\]'"):
        _compiled(Layers(), tmp_path)


def test_torch_runs_what_openvino_cannot(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from qupath_sam.models.load import load_segmenter

    def refuse(*_: object, **__: object) -> Sequence[Tensor]:
        raise InvalidRequest("OpenVINO cannot run the TinyViT (no such kernel); use --runtime torch")

    monkeypatch.setattr(kept_networks, "is_installed", lambda: True)
    monkeypatch.setattr(devices, "CompiledNetwork", refuse)
    with pytest.raises(InvalidRequest, match="no such kernel"):
        load_segmenter("lite_medsam", device="cpu", runtime="openvino")
    loaded = load_segmenter("lite_medsam", device="cpu", runtime="auto")
    assert loaded.runtime == "torch"
    assert "openvino" not in loaded.segmenter.preprocessing_version
    assert "no such kernel" in caplog.text


_DROPPED_ELSEWHERE = """
import signal, sys, threading
from pathlib import Path
import torch
from qupath_sam.models.compiled import CompiledNetwork

example = [torch.zeros(1, 3, 8)]
how = {"bf16": False, "threads": 1, "folder": Path(sys.argv[1])}
held = [CompiledNetwork(torch.nn.Linear(8, 4), [example], [(1, -1, 8)], **how)]
held[0](*example)
dropping = threading.Thread(target=held.clear)
dropping.start()
dropping.join()
signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
signal.raise_signal(signal.SIGINT)
"""


@needs_openvino
def test_a_signal_after_a_network_was_dropped_by_another_thread_ends_nothing(tmp_path: Path) -> None:
    """With the last network its library went, and with that the stack on which signals of the first thread ran."""
    ended = subprocess.run(
        [sys.executable, "-c", _DROPPED_ELSEWHERE, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "interrupted\n"
