"""What ``qupath-sam evaluate`` prints and writes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qupath_sam.datasets.options import WindowChoice

if TYPE_CHECKING:
    from qupath_sam.evaluation.compare import Comparison
    from qupath_sam.evaluation.protocol import Protocol

#: Options that need not be repeated.
_DEFAULTS = {"split": "validation", "max-clicks": 20, "seed": 0, "first": "click"}


def make_report(
    comparison: Comparison, protocol: Protocol, settings: Mapping[str, Any], zero_shot: str
) -> dict[str, Any]:
    """Return the report of one choice of windows; of several models, with what tuning changed."""
    from qupath_sam.evaluation.generalisation import generalisation
    from qupath_sam.evaluation.report import build_report, intervals
    from qupath_sam.machine.description import machine

    report = build_report(comparison.results, protocol=protocol, settings=settings, machine=machine())
    report["intervals"] = {model: intervals(of_model) for model, of_model in comparison.results.items()}
    if len(comparison.results) > 1:
        report["generalisation"] = generalisation(report["results"], zero_shot=zero_shot, tuned_on=comparison.tuned_on)
    return report


def print_tables(report: Mapping[str, Any], *, title: str) -> None:
    """Print the tables of one choice of windows."""
    from qupath_sam.evaluation.generalisation import generalisation_table
    from qupath_sam.evaluation.tables import kinds_table, results_table

    if title:
        typer.echo(f"{title}\n")
    typer.echo(results_table(report))
    if len(next(iter(report["kinds"].values()))) > 1:
        typer.echo(kinds_table(report))
    if "generalisation" in report:
        typer.echo(generalisation_table(report))


def write_files(
    report: Mapping[str, Any],
    comparison: Comparison,
    suffix: str,
    *,
    json: Path | None,
    plot: Path | None,
    cases: Path | None,
) -> None:
    """Write the files of one choice of windows; ``suffix`` goes behind their names."""
    from qupath_sam.evaluation.curves import draw_curves
    from qupath_sam.evaluation.panels import draw_cases
    from qupath_sam.evaluation.report import write_report

    if json is not None:
        write_report(report, with_suffix(json, suffix))
    if plot is not None:
        draw_curves(report).save(with_suffix(plot, suffix), format="PNG")
    if cases is not None:
        draw_cases(comparison.cases).save(with_suffix(cases, suffix), format="PNG")


def with_suffix(path: Path, suffix: str) -> Path:
    """Return the path with ``suffix`` before its extension; one without a name, such as ".", as it is."""
    return path.with_name(f"{path.stem}{suffix}{path.suffix}") if path.name else path


def command_line(
    datasets: Sequence[str],
    models: Sequence[str],
    windows: Sequence[WindowChoice],
    options: Mapping[str, Any],
    *,
    flags: Sequence[str] = (),
) -> str:
    """Return what was asked, without where it was written and computed; a shell takes it as it is.

    Args:
        datasets: names, and projects as ``--project FILE``.
        models, windows: that were compared.
        options: by name without dashes; those at their defaults are left out.
        flags: options without a value, by name.
    """
    words = ["qupath-sam", "evaluate"]
    for dataset in datasets:
        option, _, file = dataset.partition(" ")
        words += [option, file] if option == "--project" else [dataset]
    given = [("model", name) for name in models] + [("window", window.value) for window in windows]
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        given += [(name, str(each)) for each in values if each not in (None, "", _DEFAULTS.get(name))]
    words += [word for name, value in given for word in (f"--{name}", value)]
    return shlex.join([*words, *(f"--{flag}" for flag in flags)])
