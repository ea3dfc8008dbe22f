"""``qupath-sam models``: what models there are, and getting, registering, averaging, checking and removing weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from qupath_sam.models.spec import ModelSpec, WeightsFile
    from qupath_sam.models.weights.store import ModelStore

app = typer.Typer(help="Models and their weights.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="As in `models list`.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_models(
    *,
    as_json: _Json = False,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Write the built-in models to this Markdown file, between its markers where it has them."),
    ] = None,
) -> None:
    """List all models: what they take, whether their weights are here, under which licence."""
    if markdown is not None:
        from qupath_sam.cli.marked_tables import write_tables

        write_tables(markdown, {"qupath-sam models list": built_in_table()})
        return
    from qupath_sam.models.registry import AUTO, DEFAULT_MODEL, REGION_MODEL
    from qupath_sam.models.weights.store import ModelStore

    store = ModelStore()
    specs = list(store.models().values())
    if as_json:
        _print_json({"default": DEFAULT_MODEL, "models": [_described(spec, store) for spec in specs]})
        return
    from rich.console import Console
    from rich.table import Table

    rows = [
        (
            f"{spec.name} *" if spec.name == DEFAULT_MODEL else spec.name,
            str(spec.capabilities.input_size),
            _state(spec, store),
            spec.licence.spdx,
            spec.title,
        )
        for spec in specs
    ]
    caption = f"* default\n{AUTO}: a click in a view of whole regions takes {REGION_MODEL}, any other the default"
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    for i, header in enumerate(("model", "px", "weights", "licence", "title")):
        # Titles give way where the terminal is narrow.
        width = None if header == "title" else max(len(row[i]) for row in rows)
        table.add_column(header, no_wrap=True, min_width=width, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def built_in_table() -> str:
    """Return the built-in models as a Markdown table: what a document can say of every machine."""
    from qupath_sam.models.registry import BUILT_IN, DEFAULT_MODEL
    from qupath_sam.models.spec import WeightsFile

    lines = ["| model | title | input px | licence of the weights | how to get it |", "|---|---|---|---|---|"]
    for spec in BUILT_IN.values():
        default = " (default)" if spec.name == DEFAULT_MODEL else ""
        if spec.weights is None:
            get = "nothing to get"
        elif not isinstance(spec.weights, WeightsFile):
            get = "comes along"
        elif not spec.weights.url:
            get = "by hand"
        else:
            size = _download_bytes(spec.weights)
            get = f"pull, {size / 1e6:.0f} MB" if size else "pull"
        px = spec.capabilities.input_size
        lines.append(f"| `{spec.name}`{default} | {spec.title} | {px} | {spec.licence.spdx} | {get} |")
    return "\n".join(lines) + "\n"


@app.command()
def info(name: _Name, *, as_json: _Json = False) -> None:
    """Say everything that is known of one model."""
    from qupath_sam.models.weights.store import ModelStore

    store = ModelStore()
    described = _described(store.find(name), store)
    if as_json:
        _print_json({"models": [described]})
        return
    for key, value in described.items():
        if value not in ("", None):
            typer.echo(f"{key.replace('_', ' ') + ':':<20} {value}")


@app.command()
def pull(name: _Name, *, as_json: _Json = False) -> None:
    """Download a model's weights; interrupted, the same command goes on where it stopped."""
    from qupath_sam.models.weights.manage import pull as pull_weights
    from qupath_sam.models.weights.store import ModelStore

    store = ModelStore()
    spec = store.find(name)
    typer.echo(f"{spec.title}, licence: {spec.licence}; see {spec.source}", err=True)
    with _progress_bar(spec.name) as progress:
        path = pull_weights(spec, store, progress=progress)
    if as_json:
        _print_json({"models": [_described(store.find(name), store)]})
    else:
        typer.echo(path)


@app.command()
def add(
    name: _Name,
    file: Annotated[Path, typer.Argument(help="Checkpoint: .pth, .pt or .safetensors.")],
    *,
    family: Annotated[str, typer.Option(help="Architecture; by default the file's own, where the file shows it.")] = "",
    title: Annotated[str, typer.Option(help="For people.")] = "",
    licence: Annotated[str, typer.Option(help="SPDX identifier.")] = "LicenseRef-unknown",
    masks: Annotated[int | None, typer.Option(help="Masks a first click may give: 1 or 3.", min=1, max=3)] = None,
    mpp: Annotated[float | None, typer.Option(help="µm per pixel it works best at.")] = None,
    link: Annotated[bool, typer.Option("--link", help="Use the file where it lies instead of a copy.")] = False,
) -> None:
    """Register a checkpoint file as a model of your own, or as the weights of a built-in one."""
    from qupath_sam.models.weights.manage import Description
    from qupath_sam.models.weights.manage import add as add_weights
    from qupath_sam.models.weights.store import ModelStore

    described = Description(_family(family), title, licence, masks, mpp)
    path = add_weights(name, file, ModelStore(), described=described, copy=not link)
    typer.echo(path)


