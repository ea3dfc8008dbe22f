"""From data sets and a model's name to a trained dense head: saves as it goes, can go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
from qupath_sam.training.crop_runs import Progress, cut_back_curves, read_same_run, step_to_end
from qupath_sam.training.curves import CURVES_FILE
from qupath_sam.training.data import TrainingData
from qupath_sam.training.dense.crops import (
    DENSE_CROPS_VERSION,
    DenseCrops,
    plan_dense_crops,
)
from qupath_sam.training.dense.trainer import DenseSettings, DenseTrainer, StepReport
from qupath_sam.training.embeddings import EmbeddedCrops, FreshCrops
from qupath_sam.training.resume import RESUME_FILE, renamed_settings
from qupath_sam.training.run import Places
from qupath_sam.types.choices import ObjectKind

DENSE_FILE = "dense.safetensors"
#: Crops without embedding before they come again, augmented otherwise.
FRESH_CROPS = 2000
_VERSION = 1


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
        row = step_to_end(self.trainer.run(), self.places.out / CURVES_FILE, self.save, on_step)
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
    cut_back_curves(places.out / CURVES_FILE, StepReport, step=trainer.progress.step)
    return run


def _load(trainer: DenseTrainer, path: Path, *, source: str) -> None:
    state = read_same_run(
        path,
        method="dense",
        version=_VERSION,
        settings=trainer.settings.as_json(),
        source=source,
        earlier=_under_todays_names,
    )
    trainer.head.load_state_dict(state["weights"])
    for name, tensor in state["average"].items():
        trainer.average[name].copy_(tensor)
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.progress = Progress(**state["progress"])


def _under_todays_names(settings: dict[str, Any]) -> dict[str, Any]:
    # A run of a version that knew nuclei alone.
    return {"objects": ObjectKind.NUCLEI.value, **renamed_settings(settings)}
