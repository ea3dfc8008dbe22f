"""Which objects are shown as success and failure, and running them once more to have their masks."""

from __future__ import annotations

from collections.abc import Sequence

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.objects import EvaluationObject, TileView
from qupath_sam.evaluation.panels import SHOWN_CLICKS, Case
from qupath_sam.evaluation.protocol import NOC_THRESHOLDS, Protocol, first_stroke, number_of_clicks, run_clicks
from qupath_sam.evaluation.results import ObjectResult
from qupath_sam.evaluation.run import Evaluation

#: IoU below which the answer to a first click is about something else than the object.
BAD_FIRST_CLICK = 0.5


def success_and_failure(results: Sequence[ObjectResult]) -> list[tuple[str, ObjectResult]]:
    """Return a success, the worst failure and the worst first click of each data set, each with what it is.

    The success is the object of median IoU after the last click among those that reached the highest threshold; the
    failure is the object of lowest IoU after the last click, where that never reached it; the bad first click is the
    object of lowest IoU after the first click, of the others, where that is below `BAD_FIRST_CLICK`.
    """
    chosen: list[tuple[str, ObjectResult]] = []
    for name in sorted({r.dataset for r in results}):
        ranked = sorted((r for r in results if r.dataset == name), key=lambda r: (r.iou[-1], r.object_id))
        reached = [r for r in ranked if max(r.iou) >= NOC_THRESHOLDS[-1] / 100]
        if reached:
            chosen.append(("success", reached[len(reached) // 2]))
        if ranked[0] not in reached:
            chosen.append(("failure", ranked[0]))
        shown = [result for _, result in chosen]
        first = min((r for r in ranked if r not in shown), key=lambda r: (r.iou[0], r.object_id), default=None)
        if first is not None and first.iou[0] < BAD_FIRST_CLICK:
            chosen.append(("bad first click", first))
    return chosen


def replay(
    evaluation: Evaluation, datasets: Sequence[Dataset], result: ObjectResult, *, title: str, protocol: Protocol
) -> Case:
    """Click an object once more, keeping its masks.

    Raises:
        LookupError: the data sets do not hold the object.
    """
    view, item = _find(evaluation, datasets, result)
    shown = [k for k in SHOWN_CLICKS if k <= protocol.max_clicks]
    stroke = first_stroke(item.mask, protocol, protocol.seed_of(item.digest))
    session = evaluation.prompt(view.pixels, view.mpp).start()
    run = run_clicks(session, item.mask, max_clicks=protocol.max_clicks, keep=shown, stroke=stroke)
    noc = number_of_clicks(run.iou, NOC_THRESHOLDS[-1] / 100)
    return Case(f"{title}: {result.dataset}, {result.object_id} (NoC@90 {noc})", view.pixels, item.mask, run)


def _find(
    evaluation: Evaluation, datasets: Sequence[Dataset], result: ObjectResult
) -> tuple[TileView, EvaluationObject]:
    for dataset in datasets:
        for tile in dataset.tiles:
            if (tile.dataset, tile.image_id) == (result.dataset, result.image_id):
                view = evaluation.choices.selection(dataset).view(tile)
                for item in view.objects:
                    if item.object_id == result.object_id:
                        return view, item
    raise LookupError(f"{result.dataset} does not hold the object {result.object_id}; evaluate it again")
