"""``qupath-sam evaluate --automatic``: how well models find all objects of an image by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qupath_sam.cli.evaluate_sac import SacChoices, check_sac, evaluate_sac, sac_options
from qupath_sam.cli.evaluation_outputs import command_line
from qupath_sam.cli.marked_tables import write_tables

if TYPE_CHECKING:
    from qupath_sam.datasets import Dataset
    from qupath_sam.evaluation.automatic import ImageResult
    from qupath_sam.types.region_requests import Effort


#: Name of the table that ``--markdown`` writes, as the markers in a document say it.
AUTOMATIC_TABLE = "qupath-sam evaluate --automatic, table"


def evaluate_automatic(
    models: Sequence[str],
    datasets: Sequence[Dataset],
    *,
    efforts: Sequence[Effort],
    dense: Path | None,
    sac: SacChoices,
    clicks_in_the_middle: bool,
    device: str,
    threads: int,
    settings: dict[str, Any],
    words: Sequence[str],
    json: Path | None,
    markdown: Sequence[Path],
    namesakes: bool,
) -> None:
    """Evaluate every model at every effort, and print and write the tables.

    Args:
        models: by name.
        datasets: of the split that was asked for.
        efforts: `Effort`s.
        dense: file of a dense head; else each model's own.
        sac: models of Segment Any Cell.
        clicks_in_the_middle: whether each model is clicked at too.
        device, threads: see ``evaluate``.
        settings: what was chosen, for the report and the command.
        words: the data sets as they were named.
        json, markdown: where to write.
        namesakes: see `qupath_sam.datasets.seen.check_unseen`.

    Raises:
        InvalidRequest: data that a model was trained on, or as `check_sac`.
        WeightsMissing: no such file of Segment Any Cell.
    """
    from qupath_sam.evaluation.automatic import AutomaticChoices, AutomaticEvaluation
    from qupath_sam.evaluation.automatic_report import automatic_tables, build_automatic_report
    from qupath_sam.evaluation.clicked import ClickedEvaluation
    from qupath_sam.evaluation.report import write_report
    from qupath_sam.machine.description import machine
    from qupath_sam.machine.threads import configure_torch
    from qupath_sam.models.load import load_segmenter

    configure_torch(threads)
    check_models_unseen(models, datasets, dense=dense, namesakes=namesakes)
    check_files_unseen(sac.files, datasets, namesakes=namesakes)
    check_sac(sac)
    results: dict[str, list[ImageResult]] = {}
    heads: dict[str, dict[str, str]] = {}
    clicked: dict[str, str] = {}
    for name in models:
        loaded = load_segmenter(name, device=device, dense=dense)
        heads[name] = {objects.value: head.sha256 for objects, head in loaded.dense.items()}
        for effort in efforts:
            with closing(AutomaticEvaluation(loaded, AutomaticChoices(effort))) as evaluation:
                results[f"{name}, {effort.value}"] = _run(evaluation, datasets, f"{name}, {effort.value}")
        if clicks_in_the_middle:
            row = f"{name}, a click in the middle"
            with closing(ClickedEvaluation(loaded)) as clicks:
                results[row] = _run(clicks, datasets, row)
            clicked |= {f"{name}, {effort.value}": row for effort in efforts}
    digests = {}
    for row, sha256, of_row in evaluate_sac(sac, device=device):
        digests[row] = sha256
        results[row] = _run(of_row, datasets, row)
    report = build_automatic_report(
        results,
        kinds={each.name: each.kind.value for each in datasets},
        settings={
            **settings,
            "dense_sha256": heads,
            "sac_sha256": digests,
            "efforts": [each.value for each in efforts],
        },
        machine=machine(),
        clicked=clicked,
    )
    tables = automatic_tables(report)
    typer.echo(tables)
    if json is not None:
        write_report(report, json)
    if markdown:
        options = {**settings, "effort": [each.value for each in efforts] if models else None, **sac_options(sac)}
        flags = ["automatic", *(["clicks-in-the-middle"] if clicks_in_the_middle else [])]
        command = command_line(words, models, (), options, flags=flags)
        table = f"{tables}\n    {command}\n"
        for path in markdown:
            write_tables(path, {AUTOMATIC_TABLE: table})


def check_files_unseen(files: Sequence[Path], datasets: Sequence[Dataset], *, namesakes: bool) -> None:
    """Refuse data that a model of Segment Any Cell, or its backbone, was trained on; see `check_models_unseen`.

    Raises:
        WeightsMissing: no such file.
        InvalidRequest: naming the groups.
    """
    from qupath_sam.datasets.seen import check_unseen, groups_seen_in
    from qupath_sam.errors import WeightsMissing
    from qupath_sam.models.weights.store import ModelStore

    for file in files:
        if not file.is_file():
            raise WeightsMissing(f"there is no file {file}; name the sac.safetensors of a run of `train --method sac`")
        check_unseen(str(file), groups_seen_in(file, ModelStore()), datasets, namesakes=namesakes)


def check_models_unseen(
    models: Sequence[str], datasets: Sequence[Dataset], *, dense: Path | None, namesakes: bool
) -> None:
    """Refuse data that a model or its dense head was trained on, before the first model runs for an hour.

    Args:
        models: by name.
        datasets: to evaluate.
        dense: file of a dense head; else each model's own.
        namesakes: see `qupath_sam.datasets.seen.check_unseen`.
    """
    from qupath_sam.datasets.seen import check_unseen, groups_seen, groups_seen_in
    from qupath_sam.models.dense import dense_head_paths
    from qupath_sam.models.load import load_weights
    from qupath_sam.models.weights.store import ModelStore

    store = ModelStore()
    for name in models:
        spec = store.find(name)
        seen = groups_seen(spec, store)
        if spec.weights is not None:
            for head in dense_head_paths(load_weights(spec, store).tensors, store, named=dense).values():
                seen |= groups_seen_in(head, store)
        check_unseen(name, seen, datasets, namesakes=namesakes)


def _run(evaluation: Any, datasets: Sequence[Dataset], title: str) -> list[ImageResult]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task(title, total=sum(len(each.tiles) for each in datasets))
        return list(evaluation.run(datasets, on_image=lambda result: progress.update(bar, advance=1)))
