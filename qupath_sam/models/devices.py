"""Where a model runs and in which number format, and what is done to its encoder for that."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from qupath_sam.errors import InvalidRequest, OutOfMemory
from qupath_sam.models import kept_networks
from qupath_sam.models.compiled import CompiledNetwork
from qupath_sam.networks.folding import freeze_for_inference
from qupath_sam.networks.frozen_decoder import FrozenMaskDecoder
from qupath_sam.networks.network import EMBEDDING_CHANNELS, PromptableNetwork
from qupath_sam.networks.tiny_vit import TinyViT


class Precision(enum.Enum):
    """Number format of the image encoder, and on a CPU of the refinement head.

    Prompt encoder and mask decoder run in fp32. On the sets measured, a bf16 encoder moves the IoU of box prompts by
    less than 0.001; a bf16 decoder changes masks of difficult prompts by 2 to 4 %, for a few milliseconds.
    """

    AUTO = "auto"
    """bf16 where the processor computes in it, else fp32."""
    FP32 = "fp32"
    BF16 = "bf16"
    FP32_EAGER = "fp32_eager"
    """fp32 as the network was trained: batch norms not folded, NCHW memory. The yardstick of `bench click`."""


class Runtime(enum.Enum):
    """What runs image encoder and mask decoder on a CPU. Anything else runs in torch."""

    AUTO = "auto"
    """OpenVINO on a CPU where it is installed, else torch."""
    TORCH = "torch"
    OPENVINO = "openvino"


@dataclass(frozen=True, slots=True)
class Execution:
    """A device, what runs there, and the number format; `AUTO` has been resolved.

    Attributes:
        device: cuda, mps or cpu.
        precision: FP32, BF16 or FP32_EAGER.
        runtime: TORCH or OPENVINO.
    """

    device: torch.device
    precision: Precision
    runtime: Runtime = Runtime.TORCH

    @property
    def batches_prompts(self) -> bool:
        """Whether independent prompts gain by going through the decoder together; on CPU they lose.

        Processor time on one core (AVX-512), default model: 37 ms a prompt alone, 47 in twos, 63 in eights: the image
        cells of several prompts (4 MB each) do not fit the cache. The head takes 20 ms in any number.
        """
        return self.device.type != "cpu"

    @property
    def embedding_dtype(self) -> torch.dtype:
        """Format in which embeddings are kept: the one they were computed in."""
        return torch.bfloat16 if self.precision is Precision.BF16 else torch.float32


def choose_device(name: str = "auto") -> torch.device:
    """Choose the device of that name; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        InvalidRequest: torch does not know the name, or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidRequest(f"unknown device {name!r}; use auto, cpu, cuda, cuda:1 or mps") from error
    if not _is_present(device):
        raise InvalidRequest(
            f"device {name!r} is not available to torch {torch.__version__} here; "
            "use auto or cpu, or see `qupath-sam doctor`"
        )
    return device


def choose_execution(
    device: str = "auto",
    precision: str | Precision = Precision.AUTO,
    runtime: str | Runtime = Runtime.TORCH,
) -> Execution:
    """Choose device, number format and runtime by name.

    Raises:
        InvalidRequest: no such device, precision or runtime, or not together.
    """
    chosen = choose_device(device)
    wanted, by = _named(Precision, precision, "precision"), _named(Runtime, runtime, "runtime")
    fits = chosen.type == "cpu" and wanted is not Precision.FP32_EAGER
    if by is Runtime.OPENVINO and not fits:
        raise InvalidRequest("OpenVINO runs on the cpu, in fp32 or bf16; use --device cpu or --runtime torch")
    if by is Runtime.AUTO:
        by = Runtime.OPENVINO if fits and kept_networks.is_installed() else Runtime.TORCH
    if wanted is Precision.AUTO:
        wanted = Precision.BF16 if computes_in_bf16(chosen) else Precision.FP32
    return Execution(chosen, wanted, by)


_Choice = TypeVar("_Choice", bound=enum.Enum)


def _named(kind: type[_Choice], name: str | _Choice, what: str) -> _Choice:
    try:
        return kind(name)
    except ValueError as error:
        known = ", ".join(each.value for each in kind)
        raise InvalidRequest(f"unknown {what} {name!r}; known: {known}") from error


#: Values of oneDNN's ``ONEDNN_MAX_CPU_ISA`` below AVX512_CORE_BF16 ("CPU Dispatcher Control", oneDNN's documentation).
_WITHOUT_BF16 = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"})


def computes_in_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 in hardware. Where it is emulated it is slower than fp32.

    A variable that keeps oneDNN from these instructions counts: torch and OpenVINO both multiply by oneDNN.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", ""))
    if limit.upper() in _WITHOUT_BF16:
        return False
    # torch has no public name for this in the versions we support.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check is not None)


