"""Torch, its device and threads, and the models' weights."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterator

from qupath_sam.cli.checks.findings import Finding, State
from qupath_sam.errors import QupathSamError
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.models.weights.store import ModelStore


def torch() -> Iterator[Finding]:
    """Check whether torch loads, which device it would use, and in which number format."""
    try:
        import torch
        import torchvision  # noqa: F401 - must match torch, and says so when it is loaded
    except (ImportError, OSError, RuntimeError) as error:
        yield Finding(
            "torch",
            State.PROBLEM,
            f"does not load: {error}",
            "install torch and torchvision of one release together: `pip install --force-reinstall torch torchvision`",
        )
        return
    from qupath_sam.models.devices import choose_device, computes_in_bf16

    device = choose_device()
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    numbers = "bf16 encoder" if computes_in_bf16(device) else "fp32 encoder: no bf16 in hardware"
    said = f"torch {torch.__version__}, device {device}{name}, {numbers}{_runtime(device.type)}"
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        remedy = "install a CUDA build of torch that suits the driver (see pytorch.org), or go on without"
        yield Finding("torch", State.WARNING, f"{said}; there is an NVIDIA driver, but torch sees no GPU", remedy)
    else:
        yield Finding("torch", State.OK, said)


def _runtime(device: str) -> str:
    """Describe what runs encoder and decoder of models with a TinyViT, and why."""
    from qupath_sam.models import kept_networks

    if device != "cpu":
        return ", torch runs all of it"
    if not kept_networks.is_installed():
        return ", torch runs all of it (OpenVINO is quicker: pip install 'qupath-sam[openvino]')"
    version = importlib.metadata.version("openvino")
    return f", OpenVINO {version} runs encoder and decoder, converted once into {kept_networks.default_folder()}"


def threads() -> Iterator[Finding]:
    """Check how many threads torch will get, and whether those that wait sleep."""
    from qupath_sam.machine.threads import available_cores

    set_threads = os.environ.get("OMP_NUM_THREADS")
    count = set_threads or str(available_cores())
    policy = next(
        (f"{v}={os.environ[v]}" for v in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME") if v in os.environ), ""
    )
    said = f"{count} torch threads (OMP_NUM_THREADS{'=' + set_threads if set_threads else ' not set'}), {policy}"
    if os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE":
        yield Finding("threads", State.WARNING, said, "unset OMP_WAIT_POLICY: waiting threads spin and take the cores")
    else:
        yield Finding("threads", State.OK, said)


def default_model() -> Iterator[Finding]:
    """Check that the default model's weights are here and are what they should be, byte for byte."""
    from qupath_sam.models.weights.manage import verify

    store = ModelStore()
    spec = store.find(DEFAULT_MODEL)
    try:
        found = verify(spec, store)
    except QupathSamError as error:
        message, _, remedy = str(error).rpartition("; ")
        yield Finding("model", State.PROBLEM, message or str(error), remedy or "run `qupath-sam models verify`")
        return
    said = f"{spec.name}: weights present, SHA-256 {found.sha256[:12]}… is right"
    yield Finding("model", State.OK, f"{said}. {spec.remark}".rstrip())


def other_models() -> Iterator[Finding]:
    """Check which other models could be used at once."""
    store = ModelStore()
    names = [s.name for s in store.models().values() if s.name != DEFAULT_MODEL and s.weights and store.is_present(s)]
    said = f"also here: {', '.join(names)}" if names else "none but the default"
    yield Finding("models", State.OK, f"{said}; more with `qupath-sam models pull NAME`")
