"""Markdown tables from reports: one row a data set and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qupath_sam.evaluation.protocol import NOC_THRESHOLDS

#: Clicks that the papers give each object.
PAPERS_CLICKS = 20
#: Clicks whose mean IoU the table shows.
_SHOWN_CLICKS = (1, 5, 10, 20)

#: The part of a report behind "results": summaries by data set by model.
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


def results_table(report: Mapping[str, Any]) -> str:
    """Return each model's row on each data set: NoC with its interval, failures, mean IoU, box, outline, time.

    Args:
        report: as `qupath_sam.evaluation.report.build_report` makes it.
    """
    results: Results = report["results"]
    clicks = int(report["protocol"]["max_clicks"])
    shown = [k for k in _SHOWN_CLICKS if k <= clicks]
    header = [
        "Data set",
        "n (groups)",
        "Model",
        *(f"NoC@{t}" for t in NOC_THRESHOLDS),
        *(f"NoF@{t} (NoF/n)" for t in NOC_THRESHOLDS[1:]),
        f"mIoU after {' / '.join(map(str, shown))}",
        f"harm of clicks {min(6, clicks)} to {clicks}",
        "box",
        "outline",
        "ms a click (p95)",
        "SPC s",
    ]
    rows = []
    for dataset in dataset_names(results):
        best = {
            t: min(r[dataset]["noc"][str(t)]["mean"] for r in results.values() if dataset in r) for t in NOC_THRESHOLDS
        }
        for model, of_model in results.items():
            if dataset not in of_model:
                continue
            summary = of_model[dataset]
            rows.append(
                [
                    dataset,
                    f"{summary['n']} ({summary['groups']})",
                    model,
                    *(_noc(summary, t, clicks, best=best[t]) for t in NOC_THRESHOLDS),
                    *(_nof(summary, t) for t in NOC_THRESHOLDS[1:]),
                    " / ".join(f"{summary['miou'][k - 1]:.3f}" for k in shown),
                    _percent(summary["harm"][min(5, clicks - 1) :]),
                    _optional(summary["box_iou"], "{:.3f}"),
                    _optional(summary["refine_gain"], "{:+.3f}"),
                    f"{summary['click_ms']['p50']:.0f} ({summary['click_ms']['p95']:.0f})",
                    f"{summary['spc_s']:.3f}",
                ]
            )
    return markdown(header, rows)


def kinds_table(report: Mapping[str, Any]) -> str:
    """Return each model's row for each kind of object: the means over the data sets of the kind."""
    header = [
        "Objects",
        "n (data sets)",
        "Model",
        f"first {report['protocol'].get('first', 'click')} mIoU (best of the masks)",
        *(f"NoC@{t}" for t in NOC_THRESHOLDS),
        "NoF@85",
        "one part",
        "squares",
        "score off by",
        "fall (worst set)",
        "harm (worst set)",
        "box",
        "outline",
    ]
    kinds: Results = report["kinds"]
    clicks = int(report["protocol"]["max_clicks"])
    rows = [
        [
            kind,
            f"{summary['n']} ({summary['datasets']})",
            model,
            f"{summary['first_iou']:.2f} ({summary['first_best_iou']:.2f})",
            *(noc_text(summary, t, clicks) for t in NOC_THRESHOLDS),
            f"{100 * summary['nof_rate']['85']:.0f} %",
            f"{100 * summary['first_in_one_part']:.0f} %",
            f"{100 * summary['squares']:.1f} %",
            _optional(summary["score_error"], "{:.2f}"),
            f"{summary['largest_fall']:.4f} ({summary['largest_fall_of_a_set']:.4f})",
            f"{_share(summary['settled_harm'])} ({_share(summary['settled_harm_of_a_set'])})",
            _optional(summary["box_iou"], "{:.2f}"),
            _optional(summary["refine_gain"], "{:+.3f}"),
        ]
        for kind in dataset_names(kinds)
        for model, of_model in kinds.items()
        if (summary := of_model.get(kind)) is not None
    ]
    return markdown(header, rows)


def dataset_names(results: Results) -> list[str]:
    """Return the names of the data sets of all models, in the order of the report."""
    return list(dict.fromkeys(name for of_model in results.values() for name in of_model))


def noc_text(summary: Mapping[str, Any], threshold: int, clicks: int, *, digits: int = 2) -> str:
    """Return the mean number of clicks to a threshold, as a table shows it.

    An object that never gets there counts with all its clicks, as in the papers, who give twenty. Of fewer clicks that
    says too little: ``>= 1.40`` where some objects never got there, ``> 1`` where none did.

    Args:
        summary: of a data set and model.
        threshold: in per cent of IoU.
        clicks: that each object was given.
    """
    mean, missed = summary["noc"][str(threshold)]["mean"], summary["nof_rate"][str(threshold)]
    if clicks >= PAPERS_CLICKS or missed == 0:
        return f"{mean:.{digits}f}"
    return f"> {clicks}" if missed == 1 else f">= {mean:.{digits}f}"


def _noc(summary: Mapping[str, Any], threshold: int, clicks: int, *, best: float) -> str:
    noc = summary["noc"][str(threshold)]
    text = noc_text(summary, threshold, clicks)
    if text.startswith("> "):
        return text
    low, high = noc["ci95"]
    return f"{f'**{text}**' if noc['mean'] == best else text} ({low:.2f}-{high:.2f})"


def _nof(summary: Mapping[str, Any], threshold: int) -> str:
    rate = summary["nof_rate"][str(threshold)]
    return f"{round(rate * summary['n'])} ({rate:.2f})"


def _percent(values: Sequence[float]) -> str:
    return f"{100 * sum(values) / len(values):.2f} %"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _optional(value: float | None, pattern: str) -> str:
    return "-" if value is None else pattern.format(value)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
