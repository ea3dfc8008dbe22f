"""Kim et al.'s Table 2: models tuned on some data sets, evaluated on all, and the change from before tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.protocol import NOC_THRESHOLDS
from qupath_sam.evaluation.report import POOLED
from qupath_sam.evaluation.tables import Results, dataset_names, markdown, noc_text

#: Thresholds of the failures in the papers' table.
_NOF_THRESHOLDS = (85, 90)


def generalisation(results: Results, *, zero_shot: str, tuned_on: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the changes by tuning, for ``report["generalisation"]``.

    Args:
        results: of a report; hold the model before tuning too.
        zero_shot: name of that model.
        tuned_on: names of the data sets whose training groups each model has seen.

    Returns:
        ``{"zero_shot": name, "tuned_on": {model: [data set, ...]}, "change": {model: {data set: {"noc": {"80": ...},
        "nof_rate": {"80": ...}, "miou": [...]}}}}``: the model's figure less that of ``zero_shot``.

    Raises:
        InvalidRequest: there are no results of ``zero_shot``.
    """
    if zero_shot not in results:
        raise InvalidRequest(f"the report holds no model {zero_shot!r} to compare with; it holds {', '.join(results)}")
    return {
        "zero_shot": zero_shot,
        "tuned_on": {model: list(tuned_on.get(model, ())) for model in results},
        "change": {
            model: {name: _change(summary, results[zero_shot][name]) for name, summary in of_model.items()}
            for model, of_model in results.items()
            if model != zero_shot
        },
    }


def generalisation_table(report: Mapping[str, Any]) -> str:
    """Return the table, as Markdown: the change from zero-shot in parentheses, each column's better figure in bold.

    Args:
        report: with what `generalisation` says of its results.
    """
    results: Results = report["results"]
    said = report["generalisation"]
    clicks = int(report["protocol"]["max_clicks"])
    thresholds = (*(f"NoC@{t}" for t in NOC_THRESHOLDS), "SPC s", *(f"NoF/n@{t}" for t in _NOF_THRESHOLDS))
    rows = []
    names = dataset_names(results)
    for dataset in names:
        evaluated = [name for name in names if name != POOLED] if dataset == POOLED else [dataset]
        best = {t: min(r[dataset]["noc"][str(t)]["mean"] for r in results.values()) for t in NOC_THRESHOLDS}
        for model, of_model in results.items():
            summary, change = of_model[dataset], said["change"].get(model, {}).get(dataset)
            rows.append(
                [
                    dataset,
                    model,
                    _tuned(evaluated, said["tuned_on"][model], is_zero_shot=change is None),
                    *(_noc(summary, change, t, clicks, best=best[t]) for t in NOC_THRESHOLDS),
                    f"{summary['spc_s']:.3f}",
                    *(f"{summary['nof_rate'][str(t)]:.2f}" for t in _NOF_THRESHOLDS),
                ]
            )
    return markdown(["Evaluated on", "Model", "Tuned on it", *thresholds], rows) + _legend(said)


def _change(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "noc": {t: now["noc"][t]["mean"] - before["noc"][t]["mean"] for t in now["noc"]},
        "nof_rate": {t: now["nof_rate"][t] - before["nof_rate"][t] for t in now["nof_rate"]},
        "miou": [a - b for a, b in zip(now["miou"], before["miou"], strict=True)],
    }


def _tuned(evaluated: Sequence[str], tuned_on: Sequence[str], *, is_zero_shot: bool) -> str:
    if not tuned_on:
        return "zero-shot" if is_zero_shot else "untuned"
    seen = {name in tuned_on for name in evaluated}
    return "in part" if len(seen) > 1 else ("yes" if True in seen else "no")


def _noc(
    summary: Mapping[str, Any], change: Mapping[str, Any] | None, threshold: int, clicks: int, *, best: float
) -> str:
    text = noc_text(summary, threshold, clicks)
    if text.startswith("> "):
        return text
    text = f"**{text}**" if summary["noc"][str(threshold)]["mean"] == best else text
    return text if change is None else f"{text} ({change['noc'][str(threshold)]:+.2f})"


def _legend(said: Mapping[str, Any]) -> str:
    tuned = [f"{model} was tuned on {', '.join(names)}" for model, names in said["tuned_on"].items() if names]
    return f"\nIn parentheses: change from {said['zero_shot']}. {'; '.join(tuned) or 'No model says it was tuned'}.\n"
