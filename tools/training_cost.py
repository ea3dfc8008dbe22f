"""Measure what each training scenario costs: trained parameters, seconds an answer and an epoch, memory.

The table is Kim et al.'s "8x" for any model. Nothing else may run on the machine, else the seconds mean little.

Usage: python -m tools.training_cost DATASET... [--init lite_medsam] [--device cpu] [--crops 100]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from qupath_sam.datasets import open_dataset
from qupath_sam.errors import QupathSamError
from qupath_sam.machine.threads import keep_heap
from qupath_sam.models.weights.checkpoints import build_network
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.network import DecoderKind, Parts
from qupath_sam.training.checkpoint import Origin, load_origin
from qupath_sam.training.data import TrainingData, training_data
from qupath_sam.training.run import Places, build_trainer
from qupath_sam.training.scenarios import Scenario, Trainable, parameter_counts
from qupath_sam.training.settings import Length, TrainingSettings

_LORA = frozenset({Trainable.LORA, Trainable.DECODER})

#: Rows of the table: what is trained, and of which network.
ROWS: dict[str, tuple[frozenset[Trainable], Parts]] = {
    "SAM^MD": (Scenario.SAM_MD.parts, Parts()),
    "SAM^IE-MD": (Scenario.SAM_IE_MD.parts, Parts()),
    "SAM^Whole": (Scenario.SAM_WHOLE.parts, Parts()),
    "LoRA + MD": (_LORA, Parts()),
    "histology decoder": (Scenario.SAM_MD.parts, Parts(DecoderKind.HISTOLOGY)),
    "late IE + PE + MD": (frozenset({Trainable.LATE_ENCODER, Trainable.PROMPT, Trainable.DECODER}), Parts()),
    "PE + MD + head": (frozenset({Trainable.PROMPT, Trainable.DECODER}), Parts(refinement_head=True)),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """One row.

    Attributes:
        trained, parameters: how many numbers are trained, and how many there are.
        answer_seconds: median over steps, for one answer; with its encoding where the encoder is trained.
        epoch_seconds: for every crop drawn once, at the mean length of sessions seen.
        memory_bytes: of the device at its highest; on a CPU, of the process with all it holds.
    """

    name: str
    trained: int
    parameters: int
    answer_seconds: float
    epoch_seconds: float
    memory_bytes: int


def measure_costs(
    data: TrainingData,
    init: str,
    settings: TrainingSettings,
    places: Places,
    *,
    steps: int = 3,
    rows: Sequence[str] = tuple(ROWS),
    on_row: Callable[[Cost], object] | None = None,
) -> list[Cost]:
    """Run a few optimiser steps of each row, each in a process of its own, so that one's memory is not another's.

    Nothing else may run on the machine, else the seconds mean little.

    Args:
        data: to train on.
        init: name of the model to start from; a head and a modified decoder of its own are left out.
        settings, places: as for a run; what is trained is each row's.
        steps: timed, after one that is not.
        rows: of `ROWS`.
        on_row: called with each row as it is done.
    """
    costs = []
    for name in rows:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            cost = process.submit(measure_row, name, data, init, settings, places, steps=steps).result()
        costs.append(cost)
        if on_row is not None:
            on_row(cost)
    return costs


def measure_row(
    name: str, data: TrainingData, init: str, settings: TrainingSettings, places: Places, *, steps: int
) -> Cost:
    """One row, in this process; see `measure_costs`."""
    keep_heap()  # what was needed once stays with the process, and so can be read off it
    trainable, parts = ROWS[name]
    chosen = replace(settings, trainable=trainable, parts=parts, length=Length(steps=steps + 1))
    origin = _plain(load_origin(init, ModelStore(places.home)))
    trainer = build_trainer(data, origin, chosen, places, data_digest=data.digest())
    on_cuda = trainer.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(trainer.device)
    trainer.step()  # encodes crops that are not kept yet, and warms up
    seconds = []
    for _ in range(steps):
        before = trainer.progress.seconds
        report = trainer.step()
        seconds.append((report.seconds - before) / (settings.batch * settings.accumulate))
    trained, parameters = parameter_counts(trainer.network)
    answer = statistics.median(seconds)
    return Cost(
        name=name,
        trained=trained,
        parameters=parameters,
        answer_seconds=answer,
        epoch_seconds=answer * trainer.progress.prompts / max(1, trainer.pool.drawn) * len(trainer.crops),
        memory_bytes=torch.cuda.max_memory_allocated(trainer.device) if on_cuda else _process_memory(),
    )


def _plain(origin: Origin) -> Origin:
    """Build a plain network: rows bring their own parts. What the model lacks is random, and costs the same."""
    plain = build_network(origin.spec.family, Parts()).state_dict()
    return replace(origin, tensors={key: origin.tensors.get(key, tensor) for key, tensor in plain.items()})


def costs_table(costs: Sequence[Cost]) -> str:
    """Markdown."""
    lines = [
        "| scenario | trained parameters | of all | s / answer | s / epoch | memory MB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.name} | {c.trained:,} | {c.trained / c.parameters:.1%} | {c.answer_seconds:.3f} | {c.epoch_seconds:.0f} "
        f"| {c.memory_bytes / 1e6:.0f} |"
        for c in costs
    ]
    return "\n".join(lines)


def _process_memory() -> int:
    """Bytes at the highest where the system says so (Windows), else now; see `keep_heap`."""
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.training_cost", description="Measure training scenarios.")
    parser.add_argument("datasets", nargs="+", metavar="DATASET", help="as `qupath-sam train` takes them")
    parser.add_argument("--init", default="lite_medsam", help="model to start from; its head is left out")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--batch", type=int, default=1, help="crops that go through the network together")
    parser.add_argument("--accumulate", type=int, default=8, help="answers of a step: this times --batch")
    parser.add_argument("--crops", type=int, default=1000, help="squares of an epoch")
    chosen = parser.parse_args(arguments)
    settings = TrainingSettings(batch=chosen.batch, accumulate=chosen.accumulate, crops=chosen.crops)
    try:
        data = training_data([open_dataset(dataset) for dataset in chosen.datasets])
        with tempfile.TemporaryDirectory() as folder:
            places = Places(Path(folder), device=chosen.device)
            costs = measure_costs(
                data,
                chosen.init,
                settings,
                places,
                on_row=lambda cost: sys.stderr.write(f"{cost.name}: {cost.answer_seconds:.3f} s an answer\n"),
            )
    except QupathSamError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{costs_table(costs)}\n")


if __name__ == "__main__":
    main()
