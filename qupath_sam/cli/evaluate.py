"""``qupath-sam evaluate``: how many clicks models need, by the papers' protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qupath_sam.evaluation.options import Target, WindowChoice


def evaluate(
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET...",
            help="FOLDER, whose format is found out, or FORMAT:FOLDER with FORMAT one of index, folder, dsb2018, "
            "pannuke, monuseg, paip2019-x5, paip2019-whole-x5, camelyon16-x5, camelyon16-x10, geojson-x5, geojson-x10.",
        ),
    ],
    *,
    model: Annotated[list[str], typer.Option(help="Name of a model; may be repeated (see `qupath-sam models list`).")],
    max_clicks: Annotated[int, typer.Option(min=1, help="Clicks of every object.")] = 20,
    split: Annotated[
        str, typer.Option(help="Tiles of this split, where a data set names splits; all takes every tile.")
    ] = "validation",
    window: Annotated[
        WindowChoice, typer.Option(help="image: the whole view as one window, as the papers; auto: the engine's own.")
    ] = WindowChoice.IMAGE,
    images: Annotated[
        int | None, typer.Option(min=1, help="At most this many images of a data set, drawn by the seed.")
    ] = None,
    objects_per_image: Annotated[
        int | None, typer.Option(min=1, help="At most this many objects of an image, drawn by the seed.")
    ] = None,
    target: Annotated[
        Target | None, typer.Option(help="Each labelled object, or all foreground of an image as one region.")
    ] = None,
    min_area: Annotated[int | None, typer.Option(min=1, help="Smallest object, px; else as the data set says.")] = None,
    crop: Annotated[
        int | None,
        typer.Option(
            min=0, help="Show this many px at the top left; 0 shows whole images. Else 256 of tiles, --window image."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of drawn images and objects, jitter and spoilt outlines.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw mean IoU after each click here (PNG).")] = None,
    cases: Annotated[
        Path | None, typer.Option(help="Draw a success and a failure of each data set here (PNG).")
    ] = None,
    zero_shot: Annotated[
        str | None, typer.Option(help="Print the generalisation table too, with changes from this one of the models.")
    ] = None,
    resume_dir: Annotated[
        Path | None, typer.Option(help="Keep each object's result here, and use those that still hold.")
    ] = None,
) -> None:
    """Measure models on data sets by simulated clicks, and print a table.

    Every object gets all its clicks; the rules are in `qupath_sam.evaluation.protocol`.
    """
    from contextlib import ExitStack, closing

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from qupath_sam.bench.machine import machine
    from qupath_sam.errors import InvalidRequest
    from qupath_sam.evaluation.compare import compare_models
    from qupath_sam.evaluation.curves import draw_curves
    from qupath_sam.evaluation.datasets import open_dataset
    from qupath_sam.evaluation.panels import draw_cases
    from qupath_sam.evaluation.protocol import Protocol
    from qupath_sam.evaluation.report import build_report, write_report
    from qupath_sam.evaluation.results import ResultStore
    from qupath_sam.evaluation.run import Choices, describe
    from qupath_sam.evaluation.tables import generalisation_table, results_table

    names = list(dict.fromkeys(model))
    if zero_shot is not None and zero_shot not in names:
        raise InvalidRequest(f"--zero-shot {zero_shot} is not among the models; add --model {zero_shot}")
    for path in (json, plot, cases):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    wanted_split = None if split == "all" else split
    opened = [open_dataset(d).of_split(wanted_split).drawn(images, seed=seed) for d in datasets]
    choices = Choices(window=window, per_tile=objects_per_image, target=target, min_area=min_area, crop=crop, seed=seed)
    protocol = Protocol(max_clicks=max_clicks, seed=seed)

    with ExitStack() as stack:
        store = stack.enter_context(closing(ResultStore(resume_dir))) if resume_dir is not None else None
        progress = stack.enter_context(
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("images, {task.fields[objects]} objects"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
        )
        tiles = sum(len(d.tiles) for d in opened)
        bars = {name: progress.add_task(name, total=tiles, objects=0) for name in names}
        objects = dict.fromkeys(names, 0)

        def on_tile(name: str, count: int) -> None:
            objects[name] += count
            progress.update(bars[name], advance=1, objects=objects[name])

        comparison = compare_models(
            names,
            opened,
            protocol=protocol,
            choices=choices,
            device=device,
            store=store,
            with_cases=cases is not None,
            on_tile=on_tile,
        )

    report = build_report(
        comparison.results,
        protocol=protocol,
        settings=describe(opened, choices, split=wanted_split),
        machine=machine(),
    )
    typer.echo(results_table(report))
    if zero_shot is not None:
        typer.echo(generalisation_table(report, zero_shot=zero_shot, tuned_on=comparison.tuned_on))
    if json is not None:
        write_report(report, json)
    if plot is not None:
        draw_curves(report).save(plot, format="PNG")
    if cases is not None:
        draw_cases(comparison.cases).save(cases, format="PNG")
