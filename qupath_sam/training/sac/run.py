"""From data sets and a backbone's name to a trained Segment Any Cell model: saves as it goes, can go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qupath_sam import __version__
from qupath_sam.datasets.options import WindowChoice
from qupath_sam.datasets.seen import GROUPS_SEEN
from qupath_sam.errors import InvalidRequest
from qupath_sam.machine.files import atomic_write
from qupath_sam.models.dense import encoder_digest
from qupath_sam.models.devices import choose_execution
from qupath_sam.models.load import ADAPTERS, Weights, build_segmenter
from qupath_sam.models.sac.files import load_backbone, write_sac
from qupath_sam.models.sac.prompts import PromptOptions
from qupath_sam.models.spec import ModelSpec
from qupath_sam.models.weights.checkpoints import build_network_with
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.lora import Projections, add_lora
from qupath_sam.networks.network import PromptableNetwork
from qupath_sam.networks.prompt_generator import PromptGenerator
from qupath_sam.training.checkpoint import network_state
from qupath_sam.training.crop_runs import Progress, cut_back_curves, read_same_run, step_to_end
from qupath_sam.training.crops import colour_donors, make_crop, plan_crops
from qupath_sam.training.curves import CURVES_FILE
from qupath_sam.training.data import TrainingData
from qupath_sam.training.embeddings import EmbeddedCrops, FreshCrops
from qupath_sam.training.resume import RESUME_FILE
from qupath_sam.training.run import Places
from qupath_sam.training.sac.trainer import GENERATOR, Crops, SacSettings, SacTrainer, StepReport

SAC_FILE = "sac.safetensors"
_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class SacRun:
    """A run that is ready to step; see `prepare_sac_run`.

    Attributes:
        entry: metadata of the file.
        backbone: all tensors that the run started from.
        source: tells the data and the backbone apart from others.
    """

    trainer: SacTrainer
    places: Places
    entry: dict[str, Any]
    backbone: dict[str, Tensor]
    source: str

    @property
    def checkpoint(self) -> Path:
        """Where the model is written."""
        return self.places.out / SAC_FILE

    def train(self, on_step: Callable[[StepReport], None] | None = None) -> Path:
        """Step to the end, saving now and then and at the end.

        Args:
            on_step: called after each step, with the means of the steps since the last row of the curves.

        Returns:
            The model's file.
        """
        row = step_to_end(self.trainer.run(), self.places.out / CURVES_FILE, self.save, on_step)
        if row is not None or not self.checkpoint.exists():  # a run that had ended is left as it is
            self.save(row)
        return self.checkpoint

    def save(self, last: StepReport | None) -> None:
        """Write the model (averaged weights), and the state to resume from."""
        trainer = self.trainer
        of_network = {name: each for name, each in trainer.average.items() if not name.startswith(GENERATOR)}
        merged = network_state(trainer.network, of_network)
        changed = {key: t for key, t in merged.items() if not torch.equal(t, self.backbone[key].to(t))}
        generator = None if trainer.generator is None else _of_generator(trainer.average)
        metrics = {} if last is None else asdict(last)
        entry = {**self.entry, "config": trainer.settings.as_json(), "metrics": metrics}
        write_sac(self.checkpoint, changed, generator, entry)
        state = {
            "version": _VERSION,
            "method": "sac",
            "settings": json.dumps(trainer.settings.as_json()),
            "source": self.source,
            "weights": {name: each.detach() for name, each in trainer.trained.items()},
            "average": trainer.average,
            "optimizer": trainer.optimizer.state_dict(),
            "progress": asdict(trainer.progress),
        }
        with atomic_write(self.places.out / RESUME_FILE) as file:
            torch.save(state, file)


def prepare_sac_run(
    data: TrainingData, init: str, settings: SacSettings, places: Places, *, resume: bool = False
) -> SacRun:
    """Load the backbone, and build generator, crops and trainer.

    Args:
        data: to train on; all of a tile's objects are one foreground.
        init: name of the backbone: any model with SAM's parts.
        settings: how.
        places: where.
        resume: go on with the run in ``places.out``.

    Raises:
        InvalidRequest: nothing to resume, a run that is there already or has other settings, or a model without SAM's
            parts.
        ModelError: the model cannot be had.
    """
    state = places.out / RESUME_FILE
    if state.exists() and not resume:
        raise InvalidRequest(f"{places.out} holds a run already; go on with --resume, or choose another --out")
    spec, weights = load_backbone(init, ModelStore(places.home))
    digest = data.digest()
    network, generator = _networks(spec, weights, settings)
    device = choose_execution(places.device).device
    network.to(device).image_encoder.to(memory_format=torch.channels_last)
    if generator is not None:
        generator.to(device).to(memory_format=torch.channels_last)
    crops = _crops(data, spec, weights, settings, places, input_size=network.input_size, digest=digest)
    trainer = SacTrainer(network, generator, crops, settings, normalise=ADAPTERS[spec.family].normalise)
    prompts = settings.prompts or PromptOptions()
    entry = {
        "base": init,
        "base_sha256": weights.sha256,
        "family": spec.family.value,
        "selection": prompts.selection.value,
        "most": prompts.most,
        GROUPS_SEEN: data.groups_seen,
        "data_digest": digest,
        "code_version": __version__,
    }
    places.out.mkdir(parents=True, exist_ok=True)
    run = SacRun(trainer, places, entry, weights.tensors, f"{weights.sha256}:{digest}")
    if resume:
        _load(trainer, state, source=run.source)
    cut_back_curves(places.out / CURVES_FILE, StepReport, step=trainer.progress.step)
    return run


def _networks(
    spec: ModelSpec, weights: Weights, settings: SacSettings
) -> tuple[PromptableNetwork, PromptGenerator | None]:
    """Build the network, frozen but for LoRA and mask decoder, and the generator."""
    network = build_network_with({key: t.clone() for key, t in weights.tensors.items()}, spec.family)
    network.requires_grad_(False).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.lora_rank:
            add_lora(
                network.image_encoder,
                rank=settings.lora_rank,
                alpha=float(settings.lora_rank),
                projections=Projections.QUERIES_AND_VALUES,
            )
        generator = None if settings.prompts is None else PromptGenerator()
    decoder = network.mask_decoder
    assert isinstance(decoder, torch.nn.Module)
    decoder.requires_grad_(True)
    return network, generator


def _crops(
    data: TrainingData,
    spec: ModelSpec,
    weights: Weights,
    settings: SacSettings,
    places: Places,
    *,
    input_size: int,
    digest: str,
) -> Crops:
    """Cut squares as `evaluate` shows them: 256 px of nuclei, else as much of a tile as a square holds."""
    colours = colour_donors(data, seed=settings.seed) if settings.augment else np.zeros((0, 2, 3))
    make = partial(
        make_crop,
        data,
        input_size=input_size,
        colours=colours,
        augmented=settings.augment,
        window=WindowChoice.IMAGE,
    )
    plans = plan_crops(data, settings.crops, seed=settings.seed)
    if settings.lora_rank:
        return FreshCrops(plans, make)
    plain = {key: tensor.clone() for key, tensor in weights.tensors.items()}
    segmenter = build_segmenter(spec, plain, choose_execution(places.device))
    return EmbeddedCrops(
        plans,
        make,
        encode=lambda pixels: segmenter.embed(pixels).tensors["image"],
        source=f"sac{_VERSION}:{digest}:{settings.seed}:{settings.augment}:{encoder_digest(weights.tensors)}:"
        f"{segmenter.preprocessing_version}",
        folder=places.cache or places.out / "embeddings",
    )


def _of_generator(average: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(GENERATOR): each for name, each in average.items() if name.startswith(GENERATOR)}


def _load(trainer: SacTrainer, path: Path, *, source: str) -> None:
    state = read_same_run(path, method="sac", version=_VERSION, settings=trainer.settings.as_json(), source=source)
    with torch.no_grad():
        for name, parameter in trainer.trained.items():
            parameter.copy_(state["weights"][name])
            trainer.average[name].copy_(state["average"][name])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.progress = Progress(**state["progress"])