@app.command("add-dense")
def add_dense(
    file: Annotated[Path, typer.Argument(help="dense.safetensors of `qupath-sam train ... --method dense`.")],
) -> None:
    """Register a dense head: models with the encoder that it was trained on find all objects of a region with it."""
    from qupath_sam.models.dense import add_dense_head
    from qupath_sam.models.weights.store import ModelStore

    typer.echo(add_dense_head(file, ModelStore()))


@app.command()
def remove(name: _Name, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete weights that were pulled or copied in; a linked file is only forgotten."""
    from qupath_sam.models.weights.manage import removable
    from qupath_sam.models.weights.manage import remove as remove_weights
    from qupath_sam.models.weights.store import ModelStore

    store = ModelStore()
    for path in removable(name, store):
        typer.echo(path, err=True)
    if not yes:
        typer.confirm(f"Delete these files of {name}?", abort=True, err=True)
    remove_weights(name, store)


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models; all whose weights are here where none is.")] = None,
    *,
    as_json: _Json = False,
) -> None:
    """Read weights from end to end: SHA-256, layout and shapes. Exit code 1 where any is wrong."""
    from qupath_sam.errors import QupathSamError
    from qupath_sam.models.weights.manage import verify as verify_weights
    from qupath_sam.models.weights.store import ModelStore

    store = ModelStore()
    present = [spec.name for spec in store.models().values() if spec.weights is not None and store.is_present(spec)]
    results: list[dict[str, Any]] = []
    for name in names or present:
        try:
            found = verify_weights(store.find(name), store)
        except QupathSamError as error:
            results.append({"name": name, "ok": False, "error": str(error)})
        else:
            results.append({"name": name, "ok": True, "sha256": found.sha256, "layout": found.layout.value})
    if as_json:
        _print_json({"models": results})
    else:
        for result in results:
            typer.echo(f"{result['name']}: {result['sha256'] if result['ok'] else result['error']}")
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


def _family(name: str) -> Any:
    from qupath_sam.errors import InvalidRequest
    from qupath_sam.models.spec import Family

    if not name:
        return None
    known = [family.value for family in Family if family is not Family.FAKE]
    if name not in known:
        raise InvalidRequest(f"unknown family {name!r}; known: {', '.join(known)}")
    return Family(name)


def _state(spec: ModelSpec, store: ModelStore) -> str:
    from qupath_sam.models.spec import WeightsFile

    if spec.weights is None:
        return "none needed"
    if store.is_present(spec):
        return "ready"
    if isinstance(spec.weights, WeightsFile):
        if not spec.weights.url:
            return "by hand"
        size = _download_bytes(spec.weights)
        return f"pull ({size / 1e6:.0f} MB)" if size else "pull"
    return "missing"


def _download_bytes(weights: WeightsFile) -> int | None:
    """Return the size of a download, or about the size; None where it is not known."""
    from qupath_sam.models.spec import HubWeights

    return weights.size_bytes or (weights.about_bytes if isinstance(weights, HubWeights) else None)


def _described(spec: ModelSpec, store: ModelStore) -> dict[str, Any]:
    """Return a flat object, the same in text and JSON."""
    from qupath_sam.models.spec import HubWeights, WeightsFile

    can, weights = spec.capabilities, spec.weights
    present = store.is_present(spec)
    return {
        "name": spec.name,
        "title": spec.title,
        "family": spec.family.value,
        "input_size": can.input_size,
        "mask_count": can.mask_count,
        "takes_points": can.points,
        "takes_boxes": can.boxes,
        "takes_mask_prompt": can.mask_prompt,
        "default_mpp": spec.default_mpp,
        "licence": str(spec.licence),
        "source": spec.source,
        "remark": spec.remark,
        "present": present,
        "path": str(store.weights_path(spec)) if present and weights is not None else None,
        "url": weights.url or None if isinstance(weights, WeightsFile) else None,
        "revision": weights.revision or None if isinstance(weights, HubWeights) else None,
        "size_bytes": None if weights is None else weights.size_bytes,
        "sha256": None if weights is None else weights.sha256,
    }


@contextmanager
def _progress_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_json(content: dict[str, Any]) -> None:
    from qupath_sam.machine.description import report

    typer.echo(json.dumps(report("models", content), indent=2))
