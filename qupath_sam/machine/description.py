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

#: Variables that keep oneDNN (in torch and in OpenVINO) and torch's own kernels from instructions.
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


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
        that torch computes with; ``instructions``: see `instructions`; ``load``: mean number of running processes over
        the last minute.
    """
    import torch  # here, because it takes a second

    return {
        "cpu": _cpu(),
        "cores": _cores(),
        "torch": importlib.metadata.version("torch"),
        "threads": torch.get_num_threads(),
        "instructions": instructions(),
        "load": round(psutil.getloadavg()[0], 2),
    }


def instructions() -> str:
    """Name what quickens networks on this processor, and what keeps libraries from using it ("no AMX", ...)."""
    import torch

    # torch has no public names for these; one that a version lacks is left out.
    questions = {
        "AMX": "_is_amx_tile_supported",
        "AVX-512 bf16": "_is_avx512_bf16_supported",
        "AVX-512 VNNI": "_is_vnni_supported",
        "AVX-512": "_is_avx512_supported",
        "AVX2": "_is_avx2_supported",
    }
    asked = {said: getattr(torch.cpu, name, None) for said, name in questions.items()}
    said = [name if check() else f"no {name}" for name, check in asked.items() if check is not None]
    return ", ".join(said + [f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ])


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
