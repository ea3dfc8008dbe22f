"""``qupath-sam evaluate --like``: how many objects of a kind models find when they are shown a few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qupath_sam.cli.evaluation_outputs import command_line
from qupath_sam.cli.marked_tables import write_tables
from qupath_sam.errors import InvalidRequest

if TYPE_CHECKING:
    from qupath_sam.datasets import Dataset
    from qupath_sam.evaluation.like import LikeEvaluation, LikeResult
    from qupath_sam.types.region_requests import Effort

#: Name of the table that ``--markdown`` writes, as the markers in a document say it.
LIKE_TABLE = "qupath-sam evaluate --like, table"


def parse_counts(text: str) -> list[int]:
    """Parse numbers of examples such as ``1,3,5``; raise `InvalidRequest`."""
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise InvalidRequest(f"--like {text} is no list of numbers; say it as 1,3,5") from error
    if counts[0] < 1:
        raise InvalidRequest(f"--like {text}: at least one example is needed; say it as 1,3,5")
    return counts


def evaluate_like(
    models: Sequence[str],
    datasets: Sequence[Dataset],
    counts: Sequence[int],
    *,
    efforts: Sequence[Effort],
    dense: Path | None,
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
        counts: of examples.
        efforts: `Effort`s.
        dense: file of a dense head; else each model's own.
        device, threads: see ``evaluate``.
        settings: what was chosen, for the report and the command.
        words: the data sets as they were named.
        json, markdown: where to write.
        namesakes: see `qupath_sam.datasets.seen.check_unseen`.
    """
    from contextlib import closing

    from qupath_sam.cli.evaluate_automatic import check_models_unseen
    from qupath_sam.evaluation.like import LEAST_OTHERS, LikeEvaluation
    from qupath_sam.evaluation.like_report import build_like_report, like_table
    from qupath_sam.evaluation.report import write_report
    from qupath_sam.machine.description import machine
    from qupath_sam.machine.threads import configure_torch
    from qupath_sam.models.load import load_segmenter

    configure_torch(threads)
    check_models_unseen(models, datasets, dense=dense, namesakes=namesakes)
    results: dict[str, list[LikeResult]] = {}
    for name in models:
        loaded = load_segmenter(name, device=device, dense=dense)
        for effort in efforts:
            row = f"{name}, {effort.value}"
            with closing(LikeEvaluation(loaded, effort, seed=settings["seed"])) as evaluation:
                results[row] = _run(evaluation, datasets, counts, row)
    if not any(results.values()):
        raise InvalidRequest(
            f"no tile has {counts[0] + LEAST_OTHERS} objects: {counts[0]} to show and {LEAST_OTHERS} to be found; "
            "name other data sets"
        )
    report = build_like_report(
        results,
        kinds={each.name: each.kind.value for each in datasets},
        settings={**settings, "like": list(counts), "efforts": [each.value for each in efforts]},
        machine=machine(),
    )
    typer.echo(like_table(report))
    typer.echo(like_table(report, "kinds"))
    if json is not None:
        write_report(report, json)
    if markdown:
        options = {**settings, "like": ",".join(map(str, counts)), "effort": [each.value for each in efforts]}
        command = command_line(words, models, (), options)
        table = f"{like_table(report)}\n{like_table(report, 'kinds')}\n    {command}\n"
        for path in markdown:
            write_tables(path, {LIKE_TABLE: table})


def _run(
    evaluation: LikeEvaluation, datasets: Sequence[Dataset], counts: Sequence[int], title: str
) -> list[LikeResult]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task(title, total=sum(len(each.tiles) for each in datasets))
        return list(evaluation.run(datasets, counts, on_image=lambda: progress.update(bar, advance=1)))
