"""``qupath-sam train --method dense``: a head on a frozen encoder that finds all objects of a window at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from qupath_sam.cli.option_groups import given_options

if TYPE_CHECKING:
    from qupath_sam.training.data import TrainingData
    from qupath_sam.training.dense.trainer import DenseSettings, StepReport
    from qupath_sam.training.run import Places

#: Parameters of ``train`` that say how a model learns from clicks, and nothing to a dense head.
OF_CLICKS = (
    *("scenario", "train_parts", "decoder", "head", "window", "sessions_per_crop", "lr_head", "lr_encoder"),
    *("clicks_only", "exact_clicks", "single_answers", "focal_alpha", "masks", "accumulate", "lora_rank"),
    *("cost_table", "target"),
)
#: Parameters of ``train`` that say nothing to any other method.
OF_DENSE = ("without_embedding", "objects")


def check_options(context: typer.Context, refused: Sequence[str], method: str) -> None:
    """Refuse options that mean nothing to a method.

    Args:
        context: of the command.
        refused: parameters of the command that the method does not have.
        method: as ``--method`` names it.

    Raises:
        InvalidRequest: naming the options that are given.
    """
    from qupath_sam.errors import InvalidRequest

    if given := given_options(context, refused):
        raise InvalidRequest(f"{', '.join(given)}: not for --method {method}; leave out, or choose another method")


def train_dense(data: TrainingData, init: str, settings: DenseSettings, places: Places, *, resume: bool) -> None:
    """Train with a progress bar, and print where the head lies."""
    from qupath_sam.cli.training_progress import training_progress
    from qupath_sam.training.dense.run import prepare_dense_run

    groups = sum(len(names) for names in data.groups.values())
    typer.echo(f"{len(data.tiles)} tiles of {groups} groups; seed {settings.seed}", err=True)
    run = prepare_dense_run(data, init, settings, places, resume=resume)
    parameters = sum(parameter.numel() for parameter in run.trainer.head.parameters())
    typer.echo(f"{parameters:,} parameters are trained, on {run.trainer.device}", err=True)

    def scores(report: StepReport) -> str:
        return f"loss {report.loss:.3f} Dice of the foreground {report.dice:.3f}"

    with training_progress(run.trainer, scores) as on_step:
        path = run.train(on_step)
    typer.echo(path)
