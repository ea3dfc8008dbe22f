"""From data sets to a trained RITM: saves as it goes, can go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from qupath_sam.datasets.seen import GROUPS_SEEN
from qupath_sam.errors import InvalidRequest
from qupath_sam.models.devices import choose_execution
from qupath_sam.models.interactive.published import published_config, published_network
from qupath_sam.models.spec import Family
from qupath_sam.models.weights.checkpoints import NETWORKS
from qupath_sam.networks.canvas import CANVAS_SIZE
from qupath_sam.networks.interactive.models import RitmNetwork
from qupath_sam.training.checkpoint import write_checkpoint
from qupath_sam.training.crops import colour_donors, make_crop, plan_crops
from qupath_sam.training.curves import CURVES_FILE, CurveRow, cut_back
from qupath_sam.training.data import TrainingData
from qupath_sam.training.embeddings import FreshCrops
from qupath_sam.training.loop import StepReport
from qupath_sam.training.resume import RESUME_FILE, load_state, save_state
from qupath_sam.training.ritm.trainer import RitmSettings, RitmTrainer
from qupath_sam.training.run import CHECKPOINT_FILE, Places, step_to_end

#: The network that is trained, by its name in the registry: the smallest of the three.
NETWORK = "ritm_hrnet18s"
#: Factor on what the network makes of clicks, at the start. The authors' is .05, so that clicks do not disturb a
#: backbone that knows ImageNet; a random one has nothing to lose, and with .05 it hardly sees which object is meant.
_CLICKS_AT_START = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class RitmRun:
    """A run that is ready to step; see `prepare_ritm_run`.

    Attributes:
        since_row: reports of the steps since the last row of the curves.
    """

    trainer: RitmTrainer
    data: TrainingData
    data_digest: str
    places: Places
    since_row: list[StepReport] = field(default_factory=list)

    @property
    def checkpoint(self) -> Path:
        """The file of the trained weights."""
        return self.places.out / CHECKPOINT_FILE

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

    def save(self, last: CurveRow | None) -> None:
        """Write the checkpoint (averaged weights) with what the last steps were like, and the state to resume from."""
        metrics = {} if last is None else {"step": last.step, "prompts": last.prompts, "loss": last.loss}
        entry = {
            "family": Family.RITM.value,
            "mask_count": 1,
            NETWORKS: [published_config(NETWORK)],
            GROUPS_SEEN: self.data.groups_seen,
            "config": self.trainer.settings.as_json(),
            "data_digest": self.data_digest,
            "metrics": metrics,
        }
        tensors = {f"0.{name}": tensor.cpu() for name, tensor in self.trainer.average.items()}
        write_checkpoint(self.checkpoint, tensors, entry, base=None, half=False)
        save_state(self.trainer, self.places.out / RESUME_FILE, source=self.data_digest, since_row=self.since_row)


def prepare_ritm_run(data: TrainingData, settings: RitmSettings, places: Places, *, resume: bool = False) -> RitmRun:
    """Build the network from random weights, and crops and trainer.

    Args:
        data: to train on.
        settings: how.
        places: where.
        resume: go on with the run in ``places.out``.

    Raises:
        InvalidRequest: nothing to resume, a run that is there already, or one with other settings or data.
    """
    state = places.out / RESUME_FILE
    if state.exists() and not resume:
        raise InvalidRequest(f"{places.out} holds a run already; go on with --resume, or choose another --out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = published_network(NETWORK).build()
    assert isinstance(network, RitmNetwork)
    network.weigh_clicks(_CLICKS_AT_START)
    network.to(choose_execution(places.device).device).to(memory_format=torch.channels_last)
    colours = colour_donors(data, seed=settings.seed) if settings.augment else np.zeros((0, 2, 3))
    make = partial(make_crop, data, input_size=CANVAS_SIZE, colours=colours, augmented=settings.augment)
    crops = FreshCrops(plan_crops(data, settings.crops, seed=settings.seed), make)
    trainer = RitmTrainer(network, crops, settings)
    digest = data.digest()
    places.out.mkdir(parents=True, exist_ok=True)
    since_row = load_state(trainer, state, source=digest) if resume else []
    cut_back(places.out / CURVES_FILE, step=trainer.progress.step)
    return RitmRun(trainer, data, digest, places, since_row)
