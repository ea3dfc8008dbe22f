"""Imports of large libraries."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qupath_sam.machine.imports import later, run_all, without_collection


def _fail() -> None:
    with without_collection():
        assert not gc.isenabled()
        raise ImportError("no torch")


def test_the_collector_is_as_before_whatever_happens() -> None:
    assert gc.isenabled()
    with pytest.raises(ImportError, match="no torch"):
        _fail()
    assert gc.isenabled()
    gc.disable()
    try:
        with without_collection():
            assert not gc.isenabled()
        assert not gc.isenabled(), "what the caller has set stays"
    finally:
        gc.enable()


NAMES = frozenset({"waiting_package", "waiting_module"})


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of modules whose code has run: a package with a submodule, and a module."""
    (tmp_path / "waiting_package").mkdir()
    log = "import sys\nsys.modules['run_log'].append(__name__)\n"
    for path in ("waiting_package/__init__.py", "waiting_package/part.py", "waiting_module.py", "other_module.py"):
        (tmp_path / path).write_text(log + "VALUE = 5\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found: list[str] = []
    monkeypatch.setitem(sys.modules, "run_log", found)  # type: ignore[arg-type]
    yield found
    for name in ("waiting_package", "waiting_package.part", "waiting_module", "other_module"):
        sys.modules.pop(name, None)


def test_a_module_runs_when_it_is_first_used(ran: list[str]) -> None:
    with later(NAMES):
        package, module = importlib.import_module("waiting_package"), importlib.import_module("waiting_module")
        importlib.import_module("other_module")
    assert ran == ["other_module"]
    assert module.VALUE == 5
    assert ran == ["other_module", "waiting_module"]
    assert importlib.import_module("waiting_package.part").VALUE == 5
    assert ran[2:] == ["waiting_package", "waiting_package.part"]
    assert package.part.VALUE == 5


def test_after_the_block_imports_are_as_ever(ran: list[str]) -> None:
    finders = list(sys.meta_path)
    with pytest.raises(ModuleNotFoundError, match="nonesuch"), later(NAMES):
        importlib.import_module("nonesuch")
    assert sys.meta_path == finders
    importlib.import_module("waiting_package")
    assert ran == ["waiting_package"]


def test_all_that_wait_can_be_run_at_once(ran: list[str]) -> None:
    with later(NAMES):
        importlib.import_module("waiting_module")
    run_all()
    run_all()
    assert ran == ["waiting_module"]


def test_a_module_that_is_imported_and_not_used_does_not_run(ran: list[str]) -> None:
    with later(NAMES):
        exec("import waiting_package as first; import waiting_package as second", {})
        assert [module for module in sys.modules.values() if getattr(module, "__file__", None) == "nowhere"] == []
    assert ran == []


def test_what_a_module_does_not_have_is_an_error_as_ever(ran: list[str]) -> None:
    with later(NAMES):
        module = importlib.import_module("waiting_module")
    with pytest.raises(AttributeError, match="module 'waiting_module' has no attribute 'nonesuch'"):
        _ = module.nonesuch
    assert ran == ["waiting_module"]


def test_threads_that_meet_at_a_module_get_all_of_it(ran: list[str], tmp_path: Path) -> None:
    """While one runs its code, the others must not see half of it."""
    (tmp_path / "waiting_module.py").write_text("import time\ntime.sleep(0.2)\nVALUE = 5\n", encoding="utf-8")
    with later(NAMES):
        module = importlib.import_module("waiting_module")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: module.VALUE, range(4))) == [5] * 4


def test_a_module_whose_code_fails_fails_for_its_user(ran: list[str], tmp_path: Path) -> None:
    (tmp_path / "waiting_module.py").write_text("raise ImportError('no such library')\n", encoding="utf-8")
    with later(NAMES):
        module = importlib.import_module("waiting_module")
    for _ in range(2):
        with pytest.raises(ImportError, match="no such library"):
            _ = module.VALUE


_MEET = """
import importlib, sys, threading, types
from qupath_sam.machine.imports import later, run_all

taken = importlib._bootstrap._module_locks
meet = types.ModuleType("meet")
meet.part = threading.Thread(target=importlib.import_module, args=("waiting_package.part",), daemon=True)
def begin():  # the package's code has begun: another thread takes the lock of its part
    meet.part.start()
    while "waiting_package.part" not in taken and meet.part.is_alive():
        pass
meet.begin = begin
sys.modules["meet"] = meet
with later(frozenset({"waiting_package"})):
    import waiting_package
runs = threading.Thread(target=run_all, daemon=True)
runs.start()
for thread in (runs, meet.part):
    thread.join(30)
    assert not thread.is_alive(), "each waits for the other"
assert waiting_package.VALUE == waiting_package.part.VALUE == 5
"""


@pytest.mark.parametrize(
    "part", ["VALUE = 5", "from waiting_package import helper\nVALUE = helper.VALUE"], ids=["alone", "with another"]
)
def test_a_part_that_is_imported_while_its_package_runs_is_no_deadlock(tmp_path: Path, part: str) -> None:
    """Before, the one thread held the package and the other its part, and each waited for ever."""
    package = tmp_path / "waiting_package"
    package.mkdir()
    (package / "__init__.py").write_text("import meet\nmeet.begin()\nfrom waiting_package.part import VALUE\n")
    (package / "part.py").write_text(f"{part}\n")
    (package / "helper.py").write_text("VALUE = 5\n")
    done = subprocess.run([sys.executable, "-c", _MEET], cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr[-2000:]


_TORCH = """
from qupath_sam.machine.imports import TRIED, _Waiting, later, run_all
with later():
    import torch, scipy.ndimage
import sys
waiting = {name for name, module in sys.modules.items() if isinstance(module, _Waiting)}
assert torch.__version__.startswith(TRIED["torch"]), "see whether it imports without NOT_NEEDED_AT_ONCE, then name it"
assert {"torch._meta_registrations", "torch.distributions", "numpy.f2py"} <= waiting, waiting
assert torch.distributions.Normal(0.0, 1.0).log_prob(torch.zeros(1)) < 0
from torch._subclasses.fake_tensor import FakeTensorMode
run_all()
assert not any(isinstance(module, _Waiting) for module in sys.modules.values())
with FakeTensorMode():
    assert torch.linalg.cholesky_ex(torch.eye(3)).L.shape == (3, 3)
"""


def test_torch_is_whole_without_what_waits() -> None:
    done = subprocess.run([sys.executable, "-c", _TORCH], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
