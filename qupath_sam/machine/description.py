"""What a measurement was made on: a time without its machine says nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

Json = dict[str, object]


def report(name: str, results: Mapping[str, object], *, version: int = 1) -> Json:
    """Return ``results`` as every ``--json`` file has them: behind ``schema`` and ``machine``.

    Args:
        name: of the command, such as "bench-trace".
        results: JSON values by name.
        version: goes up when a field changes its meaning or goes away.
    """
    return {"schema": f"qupath-sam/{name}/{version}", "machine": machine(), **results}


def machine() -> Json:
    """Describe this machine, now.

    Returns:
        ``cpu``: name of the processor; ``cores``: those this process may use; ``torch``: version; ``threads``: those
        that torch computes with; ``load``: mean number of running processes over the last minute.
    """
    import torch  # here, because it takes a second

    return {
        "cpu": _cpu(),
        "cores": _cores(),
        "torch": importlib.metadata.version("torch"),
        "threads": torch.get_num_threads(),
        "load": round(psutil.getloadavg()[0], 2),
    }


def _cores() -> int:
    if sys.platform == "linux":  # of a machine's cores a container may have but a few
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        query = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()
