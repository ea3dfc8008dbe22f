"""Compare what can run the default model on a CPU: torch, OpenVINO, ONNX Runtime, AOTInductor.

Each way runs the three networks of a click (image encoder; mask decoder from the embedded prompts on; refinement head)
on the same inputs, by turns, in one process. A way whose package is absent is named and left out. AOTInductor needs a
C++ compiler here, where it compiles, and none where its library runs.

Usage: uv run --with onnx --with onnxscript --with onnxruntime python -m tools.bench_runtimes [--threads 1]
       [--rounds 9] [--folder NETWORKS] [--way "OpenVINO bf16"]... [--json FILE] [--markdown FILE]

`--threads 1` on a busy machine: processor time of one thread changes least with what runs beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.metadata
import importlib.util
import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qupath_sam.cli.marked_tables import check_markers, write_tables
from qupath_sam.machine.description import report
from qupath_sam.machine.threads import configure_torch, prepare_process
from qupath_sam.models.compiled import CompiledNetwork
from qupath_sam.models.registry import DEFAULT_MODEL
from tools.click_parts import Part, Run, parts_of, several

#: The table of `table` in a document.
TABLE = "python -m tools.bench_runtimes"
#: Sides of the matrices whose product shows what the processor can do in bf16.
_PEAK_SIDE = 2048

Make = Callable[[Part, int, Path], Run]


def _openvino(part: Part, threads: int, folder: Path, *, bf16: bool) -> Run:
    shapes = [_shape(part, index) for index in range(len(part.inputs))]
    return CompiledNetwork(part.network, [part.inputs], shapes, bf16=bf16, threads=threads, folder=folder)


def _onnx(part: Part, threads: int, folder: Path, *, int8: bool) -> Run:
    import onnxruntime

    path = folder / f"{part.name}.onnx"
    if not path.exists():
        torch.onnx.export(
            part.network,
            part.inputs,
            path,
            dynamo=True,
            verbose=False,
            external_data=False,
            dynamic_shapes=_dynamic(part),
        )
    if int8:
        from onnxruntime.quantization import quantize_dynamic

        small = folder / f"{part.name}_int8.onnx"
        # Products alone: ONNX Runtime has no quick convolution whose input is quantised while it runs.
        quantize_dynamic(path, small, op_types_to_quantize=["MatMul", "Gemm"])
        path = small
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        arrays = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        return [torch.from_numpy(answer) for answer in session.run(None, arrays)]

    return run


def _aotinductor(part: Part, threads: int, folder: Path, *, bf16: bool) -> Run:
    path = folder / f"{part.name}_{'bf16' if bf16 else 'fp32'}.pt2"
    if path.exists():
        return _library(path)
    network: nn.Module = _InBf16(part.network) if bf16 else part.network
    shapes = _dynamic(part)
    # Inputs that a network takes as *inputs are one argument.
    shapes = (shapes,) if bf16 and shapes is not None else shapes
    exported = torch.export.export(network, part.inputs, dynamic_shapes=shapes)
    torch._inductor.aoti_compile_and_package(exported, package_path=str(path), inductor_configs={"freezing": True})
    return _library(path)


def _library(path: Path) -> Run:
    loaded = torch._inductor.aoti_load_package(str(path))
    return lambda *inputs: several(loaded(*inputs))


class _InBf16(nn.Module):
    """A network that computes in bf16, with fp32 inputs and answers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).to(torch.bfloat16)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        answers = self.network(*(each.to(torch.bfloat16) for each in inputs))
        return tuple(each.float() for each in several(answers))


