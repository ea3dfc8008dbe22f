"""From results of objects to the report: means, intervals and the JSON that ``evaluate --json`` writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from qupath_sam.datasets.kinds import Kind
from qupath_sam.evaluation.bootstrap import bootstrap_interval
from qupath_sam.evaluation.protocol import NOC_THRESHOLDS, PROTOCOL_VERSION, Protocol, is_failure, number_of_clicks
from qupath_sam.evaluation.results import ObjectResult
from qupath_sam.machine.files import atomic_write

SCHEMA = "qupath-sam/evaluate/1"
#: All data sets of a report together.
POOLED = "pooled"
#: Clicks up to this one shape an object; from then on a click should correct it and harm nothing.
SETTLED_AFTER = 5

#: ``{"n": ..., "noc": {"80": {"mean": ..., "ci95": [low, high]}, ...}, ...}``; see `summarise`.
Summary = dict[str, Any]


def build_report(
    results: Mapping[str, Sequence[ObjectResult]],
    *,
    protocol: Protocol,
    settings: Mapping[str, Any],
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the whole report.

    Args:
        results: of each model, every object of every data set.
        protocol: that was followed.
        settings: what else was chosen: windows, splits, data sets; joins the protocol in the report.
        machine: where the times were taken.
    """
    datasets: Mapping[str, Mapping[str, Any]] = settings.get("datasets", {})
    kinds = {name: str(described["kind"]) for name, described in datasets.items() if "kind" in described}
    return {
        "schema": SCHEMA,
        "machine": dict(machine),
        "protocol": {"version": PROTOCOL_VERSION, **protocol.as_json(), **settings},
        "results": {model: summaries(of_model) for model, of_model in results.items()},
        "kinds": {model: kind_summaries(of_model, kinds) for model, of_model in results.items()},
    }


def kind_summaries(results: Sequence[ObjectResult], kinds: Mapping[str, str]) -> dict[str, Summary]:
    """Return a summary for each kind of object, in the order of `Kind`, where every data set of a kind counts alike.

    Args:
        results: of one model.
        kinds: of the data sets, by name.
    """
    found: dict[str, Summary] = {}
    for kind in Kind:
        parts = [summarise(part) for part in _by_dataset(results) if kinds.get(part[0].dataset) == kind.value]
        if parts:
            found[kind.value] = _mean_summary(parts)
    return found


def _by_dataset(results: Sequence[ObjectResult]) -> list[list[ObjectResult]]:
    names = sorted({r.dataset for r in results})
    return [[r for r in results if r.dataset == name] for name in names]


def _mean_summary(parts: Sequence[Summary]) -> Summary:
    """Return the means of figures over data sets; a count is the sum.

    ``largest_fall`` is of the mean curve, ``largest_fall_of_a_set`` the largest of the data sets' own; ``settled_harm``
    is the mean harm of the clicks that `SETTLED_AFTER` says, ``settled_harm_of_a_set`` the largest of the data sets'.
    """
    names = (
        "first_iou",
        "first_best_iou",
        "first_in_one_part",
        "squares",
        "score_error",
        "box_iou",
        "refine_gain",
    )
    miou, harm = (np.mean([part[name] for part in parts], axis=0).tolist() for name in ("miou", "harm"))
    return {
        "n": sum(part["n"] for part in parts),
        "datasets": len(parts),
        **{name: _mean(part[name] for part in parts) for name in names},
        "miou": miou,
        "largest_fall": largest_fall(miou),
        "largest_fall_of_a_set": max(part["largest_fall"] for part in parts),
        "harm": harm,
        "settled_harm": settled_harm(harm),
        "settled_harm_of_a_set": max((settled_harm(part["harm"]) for part in parts), key=lambda value: value or 0.0),
        "noc": {str(t): {"mean": fmean(part["noc"][str(t)]["mean"] for part in parts)} for t in NOC_THRESHOLDS},
        "nof_rate": {str(t): fmean(part["nof_rate"][str(t)] for part in parts) for t in NOC_THRESHOLDS},
    }


def summaries(results: Sequence[ObjectResult]) -> dict[str, Summary]:
    """Return a summary for each data set, and one for all together (`POOLED`), where every object counts alike."""
    datasets = sorted({r.dataset for r in results})
    by_dataset = {name: summarise([r for r in results if r.dataset == name]) for name in datasets}
    return {**by_dataset, POOLED: summarise(results)} if results else {}


