"""From results with examples to the report of ``evaluate --like``: by data set, kind and number of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qupath_sam.evaluation.automatic_report import summarise
from qupath_sam.evaluation.bootstrap import RESAMPLES
from qupath_sam.evaluation.like import LikeResult
from qupath_sam.evaluation.tables import markdown

SCHEMA = "qupath-sam/evaluate-like/1"


def summarise_like(results: Sequence[LikeResult]) -> dict[str, Any]:
    """Summarise the results of several tiles with one number of examples.

    As `qupath_sam.evaluation.automatic_report.summarise`, and ``clicks_saved``: the share of the clicks that is saved
    against one click an object, all tiles together; below 0 where wrong objects cost more than is saved.

    Args:
        results: at least one.
    """
    clicks = np.array([[each.clicks, each.clicks_without] for each in results], np.float64)
    saved = 1 - clicks[:, 0].sum() / clicks[:, 1].sum()
    interval = _ratio_interval(clicks, results)
    return {
        **summarise([each.image for each in results]),
        "examples": results[0].examples,
        "clicks_saved": {"mean": float(saved), "ci95": [1 - interval[1], 1 - interval[0]]},
    }


def _ratio_interval(clicks: Any, results: Sequence[LikeResult]) -> list[float]:
    """Return the percentile interval of a ratio of sums: whole groups are drawn, within each data set."""
    groups = [(each.image.dataset, each.image.group) for each in results]
    names = sorted(set(groups))
    sums = np.array([clicks[[group == name for group in groups]].sum(axis=0) for name in names])
    random = np.random.default_rng(0)
    draws = np.zeros((RESAMPLES, len(names)))
    for dataset in sorted({name[0] for name in names}):
        own = [place for place, name in enumerate(names) if name[0] == dataset]
        draws[:, own] = random.multinomial(len(own), np.full(len(own), 1 / len(own)), size=RESAMPLES)
    drawn = draws @ sums
    interval: list[float] = np.percentile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), (2.5, 97.5)).tolist()
    return interval


def build_like_report(
    results: Mapping[str, Sequence[LikeResult]],
    *,
    kinds: Mapping[str, str],
    settings: Mapping[str, Any],
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the whole report.

    Args:
        results: of each row, such as "lite_medsam_histology, best": every tile and number of examples.
        kinds: of objects, by data set.
        settings: what was chosen.
        machine: where the times were taken.
    """
    names = {each.image.dataset for of_row in results.values() for each in of_row}
    return {
        "schema": SCHEMA,
        "machine": dict(machine),
        "settings": dict(settings),
        "results": {row: _by(of_row, {name: name for name in names}) for row, of_row in results.items()},
        "kinds": {row: _by(of_row, kinds) for row, of_row in results.items()},
    }


def _by(results: Sequence[LikeResult], part_of: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Return summaries by what a data set is a part of, one for each number of examples."""
    parts: dict[str, dict[int, list[LikeResult]]] = {}
    for each in results:
        parts.setdefault(part_of[each.image.dataset], {}).setdefault(each.examples, []).append(each)
    return {
        name: [summarise_like(of_count) for _, of_count in sorted(by_count.items())] for name, by_count in parts.items()
    }


def like_table(report: Mapping[str, Any], part: str = "results") -> str:
    """Return Markdown: every row on every data set (``part`` "results") or kind ("kinds"), with intervals."""
    title = "Data set" if part == "results" else "Objects"
    header = [title, "Model", "examples", "tiles (groups), others", "F1 at .5", "AJI", "clicks saved", "s a tile"]
    rows = [
        [
            name,
            row,
            str(summary["examples"]),
            f"{summary['images']} ({summary['groups']}), {summary['true_objects']}",
            *(_with_interval(summary[each]) for each in ("f1", "aji", "clicks_saved")),
            f"{summary['seconds']:.1f}",
        ]
        for row, of_row in report[part].items()
        for name, summaries in of_row.items()
        for summary in summaries
    ]
    return markdown(header, rows)


def _with_interval(figure: Mapping[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['mean']:.2f} ({low:.2f} to {high:.2f})"
