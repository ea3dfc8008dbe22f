"""What the process says to OpenMP and glibc, checked in processes of their own."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
import textwrap

import pytest

from qupath_sam.machine import threads

GLIBC = platform.libc_ver()[0] == "glibc"


def run_python(code: str, **environment: str) -> str:
    """What ``code`` prints in a fresh interpreter whose OpenMP and malloc settings are only ``environment``."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OMP_", "GOMP_", "KMP_", "MALLOC_", "GLIBC_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("environment", "added"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}),
        ({"GOMP_SPINCOUNT": "5"}, {"KMP_BLOCKTIME": "1"}),
        ({"GOMP_SPINCOUNT": "5", "KMP_BLOCKTIME": "7"}, {}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {}),
    ],
)
def test_waiting_threads_sleep_unless_the_user_says_otherwise(
    environment: dict[str, str], added: dict[str, str]
) -> None:
    assert threads.waiting_variables(environment) == added


def test_preparing_sets_the_variables_of_the_process() -> None:
    code = """
        import os
        from qupath_sam.machine.threads import prepare_process
        prepare_process()
        print(os.environ["GOMP_SPINCOUNT"], os.environ["KMP_BLOCKTIME"])
    """
    assert run_python(code, KMP_BLOCKTIME="9") == "1000 9"


def test_importing_the_module_loads_no_torch_and_preparing_in_time_leaves_no_remark() -> None:
    code = """
        import sys
        from qupath_sam.machine.threads import prepare_process
        print("torch" in sys.modules, repr(prepare_process()))
    """
    assert run_python(code) == "False ''"


def test_preparing_too_late_is_told() -> None:
    code = """
        import sys, types
        sys.modules["torch"] = types.ModuleType("torch")
        from qupath_sam.machine.threads import prepare_process
        print(prepare_process())
    """
    assert "before importing torch" in run_python(code)


# Touches one large block after another, as a forward pass does, in a thread that is not the first.
COUNT_FAULTS = """
    import resource, threading
    from qupath_sam.machine.threads import prepare_process

    def touch():
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            len(b"x" * (96 << 20))
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    prepare_process()
    thread = threading.Thread(target=touch)
    thread.start()
    thread.join()
"""


@pytest.mark.skipif(not GLIBC, reason="the heap is kept on Linux with glibc only")
def test_a_large_block_is_paged_in_once_only_even_in_a_thread() -> None:
    first, *later = [int(line) for line in run_python(COUNT_FAULTS).split()]
    assert first > 20  # 24,576 small pages, or 48 huge ones
    assert max(later) < first / 10


@pytest.mark.skipif(not GLIBC, reason="the heap is kept on Linux with glibc only")
def test_malloc_settings_of_the_user_are_left_alone() -> None:
    faults = [int(line) for line in run_python(COUNT_FAULTS, MALLOC_TRIM_THRESHOLD_="131072").split()]
    assert min(faults) > 20


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"}, True),
        ({"MALLOC_ARENA_MAX": "2"}, True),
        ({"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}, True),
    ],
)
def test_a_chosen_allocator_is_recognised(environment: dict[str, str], expected: bool) -> None:
    assert threads.chooses_allocator(environment) is expected


@pytest.mark.parametrize(
    ("cpu_max", "cores"), [("max 100000\n", math.inf), ("200000 100000\n", 2.0), ("50000 100000", 0.5), ("", math.inf)]
)
def test_a_containers_quota_is_read(cpu_max: str, cores: float) -> None:
    assert threads.cgroup_cores(cpu_max) == cores


def test_torch_gets_the_threads_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        assert threads.configure_torch(3) == torch.get_num_threads() == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        assert threads.configure_torch() == 3
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert threads.configure_torch() == threads.available_cores() >= 1
    finally:
        torch.set_num_threads(before)


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        threads.configure_torch(0)
