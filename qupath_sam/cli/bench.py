"""``qupath-sam bench``: figures with the command that makes them again."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from qupath_sam.cli.access import TlsCaOption, TlsOption, TokenFileOption, read_access
from qupath_sam.datasets.options import WindowChoice

app = typer.Typer(help="Measure this machine; every figure in the documentation names the command behind it.")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON, or write it to FILE.")]
_File = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="With --json: where to write it.")]


@app.command()
def click(
    file: _File = None,
    *,
    as_json: _Json = False,
    model: Annotated[
        list[str] | None, typer.Option(help="May be repeated; else the default model and ViT-B, random if need be.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of the image encoder: auto, fp32, bf16 or fp32_eager.")] = "auto",
    runtime: Annotated[str, typer.Option(help="On a CPU: auto (OpenVINO if installed), torch or openvino.")] = "auto",
    markdown: Annotated[
        Path | None,
        typer.Option(help="Put each --model's median into the summary that `evaluate` wrote into this document."),
    ] = None,
    costs: Annotated[
        Path | None, typer.Option(help="Write a table of all models' times into this document, between its markers.")
    ] = None,
    busy: Annotated[int, typer.Option(min=0, help="Click also beside so many processes that keep a core busy.")] = 0,
    prompts: Annotated[
        int, typer.Option(min=0, help="Also decode so many clicks in one window, together and one by one.")
    ] = 0,
    row: Annotated[
        int, typer.Option(min=0, max=10, help="Also click so many nuclei of one embedded view, one after another.")
    ] = 0,
    way: Annotated[
        list[str] | None,
        typer.Option(help="RUNTIME:PRECISION; repeated, by turns in one run: torch:fp32_eager, torch:bf16, ..."),
    ] = None,
) -> None:
    """Time a click through gRPC, its bare mask decoder, and a first click."""
    from qupath_sam.cli.benchmarks import click as bench
    from qupath_sam.cli.evaluate import SUMMARY_TABLE
    from qupath_sam.cli.marked_tables import check_column, check_markers, fill_column, write_tables
    from qupath_sam.evaluation.page import CLICK_COLUMN

    if costs is not None:
        check_markers(costs, [bench.COSTS_TABLE])

    if markdown is not None:
        if not model:
            raise typer.BadParameter("--markdown needs the models whose rows it fills; name them with --model")
        check_column(markdown, SUMMARY_TABLE, CLICK_COLUMN, model)
    chosen: dict[str, Any] = {"models": tuple(model)} if model else {}
    if way and (precision, runtime) != ("auto", "auto"):
        raise typer.BadParameter("--way says runtime and precision itself; leave --runtime and --precision out")
    ways = [bench.Way.parse(each) for each in way] if way else [bench.Way(runtime, precision)]
    if len(ways) > 1 and (markdown is not None or costs is not None):
        raise typer.BadParameter("a document's table has one row for a model; give one --way")
    results = bench.run(device=device, ways=ways, busy=busy, prompts=prompts, row=row, **chosen)
    _report(results, "models", as_json=as_json, file=file)
    if markdown is not None:
        times = {name: f"{results['models'][name]['warm_click_ms']['p50']:.0f}" for name in model or []}
        fill_column(markdown, SUMMARY_TABLE, CLICK_COLUMN, times)
    if costs is not None:
        write_tables(costs, {bench.COSTS_TABLE: bench.costs_table(results)})


@app.command()
def samapi(
    file: _File = None,
    *,
    url: Annotated[str, typer.Option(help="A samapi server that is running, such as http://localhost:8000.")],
    kind: Annotated[str, typer.Option("--type", help="samapi's name of the model.")] = "vit_b",
    views: Annotated[int, typer.Option(min=1, help="Views of 1920 x 1080 px, five clicks each.")] = 4,
    model: Annotated[str | None, typer.Option(help="Of our server; else its default model.")] = None,
    device: Annotated[str, typer.Option(help="Of our server, which is started here: auto, cpu, cuda or mps.")] = "auto",
    as_json: _Json = False,
) -> None:
    """Time the same clicks in the same view at a running samapi server and here: first and further clicks, bytes."""
    from qupath_sam.cli.benchmarks import samapi as bench

    chosen: dict[str, Any] = {"model": model} if model else {}
    results = bench.run(url, kind=kind, views=views, device=device, **chosen)
    _report(results, "servers", as_json=as_json, file=file)


@app.command()
def project(
    file: _File = None,
    *,
    as_json: _Json = False,
    annotations: Annotated[int, typer.Option(min=1, help="In all images together.")] = 1000,
    images: Annotated[int, typer.Option(min=1, help="Slides of the project that is made for it.")] = 20,
    model: Annotated[str, typer.Option(help="The server's; the fake shows what is not the model's.")] = "fake",
) -> None:
    """Time the refining of a whole project, beyond what the model takes. Needs QuPath."""
    from qupath_sam.cli.benchmarks import project as bench

    results = bench.run(annotations=annotations, images=images, model=model)
    _report(results, "", as_json=as_json, file=file)


@app.command()
def refine(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET...", help="As `qupath-sam evaluate` takes them.")],
    *,
    model: Annotated[str, typer.Option(help="See `qupath-sam models list`.")] = "",
    split: Annotated[str, typer.Option(help="Of data sets that name splits; all takes every tile.")] = "validation",
    images: Annotated[int, typer.Option(min=1, help="At most this many of a data set, drawn by the seed.")] = 40,
    objects_per_image: Annotated[int, typer.Option(min=1, help="At most this many of an image.")] = 1,
    outline_iou: Annotated[
        tuple[float, float], typer.Option(help="Least and most IoU of the crude outlines with the truth.")
    ] = (0.6, 0.8),
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seen: Annotated[
        bool, typer.Option("--seen", help="Take groups that the model was trained on: to choose how to ask, no more.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
) -> None:
    """Measure what `project refine` gains on crude outlines with known truth, for each way to prompt the model."""
    from rich.console import Console
    from rich.progress import Progress

    from qupath_sam.cli.benchmarks import refine as bench

    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("refining", total=None)
        results = bench.run(
            datasets,
            model=model,
            split=split,
            images=images,
            objects_per_image=objects_per_image,
            outline_iou=outline_iou,
            seed=seed,
            device=device,
            seen=seen,
            on_image=lambda: progress.advance(task),
        )
    if json is not None:
        json.write_text(dumps(results, indent=2) + "\n", encoding="utf-8")
    found: Any = results["datasets"]
    for name, figures in found.items():
        _print_refined(name, figures)


@app.command()
def rotation(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET...", help="As `qupath-sam evaluate` takes them.")],
    *,
    model: Annotated[str, typer.Option(help="See `qupath-sam models list`.")] = "",
    split: Annotated[str, typer.Option(help="Of data sets that name splits; all takes every tile.")] = "validation",
    images: Annotated[int, typer.Option(min=1, help="At most this many of a data set, drawn by the seed.")] = 8,
    objects_per_image: Annotated[int, typer.Option(min=1, help="At most this many of an image.")] = 2,
    window: Annotated[
        WindowChoice, typer.Option(help="Engine windows, or the whole image as one.")
    ] = WindowChoice.AUTO,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: _Json = False,
) -> None:
    """Click once in each of the eight views of a picture (rotated, mirrored): IoU between the answers."""
    from qupath_sam.cli.benchmarks import rotation as bench

    results = bench.run(
        datasets,
        model=model,
        split=split,
        images=images,
        objects_per_image=objects_per_image,
        window=window,
        seed=seed,
        device=device,
    )
    _report(results, "datasets", as_json=as_json, file=None)


@app.command()
def region(
    file: _File = None,
    *,
    side: Annotated[list[int] | None, typer.Option(min=256, help="Of a square region, px; may be repeated.")] = None,
    speed: Annotated[
        bool,
        typer.Option(
            "--speed", help="Instead: processor time of a tile, fast and best, beside that of its bare encode."
        ),
    ] = False,
    model: Annotated[str, typer.Option(help="Of --speed; one with a dense head.")] = "",
    as_json: _Json = False,
) -> None:
    """Measure the memory of server and client while a small and a large region are segmented (fake model)."""
    if speed:
        from qupath_sam.cli.benchmarks import region_speed

        if side and len(side) > 1:
            raise typer.BadParameter("--speed measures one region; give one --side")
        found = region_speed.run(model=model, side=side[0]) if side else region_speed.run(model=model)
        _report(found, "speed", as_json=as_json, file=file)
        return
    if model:
        raise typer.BadParameter("memory is measured with the fake model; add --speed, or leave --model out")
    from qupath_sam.cli.benchmarks import region as bench

    results = bench.run(tuple(side)) if side else bench.run()
    _report(results, "regions", as_json=as_json, file=file)


@app.command()
def server(
    *,
    clients: Annotated[int, typer.Option(min=1, help="People who click at once.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each part: one alone, all, all by the clock.")] = 20.0,
    mix: Annotated[str, typer.Option(help="What runs at once: clicks,batch,embed,refine.")] = "clicks",
    model: Annotated[str, typer.Option(help="Of the server that is started; see `qupath-sam models list`.")] = "",
    address: Annotated[
        str, typer.Option("--server", help="HOST:PORT of one that runs; it opens the packaged slide.")
    ] = "",
    token_file: TokenFileOption = None,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of places and times.")] = 0,
    as_json: _Json = False,
    file: _File = None,
) -> None:
    """Compare many clients at one server with one alone: latencies, throughput, fairness, equal answers."""
    from qupath_sam.cli.benchmarks import server as bench

    results = bench.run(
        clients=clients,
        seconds=seconds,
        mix=[kind.strip() for kind in mix.split(",") if kind.strip()],
        model=model,
        address=address,
        access=read_access(token_file, tls, tls_ca),
        seed=seed,
    )
    _report(results, "", as_json=as_json, file=file)


@app.command()
def soak(
    *,
    minutes: Annotated[float, typer.Option(min=0.01, help="For how long.")] = 20.0,
    model: Annotated[str, typer.Option(help="The server's default; it takes turns with the fake one.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of what is done.")] = 0,
    as_json: _Json = False,
    file: _File = None,
) -> None:
    """Treat a server badly: is any answer wrong, does anything stay behind, does its memory grow?"""
    from qupath_sam.cli.benchmarks import soak as bench

    _report(bench.run(minutes=minutes, model=model, seed=seed), "", as_json=as_json, file=file)


@app.command()
def hostile(
    *,
    clients: Annotated[int, typer.Option(min=1, help="Hostile ones at once.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="For how long.")] = 60.0,
    memory: Annotated[float, typer.Option(min=1.0, help="--memory of the server, GiB.")] = 1.0,
    max_message_mib: Annotated[int, typer.Option(min=1, help="As of `serve`.")] = 8,
    model: Annotated[str, typer.Option(help="The server's default, which a person clicks with.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of what is done.")] = 0,
    as_json: _Json = False,
    file: _File = None,
) -> None:
    """Attack a server with what takes memory: does it keep to what it says, and are a person's answers right?"""
    from qupath_sam.cli.benchmarks import hostile as bench

    results = bench.run(
        clients=clients, seconds=seconds, memory_gib=memory, message_mib=max_message_mib, model=model, seed=seed
    )
    _report(results, "", as_json=as_json, file=file)


