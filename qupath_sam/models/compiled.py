"""Networks that OpenVINO runs on a processor: converted once, then kept on disk by the digest of their weights.

OpenVINO (Apache-2.0, the extra ``[openvino]``) fuses layers and picks kernels for the processor, in bf16 where that
computes in bf16. Conversion takes some seconds; what is kept has been compiled for this processor and is loaded in a
tenth of a second. Nothing goes to the network: the converter that reports its use (``openvino.convert_model``) is not
called, only the reader of torch networks below it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qupath_sam.errors import InvalidRequest
from qupath_sam.machine.imports import run_all
from qupath_sam.models import kept_networks

#: Largest difference from torch, as a share of the answer's norm; bf16 alone makes one of .01.
MOST_ERROR = 0.04
#: Part of every digest: what is kept in this layout.
_LAYOUT = "network.blob"


class CompiledNetwork:
    """A network's forward pass, run by OpenVINO.

    Args:
        network: in fp32 on the CPU, not folded. It is not kept.
        examples: inputs, fp32. The first is traced; when the network is converted, its answers to all are compared.
        shapes: of the inputs; -1 for a length that may change from call to call.
        bf16: compute in bf16; inputs and answers are fp32 all the same.
        threads: that compute.
        folder: where the converted network is kept.

    Attributes:
        before_start: called before each call; what it raises is raised in place of the call. `interrupt` waits for it
            until the call runs.

    Raises:
        InvalidRequest: OpenVINO is not installed, or cannot convert this network, or answers otherwise than torch.
    """

    def __init__(
        self,
        network: nn.Module,
        examples: Sequence[Sequence[Tensor]],
        shapes: Sequence[Sequence[int]],
        *,
        bf16: bool,
        threads: int,
        folder: Path,
    ) -> None:
        self.before_start: Callable[[], None] = lambda: None
        #: Held while a call starts: a request that does not run yet cannot be cancelled.
        self._starts = threading.Lock()
        if not kept_networks.is_installed():
            raise InvalidRequest("OpenVINO is not installed; run: pip install 'qupath-sam[openvino]'")
        try:
            self._prepare(network, examples, shapes, bf16=bf16, threads=threads, folder=folder)
        except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
            name = type(network).__name__
            raise InvalidRequest(f"OpenVINO cannot run the {name} ({error}); use --runtime torch") from error

    def _prepare(
        self,
        network: nn.Module,
        examples: Sequence[Sequence[Tensor]],
        shapes: Sequence[Sequence[int]],
        *,
        bf16: bool,
        threads: int,
        folder: Path,
    ) -> None:
        kept, how = folder / _key(network, shapes, bf16=bf16), _options(bf16=bf16, threads=threads)
        #: Where it is kept, and the options that it runs with.
        self.kept = kept, how
        model = kept_networks.load(kept, how)
        if model is not None:
            self._request = model.create_infer_request()
        else:
            model = kept_networks.core().compile_model(_converted(network, examples[0], shapes), "CPU", how)
            self._request = model.create_infer_request()
            for example in examples:
                self._check(network, example)
            kept_networks.keep(model, kept)
        kept_networks.clean(folder)

    def _check(self, network: nn.Module, example: Sequence[Tensor]) -> None:
        """Raise ValueError where the answers are not the network's own: a kernel may be wrong on one processor."""
        with torch.no_grad():
            expected = network(*example)
        for own, theirs in zip((expected,) if isinstance(expected, Tensor) else expected, self(*example), strict=True):
            error = float((own - theirs).norm() / own.norm())
            # Not the other way round: an error that is no number is an error.
            if not error <= MOST_ERROR:
                raise ValueError(f"its answers are {error:.0%} off those of torch")

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Return the network's answers, fp32. They are overwritten by the next call.

        Args:
            inputs: fp32; read in place where they are contiguous.
        """
        arrays = [each.contiguous().numpy() for each in inputs]
        with self._starts:
            self.before_start()
            # Not `infer`, which cannot be interrupted where one thread computes.
            self._request.start_async(arrays, share_inputs=True)
        self._request.wait()
        return [torch.from_numpy(answer.data) for answer in self._request.output_tensors]

    def interrupt(self) -> None:
        """Stop the call that runs on another thread: it raises RuntimeError, if its shapes are fixed."""
        with self._starts:
            self._request.cancel()


def _converted(network: nn.Module, example: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> Any:
    import warnings

    run_all()  # tracing is torch's compiler
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch warns of what tracing makes constant, such as sizes
        # A name of its own: the reader does not keep what it reads from.
        source = TorchScriptPythonDecoder(network, example_input=tuple(example))
        reader = FrontEndManager().load_by_framework("pytorch")
        model = reader.convert(reader.load(source))
    model.reshape({entry: list(shape) for entry, shape in zip(model.inputs, shapes, strict=True)})
    return model


def _options(*, bf16: bool, threads: int) -> dict[str, object]:
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Version 2026.4 fuses attention wrongly in bf16 (seen on Zen 4): noise for some numbers of tokens.
        "SNIPPETS_MODE": "DISABLE",
        # A pinned thread waits for its core while another one is idle.
        "ENABLE_CPU_PINNING": False,
    }


def _key(network: nn.Module, shapes: Sequence[Sequence[int]], *, bf16: bool) -> str:
    """Digest what is converted and where it was found right: weights, code, shapes, both libraries, the processor."""
    openvino, *processor = kept_networks.maker()
    versions = openvino, importlib.metadata.version("torch")
    code = Path(sys.modules[type(network).__module__].__file__ or "").read_bytes()
    sizes, name = [tuple(shape) for shape in shapes], type(network).__qualname__
    digest = hashlib.sha256(repr((_LAYOUT, name, sizes, versions, tuple(processor), bf16)).encode() + code)
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key} {tuple(tensor.shape)} ".encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
