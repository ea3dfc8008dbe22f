"""What the process must say to OpenMP and to the C library before torch loads, and how many threads torch gets.

Two settings matter more on CPU than any change to a model (measured with another busy process on the two cores):

* OpenMP threads that wait for each other spin by default, and take the cores from threads that have work:
  an encode took 4160 ms, with ``OMP_WAIT_POLICY=passive`` 1294 ms, with ``GOMP_SPINCOUNT=1000`` 831 ms.
* glibc hands large blocks back to the system after every layer and gets them again as zeroed pages:
  a bare ViT-B encode took 28.7 s, with the heap kept 12.3 s.

Sources: libgomp manual, "GOMP_SPINCOUNT"; LLVM OpenMP runtime reference, "KMP_BLOCKTIME"; mallopt(3) and
"Malloc Tunable Parameters" in the glibc manual.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

#: Read by libgomp (torch on Linux), which spins 300,000 times by default. Sleeping at once would cost too: a model's
#: parallel loops follow each other within microseconds.
_GOMP_SPINCOUNT = "1000"

#: Read by the LLVM and Intel runtimes (torch on macOS and Windows): ms to spin before sleeping, 200 by default.
_KMP_BLOCKTIME = "1"

# Parameters of mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8

#: Blocks from here on still go back to the system when freed; no activation of a shipped model is as large.
_KEPT_BLOCK_BYTES = 1 << 30

_MALLOC_VARIABLES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def prepare_process() -> str:
    """Make waiting threads sleep, and keep the heap between calls. To be called once, before torch is imported.

    What the user has set in the environment stays as it is. The heap is kept on Linux with glibc only; the process
    then holds on to the most memory it has needed so far.

    Returns:
        A remark for the log where it came too late for the threads, else "".
    """
    os.environ.update(waiting_variables(os.environ))
    if not chooses_allocator(os.environ):
        keep_heap()
    if "torch" in sys.modules:
        return "torch was loaded before prepare_process(): waiting threads will spin; call it before importing torch"
    return ""


def waiting_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to ``environment`` so that OpenMP threads sleep soon when they wait."""
    if "OMP_WAIT_POLICY" in environment:  # the user's word; both runtimes would put their own variable above it
        return {}
    wanted = {"GOMP_SPINCOUNT": _GOMP_SPINCOUNT, "KMP_BLOCKTIME": _KMP_BLOCKTIME}
    return {name: value for name, value in wanted.items() if name not in environment}


def chooses_allocator(environment: Mapping[str, str]) -> bool:
    """Return whether the user has tuned malloc, or put another in its place."""
    tuned = "glibc.malloc." in environment.get("GLIBC_TUNABLES", "")
    preloaded = "malloc" in environment.get("LD_PRELOAD", "")
    return tuned or preloaded or any(name in environment for name in _MALLOC_VARIABLES)


def keep_heap() -> bool:
    """Tell glibc to keep freed memory for the next call.

    All threads get one arena: in any other arena a block of more than 64 MiB is mapped and unmapped every time,
    whatever the thresholds say. That costs little here, as one thread computes and the rest hold the GIL. It only
    concerns threads that start afterwards.

    Returns:
        Whether it was done; elsewhere than on Linux with glibc there is nothing to do.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has no mallopt
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    # Older versions of glibc allow a threshold of 32 MiB at most, but have always allowed none.
    kept = mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK_BYTES) or mallopt(_M_MMAP_MAX, 0)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_M_ARENA_MAX, 1))


def configure_torch(threads: int | None = None, *, callers: int = 1) -> int:
    """Give torch its threads. `qupath_sam.engine.worker` sees to it that only one call uses them at a time.

    Args:
        threads: how many; None for one per core, or as many as ``OMP_NUM_THREADS`` says.
        callers: threads that call models on the CPU at once, which share these threads.

    Returns:
        How many torch uses now in each call.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"torch needs at least 1 thread, got {threads}")
    import torch

    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        threads = available_cores()
    if threads is None and callers > 1:
        threads = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(max(1, threads // max(1, callers)))
    return torch.get_num_threads()


def available_cores() -> int:
    """Return the number of physical cores that this process may use, at least 1.

    Two hardware threads of one core share its vector units, so more threads than cores only wait for each other.
    A CPU affinity and a container's quota (cgroup v2) count, which the number of cores alone would not show.
    """
    import psutil  # here, because only those who compute need it

    limits = [float(psutil.cpu_count(logical=False) or os.cpu_count() or 1)]
    if sys.platform != "darwin":
        limits.append(len(psutil.Process().cpu_affinity() or ()) or math.inf)
    with contextlib.suppress(OSError, ValueError):
        limits.append(cgroup_cores(Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii")))
    return max(1, math.floor(min(limits)))


def cgroup_cores(cpu_max: str) -> float:
    """Return the cores granted by a ``cpu.max`` file ("200000 100000": microseconds, of each period), or infinity.

    Source: Linux documentation, admin-guide/cgroup-v2, "cpu.max".
    """
    quota, _, period = cpu_max.strip().partition(" ")
    return math.inf if quota in ("max", "") else int(quota) / int(period or 100_000)
