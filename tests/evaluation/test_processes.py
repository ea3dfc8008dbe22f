"""Several processes do what one does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qupath_sam.datasets import open_dataset
from qupath_sam.errors import OutOfMemory
from qupath_sam.evaluation import processes
from qupath_sam.evaluation.compare import compare_models
from qupath_sam.evaluation.processes import EvaluationProcesses, Job
from qupath_sam.evaluation.protocol import Protocol
from qupath_sam.evaluation.results import ObjectResult, ResultStore
from qupath_sam.evaluation.run import Choices
from tests.evaluation.pictures import painted, save, two_discs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHORT = Protocol(max_clicks=4, jitter_runs=1, jitter_clicks=2)


@pytest.fixture
def datasets(tmp_path):
    """Three pictures with two discs each."""
    for number in range(3):
        labels = np.roll(two_discs(), 3 * number, axis=1)
        save(painted(labels), tmp_path / "set" / "images" / f"{number}.png")
        save(labels.astype(np.uint16), tmp_path / "set" / "masks" / f"{number}.png")
    return [open_dataset(str(tmp_path / "set"))]


def without_times(results: list[ObjectResult]) -> list[ObjectResult]:
    return [replace(r, click_ms=(), seconds=0.0, setup_s=0.0, workers=1) for r in results]


def test_two_processes_give_the_results_of_one_and_keep_them(datasets, tmp_path) -> None:
    one = compare_models(["fake"], datasets, protocol=SHORT, choices=Choices())
    store = ResultStore(tmp_path / "kept")
    tiles: list[int] = []
    two = compare_models(
        ["fake"],
        datasets,
        protocol=SHORT,
        choices=Choices(),
        workers=2,
        store=store,
        on_tile=lambda model, count: tiles.append(count),
    )
    assert without_times(two.results["fake"]) == without_times(one.results["fake"])
    assert tiles == [2, 2, 2]
    assert {r.workers for r in one.results["fake"]} == {1}
    assert {r.workers for r in two.results["fake"]} == {2}
    assert len(store) == 6
    again = compare_models(["fake"], datasets, protocol=SHORT, choices=Choices(), workers=2, store=store)
    store.close()
    assert again.results == two.results, "kept, times and all"


def test_a_process_that_is_killed_says_what_to_do(datasets) -> None:
    def run_and_kill() -> None:
        with EvaluationProcesses(Job("fake", "cpu", 1, SHORT, Choices(), 1)) as running:
            future = running.submit(datasets[0].tiles[0], Choices().selection(datasets[0]), ("0#1",))
            processes._end(running._pool)
            future.result()

    with pytest.raises(OutOfMemory, match="fewer --workers"):
        run_and_kill()