#: All ways beside torch's own three, and the package each needs.
WAYS: dict[str, tuple[str, Make]] = {
    "OpenVINO fp32": ("openvino", lambda *made: _openvino(*made, bf16=False)),
    "OpenVINO bf16": ("openvino", lambda *made: _openvino(*made, bf16=True)),
    "ONNX Runtime fp32": ("onnxruntime", lambda *made: _onnx(*made, int8=False)),
    "ONNX Runtime int8": ("onnxruntime", lambda *made: _onnx(*made, int8=True)),
    "AOTInductor fp32": ("torch", lambda *made: _aotinductor(*made, bf16=False)),
    "AOTInductor bf16": ("torch", lambda *made: _aotinductor(*made, bf16=True)),
}
EAGER, FOLDED, TODAY = "torch fp32, eager", "torch fp32", "torch bf16"


def run(
    model: str = DEFAULT_MODEL,
    *,
    threads: int = 0,
    rounds: int = 9,
    ways: Sequence[str] = tuple(WAYS),
    folder: Path | None = None,
) -> dict[str, Any]:
    """Time each way on each network.

    Args:
        model: a promptable one with a refinement head.
        threads: of each way; 0 takes all cores.
        rounds: how often each way runs, after a first call that does not count.
        ways: of `WAYS`; torch's own are always there.
        folder: where exported networks are kept, and taken from in the next run; None keeps none.

    Returns:
        ``schema``, ``machine``, ``versions``, ``threads``, ``peak_gflop_s`` (GFLOP of a product of bf16 matrices in a
        second of processor time), ``left_out`` (why, by way) and ``parts.<part>.<way>.{cpu_ms, wall_ms}`` (medians)
        with ``of_eager`` and ``of_today`` (ratios of processor time), ``wall_of_eager`` and ``wall_of_today``,
        ``error`` (norm of the difference to eager over the norm of eager, the largest of the answers), ``prepared_s``
        and ``of_peak``, the share of that product's speed.
    """
    threads = configure_torch(threads or None)
    left_out: dict[str, str] = {}
    parts: dict[str, Any] = {}
    with torch.inference_mode():
        peak = _peak()
        for part in parts_of(model):
            with tempfile.TemporaryDirectory() as passing:
                parts[part.name] = _time_part(part, ways, threads, rounds, folder or Path(passing), left_out)
            for found in parts[part.name].values():
                found["of_peak"] = round(part.gflop / found["cpu_ms"] * 1e3 / peak, 3)
    packages = ("torch", "openvino", "onnxruntime")
    versions = {name: importlib.metadata.version(name) for name in packages if importlib.util.find_spec(name)}
    figures = {"versions": versions, "threads": threads, "peak_gflop_s": round(peak), "left_out": left_out}
    return report("bench-runtimes", {"model": model, **figures, "parts": parts})


def _time_part(
    part: Part, ways: Sequence[str], threads: int, rounds: int, folder: Path, left_out: dict[str, str]
) -> dict[str, Any]:
    runs: dict[str, Run] = {EAGER: part.eager, FOLDED: part.folded, TODAY: part.today}
    expected = [each.clone() for each in part.eager(*part.inputs)]
    errors = {way: _error(call(*part.inputs), expected) for way, call in runs.items()}
    prepared: dict[str, float] = {}
    for way in ways:
        package, make = WAYS[way]
        started = time.perf_counter()
        if importlib.util.find_spec(package) is None:
            left_out[way] = f"{package} is not installed"
            continue
        try:
            # What inference mode makes cannot be exported.
            with torch.inference_mode(mode=False), torch.no_grad(), _quiet():
                call = make(part, threads, folder)
                errors[way] = _error(call(*part.inputs), expected)
        except Exception as error:  # what these packages raise has no common type, and the others go on
            left_out[f"{way}, {part.name}"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            continue
        runs[way], prepared[way] = call, time.perf_counter() - started
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in runs}
    for _ in range(rounds):
        for way, call in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call(*part.inputs)
            times[way].append((time.process_time() - cpu, time.perf_counter() - wall))
    medians = {
        way: tuple(statistics.median(column) * 1e3 for column in zip(*each, strict=True)) for way, each in times.items()
    }
    return {
        way: {
            "cpu_ms": round(cpu, 2),
            "wall_ms": round(wall, 2),
            "of_eager": round(cpu / medians[EAGER][0], 3),
            "of_today": round(cpu / medians[TODAY][0], 3),
            "wall_of_eager": round(wall / medians[EAGER][1], 3),
            "wall_of_today": round(wall / medians[TODAY][1], 3),
            "error": float(f"{errors[way]:.2g}"),
            "prepared_s": round(prepared.get(way, 0.0), 1),
        }
        for way, (cpu, wall) in medians.items()
    }


