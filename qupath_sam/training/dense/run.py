"""From data sets and a model's name to a trained dense head: saves as it goes, can go on."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from qupath_sam import __version__
from qupath_sam.datasets.seen import GROUPS_SEEN
from qupath_sam.errors import InvalidRequest
from qupath_sam.machine.files import atomic_write
from qupath_sam.models.dense import encoder_digest, write_dense_head
from qupath_sam.models.dense_scales import DENSE_SCALES
from qupath_sam.models.devices import choose_execution
from qupath_sam.models.load import ADAPTERS, build_segmenter
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.dense_head import DENSE_SIZE, DenseHead
from qupath_sam.training.checkpoint import load_origin
from qupath_sam.training.curves import CURVES_FILE, cut_back_rows
from qupath_sam.training.data import TrainingData
from qupath_sam.training.dense.crops import (
    DENSE_CROPS_VERSION,
    DenseCrops,
    plan_dense_crops,
)
from qupath_sam.training.dense.trainer import DenseSettings, DenseTrainer, Progress, StepReport
from qupath_sam.training.embeddings import EmbeddedCrops, FreshCrops
from qupath_sam.training.resume import RESUME_FILE, read_state, renamed_settings
from qupath_sam.training.run import Places
from qupath_sam.types.choices import ObjectKind

DENSE_FILE = "dense.safetensors"
#: Crops without embedding before they come again, augmented otherwise.
FRESH_CROPS = 2000
_STEPS_A_ROW, _SECONDS_A_SAVE = 10, 120.0
_VERSION = 1
_COLUMNS = [each.name for each in fields(StepReport)]


@dataclass(frozen=True, slots=True, eq=False)
class DenseRun:
    """A run that is ready to step; see `prepare_dense_run`.

    Attributes:
        entry: metadata of the head's file.
        source: tells the data and the encoder apart from others.
    """

    trainer: DenseTrainer
    places: Places
    entry: dict[str, Any]
    source: str

    @property
    def checkpoint(self) -> Path:
        """Where the head is written."""
        return self.places.out / DENSE_FILE

    def train(self, on_step: Callable[[StepReport], None] | None = None) -> Path:
        """Step to the end, saving now and then and at the end.

        Args:
            on_step: called after each step, with the means of the steps since the last row of the curves.

        Returns:
            The head's file.
        """
        saved = time.monotonic()
        since: list[StepReport] = []
        row: StepReport | None = None
        for report in self.trainer.run():
            since.append(report)
            row = _mean(since)
            if report.step % _STEPS_A_ROW == 0:
                _append(self.places.out / CURVES_FILE, row)
                since.clear()
            if on_step is not None:
                on_step(row)
            if time.monotonic() - saved > _SECONDS_A_SAVE:
                self.save(row)
                saved = time.monotonic()
        if row is not None or not self.checkpoint.exists():  # a run that had ended is left as it is
            self.save(row)
        return self.checkpoint

    def save(self, last: StepReport | None) -> None:
        """Write the head (averaged weights), and the state to resume from."""
        trainer = self.trainer
        metrics = {} if last is None else asdict(last)
        entry = {**self.entry, "config": trainer.settings.as_json(), "metrics": metrics}
        write_dense_head(self.checkpoint, trainer.average, entry)
        state = {
            "version": _VERSION,
            "method": "dense",
            "settings": json.dumps(trainer.settings.as_json()),
            "source": self.source,
            "weights": trainer.head.state_dict(),
            "average": trainer.average,
            "optimizer": trainer.optimizer.state_dict(),
            "progress": asdict(trainer.progress),
        }
        with atomic_write(self.places.out / RESUME_FILE) as file:
            torch.save(state, file)


def prepare_dense_run(
    data: TrainingData, init: str, settings: DenseSettings, places: Places, *, resume: bool = False
) -> DenseRun:
    """Load the encoder, and build head, crops and trainer.

    Args:
        data: to train on: objects of about one size in each tile, such as nuclei.
        init: name of the model whose encoder the head reads.
        settings: how.
        places: where.
        resume: go on with the run in ``places.out``.

    Raises:
        InvalidRequest: nothing to resume, a run that is there already or has other settings, or a model whose encoder
            does not see `DENSE_SIZE` px.
        ModelError: the model cannot be had.
    """
    state = places.out / RESUME_FILE
    if state.exists() and not resume:
        raise InvalidRequest(f"{places.out} holds a run already; go on with --resume, or choose another --out")
    origin = load_origin(init, ModelStore(places.home))
    if origin.spec.family not in ADAPTERS or origin.spec.capabilities.input_size != DENSE_SIZE:
        raise InvalidRequest(
            f"a dense head reads encoders that see {DENSE_SIZE} px, and {init} sees "
            f"{origin.spec.capabilities.input_size}; start from lite_medsam or a model made of it (--init)"
        )
    execution = choose_execution(places.device)
    encoder = encoder_digest(origin.tensors)
    segmenter = build_segmenter(origin.spec, {key: tensor.clone() for key, tensor in origin.tensors.items()}, execution)
    digest = data.digest()
    make = DenseCrops(data, seed=settings.seed, augmented=settings.augment, objects=settings.objects)
    crops = EmbeddedCrops(
        plan_dense_crops(data, settings.crops, seed=settings.seed),
        make,
        encode=lambda pixels: segmenter.embed(pixels).tensors["image"],
        source=f"dense{DENSE_CROPS_VERSION}:{digest}:{settings.seed}:{settings.augment}:{encoder}:"
        f"{segmenter.preprocessing_version}"
        + ("" if settings.objects is ObjectKind.NUCLEI else f":{settings.objects.value}"),
        folder=places.cache or places.out / "embeddings",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        head = DenseHead()
    head.to(execution.device).to(memory_format=torch.channels_last)
    plans = plan_dense_crops(data, FRESH_CROPS, seed=settings.seed + 1)
    trainer = DenseTrainer(head, crops, settings, fresh=FreshCrops(plans, make))
    entry = {
        "encoder_sha256": encoder,
        "initial_model": init,
        # What the encoder has seen is in its own file; a head is evaluated with it.
        GROUPS_SEEN: data.groups_seen,
        "data_digest": digest,
        "objects": settings.objects.value,
        "diameters": list(DENSE_SCALES[settings.objects].trained),
        "code_version": __version__,
    }
    places.out.mkdir(parents=True, exist_ok=True)
    run = DenseRun(trainer, places, entry, f"{encoder}:{digest}")
    if resume:
        _load(trainer, state, source=run.source)
    cut_back_rows(places.out / CURVES_FILE, _COLUMNS, step=trainer.progress.step)
    return run


def _load(trainer: DenseTrainer, path: Path, *, source: str) -> None:
    state = read_state(path)
    if state.get("method") != "dense" or state["version"] != _VERSION:
        raise InvalidRequest(f"{path.parent} holds a run of another method or version; choose another --out")
    # A run of a version that knew nuclei alone.
    before = {"objects": ObjectKind.NUCLEI.value, **renamed_settings(json.loads(state["settings"]))}
    now = json.loads(json.dumps(trainer.settings.as_json()))
    # A run may be made longer, or end in a falling rate.
    other = [key for key in now if key not in ("length", "schedule") and before.get(key) != now[key]]
    if other:
        raise InvalidRequest(
            f"{path.parent} holds a run with other settings ({', '.join(other)}); "
            "resume with the same options, or choose another --out"
        )
    if state["source"] != source:
        raise InvalidRequest(
            f"{path.parent} holds a run on other data, or another encoder; resume with the same data sets and the "
            "same --init, or choose another --out"
        )
    trainer.head.load_state_dict(state["weights"])
    for name, tensor in state["average"].items():
        trainer.average[name].copy_(tensor)
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.progress = Progress(**state["progress"])


def _mean(reports: list[StepReport]) -> StepReport:
    last, count = reports[-1], len(reports)
    return StepReport(
        last.step,
        last.epoch,
        last.seconds,
        last.learning_rate,
        sum(each.loss for each in reports) / count,
        sum(each.dice for each in reports) / count,
    )


def _append(path: Path, row: StepReport) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" for key, value in asdict(row).items()})
