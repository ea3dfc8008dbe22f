"""Networks that OpenVINO runs on a processor: converted once, then kept on disk by the digest of their weights.

OpenVINO (Apache-2.0, the extra ``[openvino]``) fuses layers and picks kernels for the processor, in bf16 where that
computes in bf16. Conversion takes some seconds; what is kept has been compiled for this processor and is loaded in a
tenth of a second. Nothing goes to the network: the converter that reports its use (``openvino.convert_model``) is not
called, only the reader of torch networks below it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn

from qupath_sam.errors import InvalidRequest

log = logging.getLogger(__name__)

#: Largest difference from torch, as a share of the answer's norm; bf16 alone makes one of .01.
MOST_ERROR = 0.04
#: Networks that are kept on disk, the last used ones.
MOST_KEPT = 8
#: What holds no network of this version and was not used for so long is removed: an earlier version may still use its
#: own, and another process may be writing.
STALE_S = 24 * 3600.0
_NAME = "network.blob"
#: The names that `_key` and `_keep` give, in this version and earlier ones. Whatever else lies there is not ours.
_OURS = re.compile(r"[0-9a-f]{32}|\.[0-9a-f]{32}\.[0-9a-f]{8}\.tmp")


def is_installed() -> bool:
    """Return whether the extra is there; nothing is imported."""
    return importlib.util.find_spec("openvino") is not None


def default_folder() -> Path:
    """Return the folder of converted networks: in the user's cache folder, which may be emptied at any time."""
    return Path(platformdirs.user_cache_dir("qupath-sam", appauthor=False)) / "openvino"


class CompiledNetwork:
    """A network's forward pass, run by OpenVINO.

    Args:
        network: in fp32 on the CPU, not folded. It is not kept.
        examples: inputs, fp32. The first is traced; when the network is converted, its answers to all are compared.
        shapes: of the inputs; -1 for a length that may change from call to call.
        bf16: compute in bf16; inputs and answers are fp32 all the same.
        threads: that compute.
        folder: where the converted network is kept.

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
        if not is_installed():
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
        model = _kept(kept, how)
        if model is not None:
            self._request = model.create_infer_request()
        else:
            model = _core().compile_model(_converted(network, examples[0], shapes), "CPU", how)
            self._request = model.create_infer_request()
            for example in examples:
                self._check(network, example)
            _keep(model, kept)
        _clean(folder)

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
        # Not `infer`, which cannot be interrupted where one thread computes.
        self._request.start_async(arrays, share_inputs=True)
        self._request.wait()
        return [torch.from_numpy(answer.data) for answer in self._request.output_tensors]

    def interrupt(self) -> None:
        """Stop the call that runs on another thread: it raises RuntimeError, if its shapes are fixed."""
        self._request.cancel()


@functools.cache
def _core() -> Any:
    """Return OpenVINO's core, one for the process, which is never let go.

    The processor's plugin goes with the last core and network, and takes the alternate signal stack along that it has
    given to the thread that loaded it: that thread's next signal, such as Ctrl-C, then ends the process by SIGSEGV.
    """
    import openvino

    return openvino.Core()


def _kept(folder: Path, how: Mapping[str, object]) -> Any | None:
    """Load the network that is kept there; None where there is none, or a spoilt one, which is removed."""
    path = folder / _NAME
    try:
        model = _core().import_model(path.read_bytes(), "CPU", how)
    except OSError:
        return None
    except RuntimeError:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):  # a folder that is read only
        path.touch()
    return model


def _converted(network: nn.Module, example: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> Any:
    import warnings

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


def _keep(model: Any, kept: Path) -> None:
    """Put a compiled network into its place as a whole. A folder that cannot be written costs the next start's time."""
    folder = kept.parent
    part = folder / f".{kept.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        (part / _NAME).write_bytes(model.export_model().getvalue())
        if not kept.exists():
            part.rename(kept)
    except OSError as error:
        if not kept.exists():  # else another process was faster
            log.warning("could not keep a compiled network in %s (%s); the next start compiles it again", folder, error)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _clean(folder: Path) -> None:
    """Remove the networks that were not used for the longest time, and what other versions and dead processes left."""
    networks: list[tuple[float, Path]] = []
    others: list[tuple[float, Path]] = []
    for entry in _entries(folder):
        kind = networks if not entry.name.startswith(".") and (entry / _NAME).is_file() else others
        kind.append((_last_use(entry), entry))
    networks.sort(reverse=True)
    stale = [(used, entry) for used, entry in others if time.time() - used > STALE_S]
    for _, old in [*networks[MOST_KEPT:], *stale]:
        shutil.rmtree(old, ignore_errors=True)


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the folders that this module has made, in whichever version; links are none of them."""
    with suppress(OSError):
        for entry in list(folder.iterdir()):
            if _OURS.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
                yield entry


def _last_use(entry: Path) -> float:
    """Return when a folder or a file in it was last used, in seconds since the epoch; now where nobody can say."""
    try:
        return max(path.stat().st_mtime for path in (entry, *entry.iterdir()))
    except OSError:  # another process removes it
        return time.time()


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
    core = _core()
    processor = core.get_property("CPU", "FULL_DEVICE_NAME"), core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    versions = importlib.metadata.version("openvino"), importlib.metadata.version("torch")
    code = Path(sys.modules[type(network).__module__].__file__ or "").read_bytes()
    sizes = [tuple(shape) for shape in shapes]
    digest = hashlib.sha256(repr((_NAME, type(network).__qualname__, sizes, versions, processor, bf16)).encode() + code)
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
