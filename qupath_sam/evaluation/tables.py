"""Markdown tables from reports: one row a model and data set, and the papers' generalisation table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.protocol import NOC_THRESHOLDS

#: Clicks whose mean IoU the table shows.
_SHOWN_CLICKS = (1, 5, 10, 20)

_Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


def results_table(report: Mapping[str, Any]) -> str:
    """Every model on every data set: NoC with its interval, failures, mean IoU, box, outline, time.

    Args:
        report: as `qupath_sam.evaluation.report.build_report` makes it.
    """
    results: _Results = report["results"]
    clicks = int(report["protocol"]["max_clicks"])
    shown = [k for k in _SHOWN_CLICKS if k <= clicks]
    header = [
        "Data set",
        "n (groups)",
        "Model",
        *(f"NoC@{t}" for t in NOC_THRESHOLDS),
        *(f"NoF/n@{t}" for t in NOC_THRESHOLDS[1:]),
        f"mIoU after {' / '.join(map(str, shown))}",
        f"harm of clicks {min(6, clicks)} to {clicks}",
        "box",
        "outline",
        "ms a click (p95)",
        "SPC s",
    ]
    rows = []
    for dataset in _datasets(results):
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
                    *(_noc(summary["noc"][str(t)], best=best[t]) for t in NOC_THRESHOLDS),
                    *(f"{summary['nof_rate'][str(t)]:.2f}" for t in NOC_THRESHOLDS[1:]),
                    " / ".join(f"{summary['miou'][k - 1]:.3f}" for k in shown),
                    _percent(summary["harm"][min(5, clicks - 1) :]),
                    _optional(summary["box_iou"], "{:.3f}"),
                    _optional(summary["refine_gain"], "{:+.3f}"),
                    f"{summary['click_ms']['p50']:.0f} ({summary['click_ms']['p95']:.0f})",
                    f"{summary['spc_s']:.3f}",
                ]
            )
    return _markdown(header, rows)


def generalisation_table(report: Mapping[str, Any], *, zero_shot: str, tuned_on: Mapping[str, Sequence[str]]) -> str:
    """Kim et al.'s Table 2: models tuned on some data sets, evaluated on all, the change from zero-shot in parentheses.

    Args:
        report: as `qupath_sam.evaluation.report.build_report` makes it; holds the untuned model too.
        zero_shot: name of the untuned model.
        tuned_on: names of the data sets that each tuned model has seen training groups of.

    Raises:
        InvalidRequest: the report lacks the untuned model.
    """
    results: _Results = report["results"]
    if zero_shot not in results:
        raise InvalidRequest(f"the report holds no model {zero_shot!r} to compare with; it holds {', '.join(results)}")
    header = ["Data set", "Model", "Tuned on it", *(f"NoC@{t}" for t in NOC_THRESHOLDS), "NoF/n@85", "NoF/n@90"]
    rows = []
    for dataset in _datasets(results):
        for model, of_model in results.items():
            if dataset not in of_model or dataset not in results[zero_shot]:
                continue
            summary, before = of_model[dataset], results[zero_shot][dataset]
            is_zero_shot = model == zero_shot
            nocs = [(summary["noc"][str(t)]["mean"], before["noc"][str(t)]["mean"]) for t in NOC_THRESHOLDS]
            rows.append(
                [
                    dataset,
                    model,
                    "zero-shot" if is_zero_shot else ("yes" if dataset in tuned_on.get(model, ()) else "no"),
                    *(f"{now:.2f}" if is_zero_shot else f"{now:.2f} ({now - then:+.2f})" for now, then in nocs),
                    *(f"{summary['nof_rate'][str(t)]:.2f}" for t in (85, 90)),
                ]
            )
    return _markdown(header, rows)


def _datasets(results: _Results) -> list[str]:
    """Names of the data sets of all models, in the order of the report."""
    return list(dict.fromkeys(name for of_model in results.values() for name in of_model))


def _noc(noc: Mapping[str, Any], *, best: float) -> str:
    mean = f"**{noc['mean']:.2f}**" if noc["mean"] == best else f"{noc['mean']:.2f}"
    low, high = noc["ci95"]
    return f"{mean} ({low:.2f}-{high:.2f})"


def _percent(values: Sequence[float]) -> str:
    return f"{100 * sum(values) / len(values):.2f} %"


def _optional(value: float | None, pattern: str) -> str:
    return "-" if value is None else pattern.format(value)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
