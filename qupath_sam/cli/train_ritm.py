"""``qupath-sam train --method ritm``: RITM from random weights, on the data that our own models are tuned on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from qupath_sam.training.data import TrainingData
    from qupath_sam.training.ritm.trainer import RitmSettings
    from qupath_sam.training.run import Places

#: Parameters of ``train`` that say nothing to RITM.
NOT_OF_RITM = (
    *("init", "scenario", "train_parts", "decoder", "head", "sessions_per_crop", "window", "lr_head", "lr_encoder"),
    *("clicks_only", "masks", "accumulate", "lora_rank", "without_embedding", "objects", "cache"),
)


def train_ritm(data: TrainingData, settings: RitmSettings, places: Places, *, resume: bool) -> None:
    """Train with a progress bar, and print where the checkpoint lies."""
    from qupath_sam.cli.training_progress import scores_of_clicks, training_progress
    from qupath_sam.training.ritm.run import prepare_ritm_run

    groups = sum(len(names) for names in data.groups.values())
    typer.echo(f"{len(data.tiles)} tiles of {groups} groups; seed {settings.seed}", err=True)
    run = prepare_ritm_run(data, settings, places, resume=resume)
    parameters = sum(parameter.numel() for parameter in run.trainer.network.parameters())
    typer.echo(f"{parameters:,} parameters are trained, on {run.trainer.device}", err=True)
    with training_progress(run.trainer, scores_of_clicks) as on_step:
        path = run.train(on_step)
    typer.echo(path)
