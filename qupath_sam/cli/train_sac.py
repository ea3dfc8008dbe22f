"""``qupath-sam train --method sac``: Segment Any Cell as published, and its ablations."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import typer

from qupath_sam.cli.option_groups import given_options

if TYPE_CHECKING:
    from qupath_sam.models.sac.prompts import PromptOptions
    from qupath_sam.training.data import TrainingData
    from qupath_sam.training.run import Places
    from qupath_sam.training.sac.trainer import SacSettings, StepReport

#: Parameters of ``train`` that say nothing to it, and those that say nothing to the other methods.
NOT_OF_SAC = (
    *("scenario", "train_parts", "decoder", "head", "window", "sessions_per_crop", "lr_encoder", "clicks_only"),
    *("exact_clicks", "single_answers", "focal_alpha", "masks", "accumulate", "target"),
)
OF_SAC = ("without_prompts", "selection", "prompts")


class SelectionName(enum.Enum):
    """How positive points are chosen from the generator's map."""

    CENTROID = "centroid"
    PROBABILITY = "probability"


def prompt_options(
    context: typer.Context, selection: SelectionName, prompts: int | None, *, without_prompts: bool
) -> PromptOptions | None:
    """Return which generated points are used; None for none."""
    from qupath_sam.errors import InvalidRequest
    from qupath_sam.models.sac.prompts import PromptOptions, Selection

    if without_prompts and (given := given_options(context, ("selection", "prompts"))):
        raise InvalidRequest(f"--without-prompts generates none; leave {' and '.join(given)} out")
    return None if without_prompts else PromptOptions(Selection(selection.value), prompts)


def train_sac(data: TrainingData, init: str, settings: SacSettings, places: Places, *, resume: bool) -> None:
    """Train with a progress bar, and print where the model lies."""
    from qupath_sam.cli.training_progress import training_progress
    from qupath_sam.training.sac.run import prepare_sac_run

    groups = sum(len(names) for names in data.groups.values())
    typer.echo(f"{len(data.tiles)} tiles of {groups} groups; seed {settings.seed}", err=True)
    run = prepare_sac_run(data, init, settings, places, resume=resume)
    parameters = sum(parameter.numel() for parameter in run.trainer.trained.values())
    typer.echo(f"{parameters:,} parameters are trained, on {run.trainer.device}", err=True)

    def scores(report: StepReport) -> str:
        return f"loss {report.loss:.3f} Dice {report.dice:.3f} points {report.points:.0f}"

    with training_progress(run.trainer, scores) as on_step:
        path = run.train(on_step)
    typer.echo(path)
