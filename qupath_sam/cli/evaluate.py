"""``qupath-sam evaluate``: how many clicks models need, by the papers' protocol."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qupath_sam.cli import datasets as data_options
from qupath_sam.cli.evaluate_automatic import AUTOMATIC_TABLE, evaluate_automatic
from qupath_sam.cli.evaluate_like import LIKE_TABLE, evaluate_like, parse_counts
from qupath_sam.cli.evaluate_sac import SacChoices, parse_prompts
from qupath_sam.cli.evaluation_outputs import command_line, make_report, print_tables, with_suffix, write_files
from qupath_sam.cli.marked_tables import check_markers, write_tables
from qupath_sam.cli.option_groups import given_options, grouped
from qupath_sam.cli.targets import check_target
from qupath_sam.cli.train_sac import SelectionName
from qupath_sam.datasets.options import FirstPrompt, Part, WindowChoice

if TYPE_CHECKING:
    from qupath_sam.datasets import Dataset
    from qupath_sam.evaluation.compare import Comparison
    from qupath_sam.evaluation.protocol import Protocol
    from qupath_sam.evaluation.results import ResultStore
    from qupath_sam.evaluation.run import Choices

#: Options of clicks alone, and of finding all objects alone.
_OF_CLICKS = (
    *("first", "keep_parts", "without"),
    *("max_clicks", "window", "target", "objects_per_image", "min_area", "crop", "plot", "cases", "zero_shot"),
    *("workers", "resume_dir", "any_version"),
)
_OF_MODELS = ("effort", "dense", "clicks_in_the_middle")
_OF_ANSWERS = ("prompts", "selection", "expert_points")
_OF_SAC = ("sac", *_OF_ANSWERS)
_OF_AUTOMATIC = (*_OF_MODELS, *_OF_SAC)


class EffortName(enum.Enum):
    """What the objects of an image may cost."""

    FAST = "fast"
    BEST = "best"


#: Names of the tables that ``--markdown`` writes, as the markers in a document say them.
FULL_TABLE, SUMMARY_TABLE = "qupath-sam evaluate, table", "qupath-sam evaluate, summary"
KINDS_TABLE, KINDS_SUMMARY_TABLE = "qupath-sam evaluate, kinds", "qupath-sam evaluate, kinds summary"
_CLICK_TABLES = FULL_TABLE, SUMMARY_TABLE, KINDS_TABLE, KINDS_SUMMARY_TABLE


@grouped(
    {
        "Which objects": ("split", "images", "objects_per_image", "min_area", "crop", "seed", "namesakes"),
        "Clicks and comparison": ("max_clicks", "first", "zero_shot", "keep_parts", "without"),
        "All objects of an image": ("automatic", "like", "effort", "dense", "clicks_in_the_middle"),
        "Segment Any Cell": _OF_SAC,
        "What is written": ("json", "plot", "cases"),
        "Where it runs": ("device", "workers", "threads", "resume_dir", "any_version"),
    }
)
def evaluate(
    context: typer.Context,
    datasets: Annotated[list[str] | None, typer.Argument(metavar="DATASET...", help=data_options.FORMATS_HELP)] = None,
    *,
    model: Annotated[
        list[str] | None, typer.Option(help="Name of a model; may be repeated (see `qupath-sam models list`).")
    ] = None,
    max_clicks: Annotated[int, typer.Option(min=1, help="Clicks of every object.")] = 20,
    first: Annotated[
        FirstPrompt, typer.Option(help="Begin with a click in the object's middle, or with a stroke through it.")
    ] = FirstPrompt.CLICK,
    keep_parts: Annotated[
        bool, typer.Option("--keep-parts", help="Answers keep parts that no click points at, and pinholes.")
    ] = False,
    without: Annotated[
        list[Part] | None, typer.Option(help="Leave this part of the model out, to see its worth; may be repeated.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Tiles of this split, where a data set names splits; all takes every tile.")
    ] = "validation",
    window: Annotated[
        list[WindowChoice] | None,
        typer.Option(
            help="image: the whole image as one window, as the papers; auto: the engine's own. Repeat it for both: "
            "then each has files of its own, such as OUT-auto.json. Else image."
        ),
    ] = None,
    data: data_options.DatasetOptions,
    images: Annotated[
        int | None, typer.Option(min=1, help="At most this many images of a data set, drawn by the seed.")
    ] = None,
    objects_per_image: Annotated[
        int | None, typer.Option(min=1, help="At most this many objects of an image, drawn by the seed.")
    ] = None,
    min_area: Annotated[int | None, typer.Option(min=1, help="Smallest object, px; else as the data set says.")] = None,
    crop: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Show this many px at the top left; 0 shows whole images. Else 256 of nuclei, --window image.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of drawn images and objects, jitter and spoilt outlines.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes. Results stay the same; times are those of one among so many.")
    ] = 1,
    threads: Annotated[
        int, typer.Option(min=1, help="Of each process. With 1, results are the same to the last bit on any CPU count.")
    ] = 1,
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    markdown: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write a table with intervals to this Markdown file, between its markers where it has them "
            "(`<!-- begin: qupath-sam evaluate, table -->`; `summary` in place of `table` is a row for each model, "
            "`kinds` one for each kind of object and model); may be repeated."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw mean IoU after each click here (PNG).")] = None,
    cases: Annotated[
        Path | None, typer.Option(help="Draw a success, a failure and a bad first click of each data set here (PNG).")
    ] = None,
    zero_shot: Annotated[
        str | None, typer.Option(help="Of several models, the one before tuning: changes are from it. Else the first.")
    ] = None,
    namesakes: Annotated[
        bool,
        typer.Option(
            "--namesakes",
            help="Take groups that are called like some that a model was trained on in a data set of another name.",
        ),
    ] = False,
    automatic: Annotated[
        bool,
        typer.Option(
            "--automatic", help="No clicks: the model finds all objects of each image. Dice, IoU, F1, AJI, PQ (DQ, SQ)."
        ),
    ] = False,
    like: Annotated[
        str | None,
        typer.Option(
            help="No clicks: the model is shown so many objects of a tile, such as 1,3,5, and finds the others. F1, "
            "AJI, clicks saved."
        ),
    ] = None,
    effort: Annotated[
        list[EffortName] | None,
        typer.Option(help="fast or best; may be repeated. Else both of --automatic, and best of --like."),
    ] = None,
    dense: Annotated[
        Path | None,
        typer.Option(
            help="Of --automatic and --like: file of a dense head; else the one that the model has on this machine."
        ),
    ] = None,
    clicks_in_the_middle: Annotated[
        bool,
        typer.Option(
            "--clicks-in-the-middle",
            help="Of --automatic: click in the middle of every true object too, and compare with that.",
        ),
    ] = False,
    sac: Annotated[
        list[Path] | None,
        typer.Option(help="File of `train --method sac`; may be repeated. Dice and IoU are of its one mask."),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Numbers of generated points to answer with, such as 1,4,16,all: a row each. Else as in the training."
        ),
    ] = None,
    selection: Annotated[
        SelectionName | None, typer.Option(help="How positive points are chosen; else as in the training.")
    ] = None,
    expert_points: Annotated[
        int, typer.Option(min=0, help="Points that a person adds to a square, each in the middle of the largest error.")
    ] = 0,
    resume_dir: Annotated[
        Path | None, typer.Option(help="Keep each object's result here, and use those that still hold.")
    ] = None,
    any_version: Annotated[
        bool,
        typer.Option("--any-version", help="Use kept results of other code and machines too; the report counts them."),
    ] = False,
) -> None:
    """Measure models on data sets by simulated clicks, and print a table; with several models, what tuning changed too.

    Every object gets all its clicks; the rules are in `qupath_sam.evaluation.protocol`.
    """
    from contextlib import ExitStack, closing

    from qupath_sam.errors import InvalidRequest

    names = list(dict.fromkeys(model or ()))
    _check_options(context, automatic=automatic, like=like is not None)
    if not names and not sac:
        raise InvalidRequest("nothing to evaluate; name a model (--model NAME), or with --automatic a --sac FILE")
    if not sac and (given := given_options(context, _OF_ANSWERS)):
        raise InvalidRequest(f"{', '.join(given)}: of models of Segment Any Cell; add --sac FILE, or leave out")
    if not names and (given := given_options(context, _OF_MODELS)):
        raise InvalidRequest(f"{', '.join(given)}: not for --sac alone; add --model NAME, or leave out")
    counts_of_sac = None if prompts is None else parse_prompts(prompts)
    of_sac = SacChoices(tuple(sac or ()), counts_of_sac, selection and selection.value, expert_points)
    counts = parse_counts(like) if like is not None else []
    windows = list(dict.fromkeys(window or [WindowChoice.IMAGE]))
    if zero_shot is not None and zero_shot not in names:
        raise InvalidRequest(f"--zero-shot {zero_shot} is not among the models; add --model {zero_shot}")
    suffixes = {chosen: f"-{chosen.value}" if len(windows) > 1 else "" for chosen in windows}
    for path in (json, plot, cases):
        for suffix in suffixes.values():
            check_target(path and with_suffix(path, suffix), make_folder=True)
    for path in markdown or ():
        check_target(path, make_folder=True)
        check_markers(
            path,
            (AUTOMATIC_TABLE,) if automatic else (LIKE_TABLE,) if counts else _CLICK_TABLES,
        )
    wanted_split = None if split == "all" else split
    opened = data_options.open_all(replace(data, datasets=tuple(datasets or ())))
    opened = [each.of_split(wanted_split).drawn(images, seed=seed) for each in opened]
    if automatic or counts:
        from qupath_sam.types.region_requests import Effort

        asked: dict[str, Any] = {
            "dense": dense,
            "device": device,
            "threads": threads,
            "settings": {"split": split, "images": images, "seed": seed},
            "words": [*(datasets or []), *(f"--project {each}" for each in data.project or [])],
            "json": json,
            "markdown": markdown or [],
            "namesakes": namesakes,
        }
        all_efforts = list(EffortName) if automatic else [EffortName.BEST]
        efforts = [Effort(each.value) for each in dict.fromkeys(effort or all_efforts)]
        if automatic:
            evaluate_automatic(
                names, opened, efforts=efforts, sac=of_sac, clicks_in_the_middle=clicks_in_the_middle, **asked
            )
        else:
            evaluate_like(names, opened, counts, efforts=efforts, **asked)
        return
    # torch comes with these, and takes a while: what is wrong with the data is said before.
    from qupath_sam.evaluation.protocol import Protocol
    from qupath_sam.evaluation.results import ResultStore
    from qupath_sam.evaluation.run import Choices, describe
    from qupath_sam.machine.threads import configure_torch

    protocol = Protocol(max_clicks=max_clicks, seed=seed, first=first)
    configure_torch(threads)
    reports: dict[WindowChoice, dict[str, Any]] = {}
    with ExitStack() as stack:
        store = None
        if resume_dir is not None:
            store = stack.enter_context(closing(ResultStore(resume_dir, any_making=any_version)))
        for chosen in windows:
            foreign = len(store.foreign) if store is not None else 0
            choices = Choices(
                window=chosen,
                per_tile=objects_per_image,
                target=data.target,
                min_area=min_area,
                crop=crop,
                seed=seed,
                keep_parts=keep_parts,
                without=tuple(dict.fromkeys(without or ())),
            )
            comparison = _compare(
                names,
                opened,
                protocol,
                choices,
                device=device,
                workers=workers,
                store=store,
                draw=cases is not None,
                namesakes=namesakes,
            )
            settings = {
                **describe(opened, choices, split=wanted_split),
                "annotations": {
                    "classes": list(data.path_class or ()),
                    "images": list(data.image or ()),
                    "group_by": data.group_by or None,
                    "mpp": data.mpp,
                    "downsample": data.downsample,
                },
                "images": images,
                "without_objects": comparison.without_objects,
                "namesakes": namesakes,
                "device": device,
                "workers": workers,
                "times_with_workers": sorted({r.workers for of_model in comparison.results.values() for r in of_model}),
                "kept_of_other_versions": len(store.foreign) - foreign if store is not None else 0,
            }
            reports[chosen] = make_report(comparison, protocol, settings, zero_shot or names[0])
            for name in comparison.without_objects:
                complaint = f"--window {chosen.value} shows no object that is large enough"
                typer.echo(f"{name}: {complaint}; lower --min-area, or give --crop 0", err=True)
            print_tables(reports[chosen], title=f"--window {chosen.value}" if len(windows) > 1 else "")
            write_files(reports[chosen], comparison, suffixes[chosen], json=json, plot=plot, cases=cases)
    if markdown:
        from qupath_sam.evaluation.page import kinds_page, kinds_summary, page, summary

        scope: dict[str, Any] = {"class": data.path_class, "image": data.image, "group-by": data.group_by}
        scales: dict[str, Any] = {"mpp": data.mpp, "downsample": data.downsample}
        drawn = {"images": images, "objects-per-image": objects_per_image, "min-area": min_area, "crop": crop}
        rules = {"target": data.target and data.target.value, "split": split, "max-clicks": max_clicks, "seed": seed}
        answers = {"first": first.value, "without": [part.value for part in without or ()]}
        options: dict[str, Any] = {**scope, **scales, **drawn, **rules, **answers}
        flags = [name for name, given in (("namesakes", namesakes), ("keep-parts", keep_parts)) if given]
        command = command_line(
            [*(datasets or []), *(f"--project {each}" for each in data.project or [])],
            names,
            windows,
            options,
            flags=flags,
        )
        tables = {
            FULL_TABLE: page(reports, command=command),
            SUMMARY_TABLE: summary(reports),
            KINDS_TABLE: kinds_page(reports, command=command),
            KINDS_SUMMARY_TABLE: kinds_summary(reports),
        }
        for path in markdown:
            write_tables(path, tables)


def _check_options(context: typer.Context, *, automatic: bool, like: bool) -> None:
    """Refuse options that mean nothing to what is evaluated, naming them."""
    from qupath_sam.errors import InvalidRequest

    if automatic and like:
        raise InvalidRequest("--automatic and --like are two evaluations; run them one after the other")
    if not automatic and (given := given_options(context, ("clicks_in_the_middle", *_OF_SAC))):
        raise InvalidRequest(f"{', '.join(given)}: add --automatic")
    without_clicks = "--automatic" if automatic else "--like" if like else None
    if given := given_options(context, _OF_CLICKS if without_clicks else _OF_AUTOMATIC):
        way_out = f"leave out with {without_clicks}" if without_clicks else "add --automatic or --like"
        raise InvalidRequest(f"{', '.join(given)}: {way_out}")


def _compare(
    names: Sequence[str],
    datasets: Sequence[Dataset],
    protocol: Protocol,
    choices: Choices,
    *,
    device: str,
    workers: int,
    store: ResultStore | None,
    draw: bool,
    namesakes: bool,
) -> Comparison:
    """Evaluate all models with one choice of windows, with a progress bar each."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from qupath_sam.evaluation.compare import compare_models

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images, {task.fields[objects]} objects"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tiles = sum(len(d.tiles) for d in datasets)
        bars = {name: progress.add_task(f"{name}, {choices.window.value}", total=tiles, objects=0) for name in names}
        objects = dict.fromkeys(names, 0)

        def on_tile(name: str, count: int) -> None:
            objects[name] += count
            progress.update(bars[name], advance=1, objects=objects[name])

        return compare_models(
            names,
            datasets,
            protocol=protocol,
            choices=choices,
            device=device,
            workers=workers,
            store=store,
            with_cases=draw,
            namesakes=namesakes,
            on_tile=on_tile,
        )
