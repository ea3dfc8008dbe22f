"""Several models on the same data sets: each loaded, run and let go in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import torch

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.seen import check_unseen, groups_seen
from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.cases import replay, success_and_failure
from qupath_sam.evaluation.panels import Case
from qupath_sam.evaluation.processes import EvaluationProcesses, Job
from qupath_sam.evaluation.protocol import Protocol
from qupath_sam.evaluation.report import POOLED
from qupath_sam.evaluation.results import ObjectResult, ResultStore
from qupath_sam.evaluation.run import Choices, Evaluation
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.weights.store import ModelStore


@dataclass(slots=True)
class Comparison:
    """Results of each model, by its name.

    Attributes:
        results: every object.
        without_objects: names of data sets that hold no object of the wanted size.
        tuned_on: names of the data sets that a model's checkpoint says it has seen groups of.
        cases: successes and failures of the first model, as every model does on them; only where asked for.
    """

    results: dict[str, list[ObjectResult]] = field(default_factory=dict)
    without_objects: list[str] = field(default_factory=list)
    tuned_on: dict[str, list[str]] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)


def compare_models(
    names: Sequence[str],
    datasets: Sequence[Dataset],
    *,
    protocol: Protocol,
    choices: Choices,
    device: str = "auto",
    workers: int = 1,
    store: ResultStore | None = None,
    with_cases: bool = False,
    namesakes: bool = False,
    on_tile: Callable[[str, int], None] = lambda model, objects: None,
) -> Comparison:
    """Evaluate models by name.

    Args:
        names: of models; the first one's successes and failures are drawn.
        datasets: each under another name.
        protocol: its settings.
        choices: of the caller.
        device: auto, cpu, cuda, cuda:1 or mps.
        workers: processes that score objects, each with as many threads of torch as this one; 1 is this one alone.
        store: where results are kept and looked up.
        with_cases: whether to click the objects of a figure once more.
        namesakes: see `check_unseen`.
        on_tile: called after each tile with the model's name and the number of objects.

    Raises:
        InvalidRequest: two data sets have one name, no object is left to evaluate, or a model has seen a group.
        ModelError: a model cannot be loaded or takes no clicks.
    """
    _check_names(datasets)
    home = ModelStore()
    comparison = Comparison()
    for name in names:
        # All are checked before the first one runs for an hour.
        seen = groups_seen(home.find(name), home)
        check_unseen(name, seen, datasets, namesakes=namesakes)
        comparison.tuned_on[name] = sorted({dataset for dataset, _ in seen})
    chosen: list[tuple[str, ObjectResult]] = []
    replayed: list[list[Case]] = []
    for name in names:
        model = load_segmenter(name, device=device)
        with ExitStack() as stack:
            evaluation = stack.enter_context(Evaluation(model, protocol=protocol, choices=choices, store=store))
            submit = None
            if workers > 1:
                job = Job(name, device, torch.get_num_threads(), protocol, choices, workers)
                submit = stack.enter_context(EvaluationProcesses(job)).submit
            results = evaluation.run(datasets, on_tile=partial(on_tile, name), submit=submit)
            if not results:
                raise InvalidRequest("the data sets hold no object of the wanted size; lower --min-area or --crop 0")
            comparison.results[name] = results
            having = {result.dataset for result in results}
            comparison.without_objects = [dataset.name for dataset in datasets if dataset.name not in having]
            if with_cases:
                chosen = chosen or success_and_failure(results)
                replayed.append(
                    [
                        replay(evaluation, datasets, result, title=f"{kind}, {name}", protocol=protocol)
                        for kind, result in chosen
                    ]
                )
    # Rows of one object lie together, so that models can be compared.
    comparison.cases = [case for of_object in zip(*replayed, strict=True) for case in of_object]
    return comparison


def _check_names(datasets: Sequence[Dataset]) -> None:
    names = [d.name for d in datasets]
    if POOLED in names:
        raise InvalidRequest(
            f"a data set may not be called {POOLED!r}, as reports call all together so; rename its folder"
        )
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InvalidRequest(
            f"two data sets are called {', '.join(twice)} and reports go by that name; rename one folder, or evaluate "
            "them in two runs"
        )
