"""What a scenario costs: trained parameters, seconds an epoch, memory; the poster's "8x" as a table for any model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import psutil
import torch

from qupath_sam.models.network import DecoderKind, Parts
from qupath_sam.training.checkpoint import Origin
from qupath_sam.training.data import TrainingData
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
    "PE + MD + head": (
        frozenset({Trainable.PROMPT, Trainable.DECODER}),
        Parts(refinement_head=True, box_decoder=True),
    ),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """One row.

    Attributes:
        trained, parameters: how many numbers are trained, and how many there are.
        step_seconds: median of an optimiser step's answers, for one answer, encoding included where it is trained.
        epoch_seconds: for every view drawn once, at the mean length of sessions seen.
        memory_bytes: of the device at its highest; on a CPU of the process after the heaviest part of a step.
    """

    name: str
    trained: int
    parameters: int
    step_seconds: float
    epoch_seconds: float
    memory_bytes: int


def measure_costs(
    data: TrainingData,
    origin: Origin,
    settings: TrainingSettings,
    places: Places,
    *,
    data_digest: str,
    steps: int = 3,
    rows: Sequence[str] = tuple(ROWS),
    on_row: Callable[[Cost], None] | None = None,
) -> list[Cost]:
    """Run a few optimiser steps of each row. Nothing else may run on the machine, else the seconds mean little.

    Args:
        data, origin, settings, places: as for a run; what is trained is each row's.
        data_digest: of ``data``.
        steps: timed, after one that is not.
        rows: of `ROWS`.
        on_row: called with each row as it is done.
    """
    costs = []
    for name in rows:
        trainable, parts = ROWS[name]
        chosen = replace(settings, trainable=trainable, parts=parts, length=Length(steps=steps + 1))
        cost = _measure(name, data, origin, chosen, places, data_digest=data_digest, steps=steps)
        costs.append(cost)
        if on_row is not None:
            on_row(cost)
    return costs


def costs_table(costs: Sequence[Cost]) -> str:
    """Markdown."""
    lines = [
        "| scenario | trained parameters | of all | s / answer | s / epoch | memory MB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.name} | {c.trained:,} | {c.trained / c.parameters:.1%} | {c.step_seconds:.3f} | {c.epoch_seconds:.0f} "
        f"| {c.memory_bytes / 1e6:.0f} |"
        for c in costs
    ]
    return "\n".join(lines)


def _measure(
    name: str,
    data: TrainingData,
    origin: Origin,
    settings: TrainingSettings,
    places: Places,
    *,
    data_digest: str,
    steps: int,
) -> Cost:
    trainer = build_trainer(data, origin, settings, places, data_digest=data_digest)
    on_cuda = trainer.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(trainer.device)
    highest, seconds = 0, []
    trainer.step()  # encodes views that are not kept yet, and warms up
    process = psutil.Process()
    for _ in range(steps):
        before = trainer.progress.seconds
        report = trainer.step()
        seconds.append((report.seconds - before) / (settings.batch * settings.accumulate))
        highest = max(highest, process.memory_info().rss)
    if on_cuda:
        highest = torch.cuda.max_memory_allocated(trainer.device)
    trained, parameters = parameter_counts(trainer.network)
    answer = statistics.median(seconds)
    sessions = max(1, trainer.progress.drawn)
    return Cost(
        name=name,
        trained=trained,
        parameters=parameters,
        step_seconds=answer,
        epoch_seconds=answer * trainer.progress.prompts / sessions * len(trainer.views),
        memory_bytes=highest,
    )
