"""From results of images to the report of ``evaluate --automatic``: by data set, kind and organ, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qupath_sam.evaluation.automatic import ImageResult
from qupath_sam.evaluation.bootstrap import RESAMPLES, bootstrap_interval
from qupath_sam.evaluation.instances import f1
from qupath_sam.evaluation.tables import markdown

SCHEMA = "qupath-sam/evaluate-automatic/1"

#: What is a mean over images, in the order of the table. SQ is one over images with a match.
_MEANS = ("dice", "iou", "aji", "pq", "dq", "sq")
_TITLES = {"f1": "F1", "dice": "Dice", "iou": "IoU", "aji": "AJI", "pq": "PQ", "dq": "DQ", "sq": "SQ"}
_PARTS = {"results": "Data set", "kinds": "Objects", "organs": "Organ"}
#: What is held against clicks.
_OF_CLICKS = ("f1", "aji", "pq")


def summarise(results: Sequence[ImageResult]) -> dict[str, Any]:
    """Summarise the scores of several images.

    F1 counts all objects of all images alike; the other figures are means over images, as MoNuSeg and PanNuke have
    them. Intervals draw whole groups within each data set (`bootstrap_interval`).

    Args:
        results: at least one.

    Raises:
        ValueError: there are none.
    """
    if not results:
        raise ValueError("there is no image to summarise")
    groups = [(each.dataset, each.group) for each in results]
    strata = [each.dataset for each in results]
    counts = np.array(
        [[each.scores.true_positives, each.scores.false_positives, each.scores.false_negatives] for each in results]
    )
    summary: dict[str, Any] = {
        "images": len(results),
        "groups": len(set(groups)),
        "true_objects": sum(each.true_objects for each in results),
        "found_objects": sum(each.found_objects for each in results),
        "f1": {"mean": f1(*counts.sum(axis=0).tolist()), "ci95": _f1_interval(counts, groups, strata)},
        "seconds": fmean(each.seconds for each in results),
        "processor_seconds": fmean(each.processor_seconds for each in results),
    }
    for name in _MEANS:
        known = [place for place, each in enumerate(results) if getattr(each.scores, name) is not None]
        values = np.array([getattr(results[place].scores, name) for place in known], np.float64)
        if not known:
            summary[name] = {"mean": None, "ci95": None}
            continue
        interval = bootstrap_interval(values, [groups[i] for i in known], strata=[strata[i] for i in known])
        summary[name] = {"mean": float(values.mean()), "ci95": interval.tolist()}
    return summary


def _f1_interval(counts: NDArray[np.int64], groups: Sequence[object], strata: Sequence[str]) -> list[float]:
    """Return the percentile interval of F1, which is no mean: groups are drawn, and their counts added up."""
    names, members = np.unique([str(each) for each in groups], return_inverse=True)
    sums = np.zeros((len(names), 3))
    np.add.at(sums, members, counts)
    within = np.empty(len(names), dtype=object)
    within[members] = strata
    random = np.random.default_rng(0)
    draws = np.zeros((RESAMPLES, len(names)))
    for stratum in sorted(set(strata)):
        own = np.flatnonzero(within == stratum)
        draws[:, own] = random.multinomial(len(own), np.full(len(own), 1 / len(own)), size=RESAMPLES)
    drawn = draws @ sums
    of = 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2]
    scores = np.where(of > 0, 2 * drawn[:, 0] / np.maximum(of, 1), 1.0)
    interval: list[float] = np.percentile(scores, (2.5, 97.5)).tolist()
    return interval


def build_automatic_report(
    results: Mapping[str, Sequence[ImageResult]],
    *,
    kinds: Mapping[str, str],
    settings: Mapping[str, Any],
    machine: Mapping[str, Any],
    clicked: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Build the whole report.

    Args:
        results: of each row, such as "lite_medsam_histology, fast": every image.
        kinds: of objects, by data set.
        settings: what was chosen.
        machine: where the times were taken.
        clicked: the row of clicks that a row is held against.
    """
    by_kind = {row: _by(of_row, lambda each: kinds[each.dataset]) for row, of_row in results.items()}
    known = {row: [each for each in of_row if each.organ] for row, of_row in results.items()}
    return {
        "schema": SCHEMA,
        "machine": dict(machine),
        "settings": dict(settings),
        "results": {row: _by(of_row, lambda each: each.dataset) for row, of_row in results.items()},
        "kinds": by_kind,
        # Sets that name no organ are left out.
        "organs": {row: _by(of_row, lambda each: each.organ) for row, of_row in known.items() if of_row},
        "of_clicks": _of_clicks(by_kind, clicked or {}),
        "images": {
            row: [
                {
                    "dataset": each.dataset,
                    "image": each.image_id,
                    "group": each.group,
                    "organ": each.organ,
                    "downsample": each.downsample,
                    "true_objects": each.true_objects,
                    "found_objects": each.found_objects,
                    "dice": each.scores.dice,
                    "aji": each.scores.aji,
                    "pq": each.scores.pq,
                    "f1": each.scores.dq,
                }
                for each in of_row
            ]
            for row, of_row in results.items()
        },
    }