def summarise(results: Sequence[ObjectResult]) -> Summary:
    """Compute figures over objects.

    - ``n``, ``groups``: objects and groups.
    - ``noc``, ``nof_rate``: mean number of clicks to 80, 85 and 90 % IoU; share of objects that never get there, the
      papers' NoF/n.
    - ``miou``, ``harm``, ``locality``: means after each click, of `qupath_sam.evaluation.metrics`.
    - ``first_iou``, ``first_best_iou``: mean IoU after one click, of the mask that the model gives and of the best that
      it offers; ``first_in_one_part``: share of first answers that hang together.
    - ``score_error``: mean distance of the model's own estimate of the IoU from the IoU, over all clicks.
    - ``squares``: share of answers with a square's border (`qupath_sam.evaluation.metrics.is_square`) that the object
      has not.
    - ``largest_fall``: of mean IoU from one click to the next.
    - ``spc_s``: seconds per click by RITM's definition: wall time of everything, reading and encoding the image, the
      simulated user and the IoU included, over all clicks. An image is read and encoded once for all its objects.
    - ``click_ms``: the wait for the model's answer to one click, median and 95th percentile over all clicks.
    - ``box_iou``, ``refine_gain``, ``jitter``: means of `qupath_sam.evaluation.protocol.ObjectScores`, null where the
      model could not be asked.
    - ``ci95``: bootstrapped over the groups of each data set (`bootstrap_interval`); over its images where it has a
      single group, and then it says nothing of other groups.

    Raises:
        ValueError: there are no results.
    """
    if not results:
        raise ValueError("no object was evaluated; nothing can be said")
    units, strata = _units(results), [r.dataset for r in results]
    iou = np.array([r.iou for r in results])
    noc: dict[str, Any] = {}
    nof_rate: dict[str, float] = {}
    for threshold in NOC_THRESHOLDS:
        clicks = np.array([number_of_clicks(r.iou, threshold / 100) for r in results], dtype=np.float64)
        interval = bootstrap_interval(clicks, units, strata=strata)
        noc[str(threshold)] = {"mean": float(clicks.mean()), "ci95": interval.tolist()}
        nof_rate[str(threshold)] = fmean(is_failure(r.iou, threshold / 100) for r in results)
    click_ms = [ms for r in results for ms in r.click_ms]
    return {
        "n": len(results),
        "groups": len({(r.dataset, r.group) for r in results}),
        "noc": noc,
        "nof_rate": nof_rate,
        "miou": iou.mean(axis=0).tolist(),
        "first_iou": float(iou[:, 0].mean()),
        "first_best_iou": fmean(r.first_best_iou for r in results),
        "squares": sum(r.squares for r in results) / max(1, sum(len(r.clicks) for r in results)),
        "first_in_one_part": fmean(r.first_parts == 1 for r in results),
        "score_error": _mean(
            abs(score - value)
            for r in results
            for score, value in zip(r.scores, r.iou, strict=False)
            if score is not None
        ),
        "largest_fall": largest_fall(iou.mean(axis=0).tolist()),
        "miou_ci95": bootstrap_interval(iou, units, strata=strata).T.tolist(),
        "spc_s": _seconds(results) / len(click_ms),
        "click_ms": {"p50": float(np.percentile(click_ms, 50)), "p95": float(np.percentile(click_ms, 95))},
        "box_iou": _mean(r.box_iou for r in results),
        "refine_gain": _mean(r.refine_gain for r in results),
        "jitter": _mean(r.jitter for r in results),
        "harm": np.array([r.harm for r in results]).mean(axis=0).tolist(),
        "locality": np.array([r.locality for r in results]).mean(axis=0).tolist(),
    }


def largest_fall(miou: Sequence[float]) -> float:
    """Return the most that mean IoU loses from one click to the next; 0 where it never does.

    Args:
        miou: after each click.
    """
    return max([0.0, *(before - after for before, after in pairwise(miou))])


def settled_harm(harm: Sequence[float]) -> float | None:
    """Return the mean harm of the clicks after the fifth (`SETTLED_AFTER`); None where there are none.

    Args:
        harm: mean of each click.
    """
    return fmean(harm[SETTLED_AFTER:]) if len(harm) > SETTLED_AFTER else None


def intervals(results: Sequence[ObjectResult]) -> dict[str, dict[str, Any]]:
    """Return 95 % intervals of what `summarise` gives no interval of, for each data set and for all together.

    Returns:
        ``{data set: {"nof_rate": {"80": [low, high], ...}, "harm": ..., "box_iou": ...}}``: of harm the mean over the
        clicks after the fifth; None where there is nothing to average.
    """
    datasets = sorted({r.dataset for r in results})
    parts = {name: [r for r in results if r.dataset == name] for name in datasets}
    return {name: _intervals(part) for name, part in {**parts, POOLED: list(results)}.items()}


def _intervals(results: Sequence[ObjectResult]) -> dict[str, Any]:
    def interval(values: Sequence[float | None]) -> list[float] | None:
        known = [(value, unit) for value, unit in zip(values, _units(results), strict=True) if value is not None]
        if not known:
            return None
        figures, units = np.array([value for value, _ in known]), [unit for _, unit in known]
        bounds: list[float] = bootstrap_interval(figures, units, strata=[dataset for dataset, _ in units]).tolist()
        return bounds

    return {
        "nof_rate": {str(t): interval([float(is_failure(r.iou, t / 100)) for r in results]) for t in NOC_THRESHOLDS},
        "harm": interval([_mean(r.harm[SETTLED_AFTER:]) for r in results]),
        "box_iou": interval([r.box_iou for r in results]),
    }


def _units(results: Sequence[ObjectResult]) -> list[tuple[str, str]]:
    """Return the units that the bootstrap draws: a data set's groups, or its images where it has a single group."""
    groups: dict[str, set[str]] = {}
    for each in results:
        groups.setdefault(each.dataset, set()).add(each.group)
    return [(r.dataset, r.group if len(groups[r.dataset]) > 1 else r.image_id) for r in results]


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a report as JSON; what was there stays until the new file is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text.encode())


def _seconds(results: Sequence[ObjectResult]) -> float:
    """Return the seconds of all results. An image that two runs have encoded counts with the mean of both."""
    of_image: dict[tuple[str, str], list[float]] = {}
    for each in results:
        of_image.setdefault((each.dataset, each.image_id), []).append(each.setup_s)
    return sum(r.seconds for r in results) + sum(fmean(setups) for setups in of_image.values())


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return fmean(known) if known else None