def _print_refined(name: str, figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    objects = f"{figures['objects']} objects of {figures['groups']} groups"
    title = f"{name}: {objects}, IoU {figures['iou_before']:.3f} before"
    table = Table("project refine", "IoU", "gain (95 %)", "gain with guards", "IoU with old", "refused", title=title)
    for way, found in figures["ways"].items():
        gain = found["gain"]
        interval = f"{gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
        with_old = "" if found["iou_with_old"] is None else f"{found['iou_with_old']:.3f}"
        numbers = f"{found['iou']:.3f}", interval, f"{found['gain_kept']:+.3f}", with_old
        table.add_row(way, *numbers, str(sum(found["refused"].values())))
    Console().print(table)


def _report(results: dict[str, Any], rows: str, *, as_json: bool, file: Path | None) -> None:
    """Print JSON where it is asked for, else a table.

    It has a column for each name in ``results[rows]``; nested figures are name.name.

    Without ``rows`` everything is one column.
    """
    if file is not None and not as_json:
        raise typer.BadParameter(f"{file} is for JSON; say --json {file}")
    if as_json:
        text = dumps(results, indent=2) + "\n"
        if file is None:
            typer.echo(text, nl=False)
        else:
            file.write_text(text, encoding="utf-8")
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine = results["machine"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}, load {machine['load']}")
    console.print(machine["instructions"])
    columns = results[rows] if rows else {"": {k: v for k, v in results.items() if k not in ("schema", "machine")}}
    names = list(columns)
    table = Table("figure", *names)
    flat = {name: dict(_flattened(columns[name])) for name in names}
    for figure in dict.fromkeys(figure for name in names for figure in flat[name]):
        table.add_row(figure, *(str(flat[name].get(figure, "")) for name in names))
    console.print(table)


def _flattened(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in figures.items():
        flat += _flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return flat