def _by(results: Sequence[ImageResult], part_of: Callable[[ImageResult], str]) -> dict[str, dict[str, Any]]:
    """Return summaries by what an image is a part of, in the order of the results."""
    parts: dict[str, list[ImageResult]] = {}
    for each in results:
        parts.setdefault(part_of(each), []).append(each)
    return {name: summarise(of_part) for name, of_part in parts.items()}


def _of_clicks(by_kind: Mapping[str, Mapping[str, Any]], clicked: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return how much of the figures of clicks each row has, by kind."""
    return {
        row: {
            kind: {
                **{name: _share(summary[name]["mean"], by_kind[clicks][kind][name]["mean"]) for name in _OF_CLICKS},
                "processor_seconds": _share(summary["processor_seconds"], by_kind[clicks][kind]["processor_seconds"]),
            }
            for kind, summary in by_kind[row].items()
        }
        for row, clicks in clicked.items()
    }


def _share(one: float, of: float) -> float | None:
    return one / of if of else None


def automatic_tables(report: Mapping[str, Any]) -> str:
    """Return all tables of a report as Markdown: data sets, kinds, organs where any is known, shares of clicks."""
    parts = [automatic_table(report), automatic_table(report, "kinds")]
    if report["organs"]:
        parts.append(automatic_table(report, "organs"))
    if report["of_clicks"]:
        parts.append(clicks_table(report))
    return "\n".join(parts)


def clicks_table(report: Mapping[str, Any]) -> str:
    """Return Markdown: how much of the figures of a click in the middle of every object each row has."""
    header = ["Objects", "Model, as a share of clicks", *(_TITLES[name] for name in _OF_CLICKS), "CPU s"]
    of_clicks: Mapping[str, Mapping[str, Any]] = report["of_clicks"]
    rows = [
        [kind, row, *("-" if share is None else f"{share:.2f}" for share in shares.values())]
        for row, of_row in of_clicks.items()
        for kind, shares in of_row.items()
    ]
    return markdown(header, rows)


def automatic_table(report: Mapping[str, Any], part: str = "results") -> str:
    """Return Markdown: every row on every data set, kind or organ, with intervals.

    Args:
        report: of `build_automatic_report`.
        part: "results", "kinds" or "organs".
    """
    header = [
        _PARTS[part],
        "images (groups), objects",
        "Model",
        "F1 at .5",
        *(_TITLES[name] for name in _MEANS),
        "s an image",
        "CPU s",
    ]
    of_part: Mapping[str, Mapping[str, Any]] = report[part]
    names = list(dict.fromkeys(name for of_row in of_part.values() for name in of_row))
    rows = [
        [
            name,
            f"{summary['images']} ({summary['groups']}), {summary['true_objects']}",
            row,
            _with_interval(summary["f1"]),
            *(_with_interval(summary[each]) for each in _MEANS),
            f"{summary['seconds']:.1f}",
            f"{summary['processor_seconds']:.1f}",
        ]
        for name in names
        for row, of_row in of_part.items()
        if (summary := of_row.get(name)) is not None
    ]
    return markdown(header, rows)


def _with_interval(figure: Mapping[str, Any]) -> str:
    if figure["mean"] is None:
        return "-"
    low, high = figure["ci95"]
    return f"{figure['mean']:.3f} ({low:.3f}-{high:.3f})"