def _peak() -> float:
    """Return the most GFLOP of a product of bf16 matrices in a second of processor time."""
    a, b = (torch.randn(_PEAK_SIDE, _PEAK_SIDE).to(torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(6):
        started = time.process_time()
        a @ b
        seconds.append(time.process_time() - started)
    return float(2 * _PEAK_SIDE**3 / min(seconds) / 1e9)


def _shape(part: Part, index: int) -> list[int]:
    shape = list(part.inputs[index].shape)
    if index == part.growing:
        shape[1] = -1
    return shape


def _dynamic(part: Part) -> tuple[Any, ...] | None:
    if part.growing is None:
        return None
    # The decoder's own tokens come on top; above 32 in all it is another network.
    tokens = torch.export.Dim("tokens", min=2, max=27)
    return tuple({1: tokens} if index == part.growing else None for index in range(len(part.inputs)))


def _error(answers: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    pairs = zip(answers, expected, strict=False)
    return max(float((own.float() - theirs).norm() / theirs.norm()) for own, theirs in pairs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what exporters say on their way."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown: a row a way, with its times over those of torch's bf16, and its error."""
    parts: dict[str, dict[str, Any]] = results["parts"]
    ways = list(dict.fromkeys(way for found in parts.values() for way in found))
    lines = ["| | " + " | ".join(parts) + " |", "|---|" + "---|" * len(parts)]
    for way in ways:
        cells = (found.get(way) for found in parts.values())
        figures = (
            "" if one is None else "{of_today:.2f}, {wall_of_today:.2f}, {error:.1g}".format(**one) for one in cells
        )
        lines.append(f"| {way} | {' | '.join(figures)} |")
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    today = ", ".join(
        f"{part} {found[TODAY]['cpu_ms']:.0f} ms ({found[TODAY]['of_peak']:.0%} of the peak)"
        for part, found in parts.items()
    )
    return "\n".join(lines) + (
        f"\n\nProcessor time and wall time, both over those of {TODAY}, and error against {EAGER}. {machine['cpu']} "
        f"({machine['instructions']}), {results['threads']} threads, load {machine['load']}; {versions}. "
        f"Processor time of {TODAY}: {today}, the peak being a product of bf16 matrices, "
        f"{results['peak_gflop_s']} GFLOP a second.\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench_runtimes", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=0, help="of each way; 0 takes all cores")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--way", action="append", choices=list(WAYS), help="may be repeated; else all that can run")
    parser.add_argument("--folder", type=Path, help="keep exported networks here, and take those that are there")
    parser.add_argument("--markdown", type=Path, help="write the table into this document, between its markers")
    parser.add_argument("--json", type=Path, help="write all figures here")
    chosen = parser.parse_args(arguments)
    if chosen.markdown:
        check_markers(chosen.markdown, [TABLE])
    prepare_process()
    if chosen.folder:
        chosen.folder.mkdir(parents=True, exist_ok=True)
    ways = chosen.way or tuple(WAYS)
    results = run(chosen.model, threads=chosen.threads, rounds=chosen.rounds, ways=ways, folder=chosen.folder)
    for way, why in results["left_out"].items():
        print(f"left out: {way}: {why}", file=sys.stderr)  # noqa: T201
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if chosen.markdown:
        write_tables(chosen.markdown, {TABLE: table(results)})
    print(table(results), end="")  # noqa: T201


if __name__ == "__main__":
    main()
