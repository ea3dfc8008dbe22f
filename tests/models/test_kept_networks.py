"""Networks that are loaded ahead of their model: those that it used the last time, and never wrong ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from qupath_sam.models import kept_networks
from qupath_sam.models.compiled import CompiledNetwork

pytestmark = pytest.mark.skipif(not kept_networks.is_installed(), reason="the extra [openvino] is not installed")


class Layers(torch.nn.Sequential):
    """A network that is converted in a moment."""

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4))
        self.eval().requires_grad_(False)


def _example(seed: int = 0) -> list[Tensor]:
    return [torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(seed))]


def _compiled(folder: Path, *, seed: int = 0, threads: int = 1) -> CompiledNetwork:
    return CompiledNetwork(Layers(seed), [_example()], [(1, -1, 8)], bf16=False, threads=threads, folder=folder)


def _right(run: CompiledNetwork, seed: int = 0) -> None:
    torch.testing.assert_close(run(*_example(7))[0], Layers(seed)(*_example(7)), atol=1e-5, rtol=1e-4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Kept networks, with that of the model "mine" remembered."""
    kept_networks.remember("mine", [_compiled(tmp_path).kept], tmp_path)
    return tmp_path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders of the networks that were read from disk."""
    found: list[Path] = []
    original = kept_networks._loaded

    def loaded(kept: Path, options: Any) -> Any:
        found.append(kept)
        return original(kept, options)

    monkeypatch.setattr(kept_networks, "_loaded", loaded)
    return found


def _ahead(name: str, folder: Path) -> bool:
    thread = kept_networks.load_ahead(name, folder)
    if thread is not None:
        thread.join()
    return thread is not None


def test_a_model_takes_what_was_loaded_ahead(folder: Path, reads: list[Path]) -> None:
    assert _ahead("mine", folder)
    assert len(reads) == 1
    run = _compiled(folder)
    assert len(reads) == 1, "read again"
    _right(run)
    _right(_compiled(folder))
    assert len(reads) == 2, "a network that was taken is nobody else's"


def test_it_may_be_taken_while_it_is_loaded(folder: Path, reads: list[Path]) -> None:
    thread = kept_networks.load_ahead("mine", folder)
    _right(_compiled(folder))
    assert thread is not None
    thread.join()
    assert len(reads) == 1


@pytest.mark.parametrize("changed", [{"seed": 1}, {"threads": 2}])
def test_what_another_model_or_setting_used_is_not_taken(
    folder: Path, reads: list[Path], changed: dict[str, int]
) -> None:
    assert _ahead("mine", folder)
    run = _compiled(folder, **changed)
    _right(run, changed.get("seed", 0))
    assert run._request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == changed.get("threads", 1)
    assert len(reads) == 2
    kept_networks.remember("mine", [run.kept], folder)
    assert not kept_networks._ahead, "loaded in vain, and held"
    reads.clear()
    assert _ahead("mine", folder)
    _right(_compiled(folder, **changed), changed.get("seed", 0))
    assert reads == [run.kept[0]]


def test_nothing_is_loaded_that_another_processor_or_version_has_made(folder: Path, reads: list[Path]) -> None:
    path = folder / kept_networks._LAST
    known = json.loads(path.read_text("utf-8"))
    for position, other in ((0, "2020.1"), (1, "Z80"), (2, ["FP8"])):
        changed = {**known, "maker": [*known["maker"][:position], other, *known["maker"][position + 1 :]]}
        path.write_text(json.dumps(changed), encoding="utf-8")
        assert _ahead("mine", folder)
        assert reads == []
        kept_networks._ahead.clear()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"maker": 5, "models": {}}', '{"maker": ["", "", []], "models": 5}']
)
def test_a_spoilt_list_is_no_list(folder: Path, content: str) -> None:
    path = folder / kept_networks._LAST
    path.write_text(content, encoding="utf-8")
    assert not _ahead("mine", folder)
    run = _compiled(folder)
    kept_networks.remember("mine", [run.kept], folder)
    assert _ahead("mine", folder)
    kept_networks._ahead.clear()


def test_a_network_that_is_gone_or_spoilt_is_converted_again(folder: Path) -> None:
    (kept,) = folder.glob("*/network.blob")
    kept.write_bytes(b"nonsense")
    assert _ahead("mine", folder)
    _right(_compiled(folder))
    assert len(kept.read_bytes()) > 100


@pytest.mark.parametrize("damage", ["lost page", "no digest", "no text"])
def test_a_network_that_is_not_as_it_was_kept_is_converted_again(folder: Path, damage: str) -> None:
    """OpenVINO takes a file with a lost page, and answers with wrong numbers."""
    (kept,) = folder.glob("*/network.blob")
    whole = kept.read_bytes()
    if damage == "lost page":
        kept.write_bytes(whole[: len(whole) // 2] + bytes(64) + whole[len(whole) // 2 + 64 :])
    elif damage == "no digest":
        kept.with_name("network.sha256").unlink()
    else:
        kept.write_bytes(whole[:24] + b"\xff" * 8 + whole[32:])
    assert kept_networks.load(kept.parent, {}) is None
    assert not kept.exists()
    _right(_compiled(folder))
    assert kept.with_name("network.sha256").is_file()


def test_an_openvino_that_cannot_be_imported_is_remembered_as_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise ImportError("a library is missing")

    assert _ahead("mine", folder)
    monkeypatch.setattr(kept_networks, "maker", broken)
    kept_networks.remember("mine", [], folder)
    assert not kept_networks._ahead


def test_a_name_leads_to_no_other_folder(folder: Path, reads: list[Path]) -> None:
    path = folder / kept_networks._LAST
    known = json.loads(path.read_text("utf-8"))
    known["models"]["mine"][0][0] = "../../elsewhere"
    path.write_text(json.dumps(known), encoding="utf-8")
    assert _ahead("mine", folder)
    assert reads == [folder / "elsewhere"]
    kept_networks._ahead.clear()


def test_a_model_that_torch_runs_forgets_what_was_loaded_in_vain_alone(folder: Path) -> None:
    kept_networks.remember("mine", [], folder)
    assert _ahead("mine", folder)
    kept_networks.remember("mine", [], folder)
    assert not _ahead("mine", folder)


def test_loading_ahead_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom qupath_sam.models import kept_networks\n"
        "thread = kept_networks.load_ahead('mine', Path(sys.argv[1]))\nthread.join()\n"
        "(ahead,) = kept_networks._ahead.values()\nassert ahead.network.result() is not None\n"
        "assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
