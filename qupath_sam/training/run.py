"""From data sets and a model's name to a trained checkpoint: puts the parts together, saves as it goes, can go on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qupath_sam.errors import InvalidRequest
from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.devices import choose_execution, computes_in_bf16
from qupath_sam.models.load import ADAPTERS, build_segmenter
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.network import PromptableNetwork
from qupath_sam.networks.stages import Late, early_map
from qupath_sam.training.build import build_training_network
from qupath_sam.training.checkpoint import Origin, Report, load_origin, network_state, save_checkpoint
from qupath_sam.training.crops import colour_donors, make_crop, plan_crops
from qupath_sam.training.curves import CURVES_FILE, CurveRow, append_row, cut_back, row_of
from qupath_sam.training.data import TrainingData
from qupath_sam.training.embeddings import EmbeddedCrops, FreshCrops
from qupath_sam.training.loop import StepReport, Trainer
from qupath_sam.training.pool import Crops
from qupath_sam.training.resume import RESUME_FILE, load_state, save_state
from qupath_sam.training.scenarios import late_part, prepare_scenario, trains_encoder
from qupath_sam.training.settings import TrainingSettings

CHECKPOINT_FILE = "model.safetensors"
#: Steps of one row of the curves, and seconds between two saves.
STEPS_A_ROW, _SECONDS_A_SAVE = 10, 120.0
#: Of the last row, for the checkpoint: counts, and means over its answers.
_METRICS = ("step", "prompts", "loss", "first_iou", "later_iou")


@dataclass(frozen=True, slots=True)
class Places:
    """Paths and device of a run.

    Attributes:
        out: checkpoint, curves and resume state.
        cache: of embeddings; `out` / "embeddings" where None.
        device: auto, cpu, cuda, ...
        home: of the `ModelStore`.
    """

    out: Path
    cache: Path | None = None
    device: str = "auto"
    home: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRun:
    """A run that is ready to step; see `prepare_run`.

    Attributes:
        source: tells the data and the weights it started from apart from others.
        since_row: reports of the steps since the last row of the curves.
    """

    trainer: Trainer
    origin: Origin
    data: TrainingData
    data_digest: str
    places: Places
    source: str
    since_row: list[StepReport] = field(default_factory=list)

    @property
    def checkpoint(self) -> Path:
        """The file of the trained weights."""
        return self.places.out / CHECKPOINT_FILE

    def save(self, last: CurveRow | None) -> None:
        """Write the checkpoint (averaged weights) with what the last steps were like, and the state to resume from."""
        trainer = self.trainer
        metrics = {} if last is None else {name: getattr(last, name) for name in _METRICS}
        report = Report(trainer.settings.as_json(), self.data_digest, self.data.groups_seen, metrics)
        tensors = network_state(trainer.network, trainer.average)
        save_checkpoint(self.checkpoint, tensors, self.origin, report)
        save_state(trainer, self.places.out / RESUME_FILE, source=self.source, since_row=self.since_row)

    def train(self, on_step: Callable[[StepReport], None] | None = None) -> Path:
        """Step to the end, saving now and then and at the end.

        Args:
            on_step: called after each step.

        Returns:
            The checkpoint.
        """
        last = step_to_end(self.trainer.run(), self.places.out / CURVES_FILE, self.since_row, self.save, on_step)
        if last is not None or not self.checkpoint.exists():  # a run that had ended is left as it is
            self.save(last)
        return self.checkpoint


def step_to_end(
    steps: Iterable[StepReport],
    curves: Path,
    since_row: list[StepReport],
    save: Callable[[CurveRow | None], None],
    on_step: Callable[[StepReport], None] | None,
) -> CurveRow | None:
    """Take all steps, write a row of the curves every `STEPS_A_ROW`, and save now and then.

    Args:
        steps: each is taken when it is asked for.
        curves: the file of the curves.
        since_row: reports that no row holds yet; changed in place.
        save: called with the last row between two steps.
        on_step: called after each step.

    Returns:
        The last row; None where there was no step.
    """
    saved, row = time.monotonic(), None
    for report in steps:
        since_row.append(report)
        row = row_of(since_row)
        if report.step % STEPS_A_ROW == 0:
            append_row(curves, row)
            since_row.clear()
        if on_step is not None:
            on_step(report)
        if time.monotonic() - saved > _SECONDS_A_SAVE:
            save(row)
            saved = time.monotonic()
    return row


def prepare_run(
    data: TrainingData, init: str, settings: TrainingSettings, places: Places, *, resume: bool = False
) -> TrainingRun:
    """Build network, crops and trainer.

    Args:
        data: to train on.
        init: name of the model to start from.
        settings: how.
        places: where.
        resume: go on with the run in ``places.out``.

    Raises:
        InvalidRequest: nothing to resume, a run that is there already, or settings that do not go together.
        ModelError: the model cannot be had.
    """
    state = places.out / RESUME_FILE
    if state.exists() and not resume:
        raise InvalidRequest(f"{places.out} holds a run already; go on with --resume, or choose another --out")
    origin = load_origin(init, ModelStore(places.home))
    digest = data.digest()
    trainer = build_trainer(data, origin, settings, places, data_digest=digest)
    places.out.mkdir(parents=True, exist_ok=True)
    source = f"{_digest(origin.tensors, '')}:{digest}"
    since_row = load_state(trainer, state, source=source) if resume else []
    cut_back(places.out / CURVES_FILE, step=trainer.progress.step)
    return TrainingRun(trainer, origin, data, digest, places, source, since_row)


def build_trainer(
    data: TrainingData, origin: Origin, settings: TrainingSettings, places: Places, *, data_digest: str
) -> Trainer:
    """Build the trainer alone, without looking at what lies in ``places.out``."""
    family = origin.spec.family
    execution = choose_execution(places.device)
    network = build_training_network(origin.tensors, family, settings.parts, seed=settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # of what LoRA begins with
        prepare_scenario(network, settings.trainable, settings.lora)
    network.to(execution.device)
    adapter = ADAPTERS[family]
    colours = colour_donors(data, seed=settings.seed) if settings.augment else np.zeros((0, 2, 3))
    make = partial(
        make_crop,
        data,
        input_size=network.input_size,
        colours=colours,
        augmented=settings.augment,
        window=settings.window,
    )
    plans = plan_crops(data, settings.crops, seed=settings.seed)
    late = late_part(settings.trainable)
    crops: Crops
    if trains_encoder(settings.trainable) and late is None:
        crops = FreshCrops(plans, make)
    else:
        plain = {key: tensor.clone() for key, tensor in origin.tensors.items()}
        segmenter = build_segmenter(origin.spec, plain, execution)
        if late is None:
            encode, kept = partial(_embedded, segmenter), segmenter.preprocessing_version
        else:
            encode = partial(_early, network, adapter.normalise, late)
            before = "early" if late is Late.HALF else f"before the {late.value}"
            kept = f"{before}+{segmenter.preprocessing_version}"
        crops = EmbeddedCrops(
            plans,
            make,
            encode=encode,
            source=f"{data_digest}:{settings.seed}:{settings.augment}:{settings.window.value}:{_encoder_digest(origin)}:{kept}",
            folder=places.cache or places.out / "embeddings",
        )
    return Trainer(network, crops, settings, normalise=adapter.normalise)


def _embedded(segmenter: PromptableSegmenter, pixels: NDArray[np.uint8]) -> Tensor:
    """Return the embedding that inference has."""
    return segmenter.embed(pixels).tensors["image"]


@torch.no_grad()
def _early(
    network: PromptableNetwork, normalise: Callable[[Tensor], Tensor], late: Late, pixels: NDArray[np.uint8]
) -> Tensor:
    device = next(network.parameters()).device
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(device, torch.float32)
    with torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bf16(device)):
        return early_map(network.image_encoder, normalise(image), late)


def _encoder_digest(origin: Origin) -> str:
    """Return what tells encoders apart: that of a delta with a frozen encoder is its base's."""
    return _digest(origin.tensors, "image_encoder.")


def _digest(tensors: Mapping[str, Tensor], prefix: str) -> str:
    """Return the hex SHA-256 of the tensors whose names begin with ``prefix``."""
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        if key.startswith(prefix):
            digest.update(key.encode())
            digest.update(tensor.float().numpy().tobytes())
    return digest.hexdigest()
