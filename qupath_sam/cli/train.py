"""``qupath-sam train``: tune a model on data sets, by the papers' scenarios or a recipe of one's own."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qupath_sam.cli import datasets as data_options
from qupath_sam.cli.option_groups import grouped, is_given
from qupath_sam.cli.train_dense import OF_CLICKS, OF_DENSE, check_options, train_dense
from qupath_sam.cli.train_ritm import NOT_OF_RITM, train_ritm
from qupath_sam.cli.train_sac import NOT_OF_SAC, OF_SAC, SelectionName, prompt_options, train_sac
from qupath_sam.datasets.options import WindowChoice
from qupath_sam.types.choices import ObjectKind

if TYPE_CHECKING:
    from qupath_sam.training.data import TrainingData
    from qupath_sam.training.run import Places
    from qupath_sam.training.settings import TrainingSettings


class ScenarioName(enum.Enum):
    """Kim et al. 2023, sec. 2.2."""

    SAM_MD = "sam-md"
    SAM_IE_MD = "sam-ie-md"
    SAM_WHOLE = "sam-whole"


class DecoderName(enum.Enum):
    """SAM's mask decoder, or that of Kim et al. 2023, sec. 2.3."""

    SAM = "sam"
    HISTOLOGY = "histology"


class HeadName(enum.Enum):
    """A refinement head behind the decoder, or none."""

    NONE = "none"
    REFINEMENT = "refinement"


class MethodName(enum.Enum):
    """What is trained."""

    CLICKS = "clicks"
    DENSE = "dense"
    RITM = "ritm"
    SAC = "sac"


class ScheduleName(enum.Enum):
    """How the learning rate falls."""

    PAPER = "paper"
    COSINE = "cosine"
    CONSTANT = "constant"