def prepare(network: PromptableNetwork, execution: Execution) -> None:
    """Move ``network`` to its device and make it fast there, in place; it can no longer be trained.

    On CPU a pure bf16 encoder in channels-last order takes .31 of the eager fp32 time, autocast .35.

    Raises:
        InvalidRequest: OpenVINO is wanted and cannot run the network.
    """
    network.eval().requires_grad_(False)
    if execution.runtime is Runtime.OPENVINO:
        network.freeze_decoder()
        _compile(network, bf16=execution.precision is Precision.BF16)
    on_cpu = execution.device.type == "cpu"
    if network.refinement_head is not None:
        network.refinement_head.to(memory_format=torch.channels_last)
    if execution.precision is not Precision.FP32_EAGER:
        freeze_for_inference(network.image_encoder)
        network.image_encoder.to(memory_format=torch.channels_last)
        if on_cpu:
            network.freeze_decoder()
        if on_cpu and execution.precision is Precision.BF16:
            network.image_encoder.to(torch.bfloat16)
            if network.refinement_head is not None:
                network.refinement_head.to(torch.bfloat16)
    network.to(execution.device)


def _compile(network: PromptableNetwork, *, bf16: bool) -> None:
    """Let OpenVINO run a TinyViT and a frozen decoder; others stay in torch."""
    make = partial(CompiledNetwork, bf16=bf16, threads=torch.get_num_threads(), folder=kept_networks.default_folder())
    random = np.random.default_rng(0)
    encoder, decoder = network.image_encoder, network.mask_decoder
    if isinstance(encoder, TinyViT):
        shape = 1, 3, network.input_size, network.input_size
        image = torch.from_numpy(random.random(shape, np.float32))
        network.image_encoder = CompiledEncoder(make(encoder, [[image]], [shape]))
    if isinstance(decoder, FrozenMaskDecoder):
        cells = _normal(random, *decoder.position.shape) * 0.1
        prompts = [_normal(random, 1, tokens, EMBEDDING_CHANNELS) for tokens in (2, 3, 4, 6, 11)]
        shapes = cells.shape, (1, -1, EMBEDDING_CHANNELS)
        decoder.compiled = make(decoder, [[cells, each] for each in prompts], shapes)


def _normal(random: np.random.Generator, *shape: int) -> Tensor:
    # numpy's: `torch.Generator` needs what `qupath_sam.machine.imports` has wait.
    return torch.from_numpy(random.standard_normal(shape, np.float32))


def compiled_networks(network: PromptableNetwork) -> list[CompiledNetwork]:
    """Return what OpenVINO runs of a prepared network."""
    encoder, decoder = network.image_encoder, network.mask_decoder
    found = [encoder.run] if isinstance(encoder, CompiledEncoder) else []
    if isinstance(decoder, FrozenMaskDecoder) and decoder.compiled is not None:
        found.append(cast("CompiledNetwork", decoder.compiled))
    return found


class CompiledEncoder(nn.Module):
    """An image encoder that OpenVINO runs.

    Args:
        run: fp32 ``(1, 3, S, S)`` to the embedding, fp32 and overwritten by the next call.
    """

    def __init__(self, run: CompiledNetwork) -> None:
        super().__init__()
        self.run = run

    def forward(self, image: Tensor) -> Tensor:
        """Return the embedding, the caller's own, in channels-last order as the decoder wants it."""
        return self.run(image.float())[0].clone(memory_format=torch.channels_last)


def encode(encoder: nn.Module, image: Tensor, execution: Execution) -> Tensor:
    """Run a prepared encoder on fp32 ``(1, 3, S, S)``; the answer has `Execution.embedding_dtype`."""
    if isinstance(encoder, CompiledEncoder):
        embedding: Tensor = encoder(image)
        return embedding.to(execution.embedding_dtype)
    if execution.precision is not Precision.FP32_EAGER:
        image = image.contiguous(memory_format=torch.channels_last)
    if execution.precision is not Precision.BF16:
        output: Tensor = encoder(image)
    elif execution.device.type == "cpu":
        output = encoder(image.to(torch.bfloat16))
    else:
        with torch.autocast(execution.device.type, torch.bfloat16):
            output = encoder(image)
    return output.to(execution.embedding_dtype)


@contextmanager
def out_of_memory_mapped(device: torch.device) -> Iterator[None]:
    """Turn what torch raises for want of memory, in its several disguises, into `OutOfMemory`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(device) from error
    except RuntimeError as error:
        if any(phrase in str(error) for phrase in ("can't allocate memory", "not enough memory", "out of memory")):
            raise _out_of_memory(device) from error
        raise


def _out_of_memory(device: torch.device) -> OutOfMemory:
    return OutOfMemory(
        f"{device} has no memory left for this request; ask for fewer objects at once, "
        "keep fewer embeddings, or use a smaller model or `--device cpu`"
    )


def _is_present(device: torch.device) -> bool:
    match device.type:
        case "cpu":
            return True
        case "cuda":
            return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
        case "mps":
            return torch.backends.mps.is_available()
        case _:
            return False


def describe_device(device: torch.device) -> str:
    """Describe the device for people to read: its name in torch, and for CUDA that of the card."""
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return str(device)
