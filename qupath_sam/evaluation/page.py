"""The tables of several reports as Markdown: the whole tables of a document, and the short ones of a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qupath_sam.datasets.options import WindowChoice
from qupath_sam.evaluation.protocol import NOC_THRESHOLDS
from qupath_sam.evaluation.report import SETTLED_AFTER, largest_fall, settled_harm
from qupath_sam.evaluation.tables import Results, dataset_names, kinds_table, markdown, noc_text

#: Title of the column of the short table that `qupath-sam bench click --markdown` fills.
CLICK_COLUMN = "ms a click"

_SHOWN_CLICKS = (1, 5, 20)
_TITLES = {
    WindowChoice.IMAGE: "The whole image as one window (`--window image`), as in the papers",
    WindowChoice.AUTO: "Engine windows on whole tiles (`--window auto`), as in QuPath",
}


def page(reports: Mapping[WindowChoice, Mapping[str, Any]], *, command: str) -> str:
    """Draw a table for each choice of windows: a block of rows for each data set, a row for each model.

    Args:
        reports: as `qupath_sam.evaluation.report.build_report` makes them, with ``intervals`` of each model.
        command: that made them.
    """
    parts = [f"**{_TITLES[window]}**\n\n{_table(report)}" for window, report in reports.items()]
    protocols = {window: report["protocol"] for window, report in reports.items()}
    empty = {window: protocol.get("without_objects") for window, protocol in protocols.items()}
    foreign = sum(protocol.get("kept_of_other_versions", 0) for protocol in protocols.values())
    notes = "".join(
        f" Of {', '.join(names)} `--window {window.value}` shows no object that is large enough."
        for window, names in empty.items()
        if names
    )
    notes += f" {foreign} results were kept from other versions or machines." if foreign else ""
    clicks = {int(report["protocol"]["max_clicks"]) for report in reports.values()}
    legend = (
        "In parentheses 95 % intervals, bootstrapped over the groups of each data set, or its images where it has one. "
        f"{' / '.join(map(str, clicks))} clicks an object; NoF@85: share of objects that never reach IoU .85; fall: "
        "the most that mean IoU loses from one click to the next; harm: pixels that a click after the "
        f"{SETTLED_AFTER}th spoils, of the object's area.{notes}\n\n    {command}\n"
    )
    return "\n".join([*parts, legend])


def kinds_page(reports: Mapping[WindowChoice, Mapping[str, Any]], *, command: str) -> str:
    """Return a table by kind of object for each choice of windows; a kind's mean gives each of its data sets one vote.

    Args:
        reports: as `qupath_sam.evaluation.report.build_report` makes them.
        command: that made them.
    """
    parts = [f"**{_TITLES[window]}**\n\n{kinds_table(report)}" for window, report in reports.items()]
    clicks = {int(report["protocol"]["max_clicks"]) for report in reports.values()}
    legend = (
        f"{' / '.join(map(str, clicks))} clicks an object. The mean of a kind gives each of its data sets one vote. "
        "One part: first answers that hang together; squares: answers with a border along a square's sides, which the "
        "object has not; "
        "score off by: mean distance of the model's score from the IoU; fall: the most that mean IoU loses from one "
        f"click to the next; harm: pixels that a click after the {SETTLED_AFTER}th spoils, of the object's area (in "
        "parentheses that of the worst data set); outline: IoU gained on an outline of IoU .8."
        f"\n\n    {command}\n"
    )
    return "\n".join([*parts, legend])


def summary(reports: Mapping[WindowChoice, Mapping[str, Any]]) -> str:
    """Return one row for each model, over all data sets, in engine windows where the reports have them.

    Columns: clicks to an IoU of .85, IoU after the first click, milliseconds of one click. Milliseconds depend on
    what else the machine does meanwhile, so `qupath-sam bench click --markdown` fills that column.
    """
    report = reports.get(WindowChoice.AUTO) or next(iter(reports.values()))
    results: Results = report["results"]
    header = ["model", "clicks to IoU .85", "IoU after the first click", CLICK_COLUMN]
    rows = []
    for model, of_model in results.items():
        pooled = of_model["pooled"]
        noc = noc_text(pooled, 85, int(report["protocol"]["max_clicks"]), digits=1)
        rows.append([f"`{model}`", noc, f"{pooled['miou'][0]:.2f}", "-"])
    return markdown(header, rows)


def kinds_summary(reports: Mapping[WindowChoice, Mapping[str, Any]]) -> str:
    """Return one row for each kind of object, in engine windows where the reports have them.

    A column for each model: clicks to an IoU of .85, and in parentheses the IoU after the first click.
    """
    report = reports.get(WindowChoice.AUTO) or next(iter(reports.values()))
    kinds: Results = report["kinds"]
    clicks = int(report["protocol"]["max_clicks"])
    rows = [
        [kind, *(_clicks_of_kind(of_model[kind], clicks) if kind in of_model else "-" for of_model in kinds.values())]
        for kind in dataset_names(kinds)
    ]
    return markdown(["clicks to IoU .85 (IoU after the first)", *(f"`{model}`" for model in kinds)], rows)


def _clicks_of_kind(summary: Mapping[str, Any], clicks: int) -> str:
    return f"{noc_text(summary, 85, clicks, digits=1)} ({summary['first_iou']:.2f})"


def _table(report: Mapping[str, Any]) -> str:
    results: Results = report["results"]
    clicks = int(report["protocol"]["max_clicks"])
    shown = [k for k in _SHOWN_CLICKS if k <= clicks]
    header = [
        "",
        "Model",
        *(f"NoC@{t}" for t in NOC_THRESHOLDS),
        "NoF@85",
        *(f"mIoU, {k} click{'s' if k > 1 else ''}" for k in shown),
        "fall",
        "harm",
        "box IoU",
    ]
    rows = []
    for dataset in dataset_names(results):
        of_dataset = {model: of_model[dataset] for model, of_model in results.items() if dataset in of_model}
        for number, (model, summary) in enumerate(of_dataset.items()):
            further = report["intervals"][model][dataset]
            rows.append(
                [
                    f"**{dataset}**, {summary['n']} objects, {_groups(summary)}" if number == 0 else "",
                    model,
                    *(_noc(summary, t, clicks) for t in NOC_THRESHOLDS),
                    _interval(summary["nof_rate"]["85"], further["nof_rate"]["85"], digits=3),
                    *(_interval(summary["miou"][k - 1], summary["miou_ci95"][k - 1], digits=3) for k in shown),
                    f"{largest_fall(summary['miou']):.4f}",
                    _interval(settled_harm(summary["harm"]), further["harm"], digits=4),
                    _interval(summary["box_iou"], further["box_iou"], digits=3),
                ]
            )
    return markdown(header, rows)


def _noc(summary: Mapping[str, Any], threshold: int, clicks: int) -> str:
    text = noc_text(summary, threshold, clicks)
    of_all = _interval(**summary["noc"][str(threshold)], digits=2)
    return text if text.startswith("> ") else f"{'>= ' if text.startswith('>=') else ''}{of_all}"


def _interval(mean: float | None, ci95: Sequence[float] | None, *, digits: int) -> str:
    if mean is None or ci95 is None:
        return "-"
    low, high = ci95
    return f"{mean:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def _groups(summary: Mapping[str, Any]) -> str:
    return f"{summary['groups']} group{'' if summary['groups'] == 1 else 's'}"