@grouped(
    {
        "How long": ("epochs", "steps", "crops", "sessions_per_crop"),
        "Which parts": ("method", "train_parts", "decoder", "head", "lora_rank"),
        "Crops and clicks": (
            "window",
            "augment",
            "clicks_only",
            "exact_clicks",
            "single_answers",
            "masks",
            "without_embedding",
            "objects",
        ),
        "Generated prompts (sac)": ("without_prompts", "selection", "prompts"),
        "Optimiser": (
            *("lr", "lr_head", "lr_encoder", "schedule", "batch", "accumulate"),
            *("focal_alpha", "mixed_precision", "seed"),
        ),
        "Where it runs": ("cache", "device"),
    }
)
def train(
    context: typer.Context,
    datasets: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATASET...", help=f"{data_options.FORMATS_HELP} Where splits are named, only 'train'."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint, its curves and the state to resume from.")],
    init: Annotated[str, typer.Option(help="Model to start from (see `qupath-sam models list`).")] = "lite_medsam",
    data: data_options.DatasetOptions,
    scenario: Annotated[
        ScenarioName | None, typer.Option(help="Which parts are trained, by the papers' names.")
    ] = None,
    train_parts: Annotated[
        str | None,
        typer.Option(
            "--train", help="Parts instead: encoder, late-encoder, last-stage, lora, prompt, decoder, joined by commas."
        ),
    ] = None,
    decoder: Annotated[DecoderName, typer.Option(help="Mask decoder.")] = DecoderName.SAM,
    head: Annotated[HeadName, typer.Option(help="What corrects the decoder's masks.")] = HeadName.NONE,
    epochs: Annotated[float | None, typer.Option(min=0, help="Times each crop is drawn; 30 unless limited.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Time spent training, over all resumptions.")] = None,
    crops: Annotated[int, typer.Option(min=1, help="Squares cut from the tiles.")] = 1000,
    window: Annotated[
        WindowChoice,
        typer.Option(
            help="Squares of all scales, as the engine chooses them; or what the papers' protocol shows of tiles."
        ),
    ] = WindowChoice.AUTO,
    sessions_per_crop: Annotated[
        int, typer.Option(min=1, help="Objects of a crop that are clicked, sharing its encoding.")
    ] = 1,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate at its highest.")] = 5e-4,
    lr_head: Annotated[
        float, typer.Option(min=0, help="The same of new layers: the head, the modified decoder's.")
    ] = 2e-3,
    lr_encoder: Annotated[
        float | None, typer.Option(min=0, help="The same of the encoder, where it is trained; --lr if not given.")
    ] = None,
    clicks_only: Annotated[
        bool,
        typer.Option(
            "--clicks-only", help="No session begins with a box, an outline or a stroke; nor does one in the papers."
        ),
    ] = False,
    exact_clicks: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of clicks in the very middle of the object or error; others lie well inside."
        ),
    ] = 0.75,
    single_answers: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of objects that are clicked once; the others up to twenty times."),
    ] = 0.45,
    focal_alpha: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Weight of the object in the focal loss; 1 - this is the rest's.")
    ] = 0.5,
    masks: Annotated[
        int,
        typer.Option(min=1, max=3, help="Masks that answer a first click: 1, or 3 of which the best is learnt from."),
    ] = 1,
    schedule: Annotated[ScheduleName, typer.Option(help="How the learning rate falls.")] = ScheduleName.PAPER,
    batch: Annotated[int, typer.Option(min=1, help="Crops that go through the network together.")] = 1,
    accumulate: Annotated[int, typer.Option(min=1, help="Answers of an optimiser step: this times --batch.")] = 8,
    lora_rank: Annotated[
        int, typer.Option(min=0, help="Rank of LoRA's products. Of sac: 0 trains none, and keeps embeddings.")
    ] = 4,
    augment: Annotated[bool, typer.Option(help="Other stains, scanners and orientations.")] = True,
    mixed_precision: Annotated[bool, typer.Option(help="bf16 where the device computes in it.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
    method: Annotated[
        MethodName,
        typer.Option(
            help="clicks: the model itself, by simulated clicks. dense: a head on its frozen encoder that finds all "
            "objects of a window at once, such as nuclei. ritm: RITM (HRNet-18s) from random weights, to compare with. "
            "sac: Segment Any Cell, one mask of all cells by prompts that it generates."
        ),
    ] = MethodName.CLICKS,
    without_embedding: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Of dense: share of crops that are seen without their embedding, which cost no encoding."
        ),
    ] = 0.0,
    objects: Annotated[
        ObjectKind, typer.Option(help="Of dense: what is labelled, and the size at which the head sees it.")
    ] = ObjectKind.NUCLEI,
    without_prompts: Annotated[
        bool, typer.Option("--without-prompts", help="Train and answer without any prompt.")
    ] = False,
    selection: Annotated[
        SelectionName, typer.Option(help="Positive points: centroids of what may be cells, or the likeliest pixels.")
    ] = SelectionName.CENTROID,
    prompts: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many positive points an image, and as many negative ones; else all."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Folder of embeddings; runs may share it.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
) -> None:
    """Tune a model on data sets or a QuPath project; the checkpoint is for `models add`, `serve` and `evaluate`.

    A dense head is for `evaluate --automatic`; --lr, --batch and --schedule have defaults of their own there. RITM
    takes 8 answers a step unless --batch says otherwise. Segment Any Cell takes any model with SAM's parts (--init),
    2 crops a step and a cosine; its file is for `evaluate --automatic --sac`.

    Killed, the same command with --resume goes on where the last save was.
    """
    from dataclasses import replace

    from qupath_sam.errors import InvalidRequest
    from qupath_sam.networks.network import DecoderKind, Parts
    from qupath_sam.training.data import training_data
    from qupath_sam.training.dense.trainer import DenseSettings
    from qupath_sam.training.ritm.trainer import CLICKS, RitmSettings
    from qupath_sam.training.run import Places
    from qupath_sam.training.sac.trainer import SacSettings
    from qupath_sam.training.sampling import PromptMix
    from qupath_sam.training.scenarios import LoraSettings, Scenario, parse_trainable
    from qupath_sam.training.schedule import Schedule
    from qupath_sam.training.settings import Length, TrainingSettings

    unlimited = epochs is None and steps is None and minutes is None
    length = Length(epochs=30 if unlimited else epochs, steps=steps, minutes=minutes)
    places = Places(out, cache=cache, device=device)
    if method is not MethodName.SAC:
        check_options(context, OF_SAC, method.value)
    if method is MethodName.SAC:
        check_options(context, (*NOT_OF_SAC, *OF_DENSE), method.value)
        sac = SacSettings(
            length=length,
            learning_rate=lr,
            generator_learning_rate=lr_head,
            schedule=Schedule(schedule.value) if is_given(context, "schedule") else Schedule.COSINE,
            lora_rank=lora_rank,
            prompts=prompt_options(context, selection, prompts, without_prompts=without_prompts),
            crops=crops,
            augment=augment,
            mixed_precision=mixed_precision,
            seed=seed,
        )
        sac = replace(sac, batch=batch) if is_given(context, "batch") else sac
        opened = data_options.open_all(replace(data, datasets=tuple(datasets or ())))
        train_sac(training_data(opened), init, sac, places, resume=resume)
        return
    if lora_rank < 1:
        raise InvalidRequest("--lora-rank 0 is for --method sac; give 1 or more, or leave LoRA out of --train")
    if method is MethodName.DENSE:
        check_options(context, OF_CLICKS, method.value)
        dense = DenseSettings(
            length=length,
            schedule=Schedule(schedule.value) if is_given(context, "schedule") else Schedule.COSINE,
            crops=crops,
            without_embedding=without_embedding,
            objects=objects,
            augment=augment,
            mixed_precision=mixed_precision,
            seed=seed,
        )
        dense = replace(dense, learning_rate=lr) if is_given(context, "lr") else dense
        dense = replace(dense, batch=batch) if is_given(context, "batch") else dense
        opened = data_options.open_all(replace(data, datasets=tuple(datasets or ())))
        train_dense(training_data(opened), init, dense, places, resume=resume)
        return
    if method is MethodName.RITM:
        check_options(context, NOT_OF_RITM, method.value)
        ritm = RitmSettings(
            length=length,
            learning_rate=lr,
            schedule=Schedule(schedule.value),
            focal_alpha=focal_alpha,
            crops=crops,
            augment=augment,
            mixed_precision=mixed_precision,
            seed=seed,
            mix=replace(CLICKS, exact=exact_clicks, single=single_answers),
        )
        ritm = replace(ritm, batch=batch) if is_given(context, "batch") else ritm
        opened = data_options.open_all(replace(data, datasets=tuple(datasets or ())))
        train_ritm(training_data(opened, target=data.target), ritm, places, resume=resume)
        return
    check_options(context, OF_DENSE, method.value)
    if scenario is not None and train_parts is not None:
        raise InvalidRequest("--scenario and --train say the same thing; give one of them")
    trainable = parse_trainable(train_parts) if train_parts else Scenario((scenario or ScenarioName.SAM_MD).value).parts
    refined = head is HeadName.REFINEMENT
    mix = PromptMix(exact=exact_clicks, single=single_answers)
    settings = TrainingSettings(
        trainable=trainable,
        parts=Parts(DecoderKind(decoder.value), refinement_head=refined),
        length=length,
        learning_rate=lr,
        head_learning_rate=lr_head,
        encoder_learning_rate=lr_encoder,
        focal_alpha=focal_alpha,
        masks=masks,
        schedule=Schedule(schedule.value),
        batch=batch,
        accumulate=accumulate,
        mixed_precision=mixed_precision,
        augment=augment,
        crops=crops,
        window=window,
        sessions_per_crop=sessions_per_crop,
        seed=seed,
        mix=replace(mix, boxes=0, outlines=0, strokes=0) if clicks_only else mix,
        lora=LoraSettings(rank=lora_rank, alpha=float(lora_rank)),
    )
    opened = data_options.open_all(replace(data, datasets=tuple(datasets or ())))
    _train(training_data(opened, target=data.target), init, settings, places, resume=resume)


def _train(data: TrainingData, init: str, settings: TrainingSettings, places: Places, *, resume: bool) -> None:
    from qupath_sam.cli.training_progress import scores_of_clicks, training_progress
    from qupath_sam.training.run import prepare_run
    from qupath_sam.training.scenarios import parameter_counts

    groups = sum(len(names) for names in data.groups.values())
    typer.echo(f"{len(data.tiles)} tiles of {groups} groups; seed {settings.seed}", err=True)
    run = prepare_run(data, init, settings, places, resume=resume)
    trained, parameters = parameter_counts(run.trainer.network)
    typer.echo(f"{trained:,} of {parameters:,} parameters are trained, on {run.trainer.device}", err=True)
    with training_progress(run.trainer, scores_of_clicks) as on_step:
        path = run.train(on_step)
    typer.echo(path)
