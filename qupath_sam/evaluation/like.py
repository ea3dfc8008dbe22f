"""How many objects of a kind a model finds when it is shown a few: examples of a tile, all others of it to be found.

The examples are true outlines, as a person has them after a click that needed no other, or after corrections. Objects
that lie in an example do not count, neither as found nor as wrong.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.objects import Tile
from qupath_sam.evaluation.automatic import ImageResult, painted
from qupath_sam.evaluation.instances import score_instances
from qupath_sam.evaluation.one_model import engine_of
from qupath_sam.models.load import LoadedModel
from qupath_sam.polygons import trace_labels
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.types.region_requests import Effort, Example, Prompting, RegionRequest
from qupath_sam.types.region_results import RegionObject

#: Fewest objects that are left to be found.
LEAST_OTHERS = 3
#: Share of a found object in an example from which on it is that example.
SAME_OBJECT = 0.5


@dataclass(frozen=True, slots=True)
class LikeResult:
    """The scores of one tile and one number of examples.

    Attributes:
        examples: shown to the model.
        image: scores of the other objects.
    """

    examples: int
    image: ImageResult

    @property
    def clicks(self) -> int:
        """Clicks for the whole tile: one an example, one for each missed object, and one to drop each wrong one."""
        return self.examples + self.image.scores.false_negatives + self.image.scores.false_positives

    @property
    def clicks_without(self) -> int:
        """Clicks where each object takes one."""
        return self.examples + self.image.true_objects


class LikeEvaluation:
    """The engine as the server runs it, round one model. Close it to end its thread.

    Args:
        model: that is shown the examples.
        effort: see `Effort`.
        seed: of the examples.
    """

    def __init__(self, model: LoadedModel, effort: Effort = Effort.BEST, *, seed: int = 0) -> None:
        self._effort = effort
        self._seed = seed
        self._engine = engine_of(model)

    def close(self) -> None:
        """End the engine's thread."""
        self._engine.close()

    def run(
        self,
        datasets: Sequence[Dataset],
        counts: Sequence[int],
        *,
        on_image: Callable[[], None] = lambda: None,
    ) -> Iterator[LikeResult]:
        """Yield the results of every tile that has enough objects, for each number of examples.

        Args:
            datasets: to evaluate.
            counts: of examples. Fewer ones are among the more.
            on_image: called after each tile.
        """
        for dataset in datasets:
            for tile in dataset.tiles:
                yield from self.score(tile, counts, min_area=dataset.min_area)
                on_image()

    def score(self, tile: Tile, counts: Sequence[int], *, min_area: int = 1) -> list[LikeResult]:
        """Return the results of one tile.

        Numbers of examples that leave fewer than `LEAST_OTHERS` objects have none.

        Args:
            min_area: px of the smallest object; smaller ones are no objects.
        """
        truth = _without_specks(tile.read_labels(), min_area)
        outlines = trace_labels(truth)
        random = np.random.default_rng(_seed_of(tile, self._seed))
        order = random.permutation(sorted(outlines))
        results = []
        for count in sorted(counts):
            if count + LEAST_OTHERS > len(order):
                continue
            shown = order[:count].tolist()
            request = RegionRequest(
                prompting=Prompting.LIKE,
                effort=self._effort,
                examples=tuple(Example(outlines[value]) for value in shown),
                clip=True,
                search_background=True,
            )
            started = time.perf_counter()
            found, downsample = self._find(tile, request, truth.shape)
            seconds = time.perf_counter() - started
            found = without_examples(found, np.isin(truth, shown))
            others = np.where(np.isin(truth, shown), 0, truth)
            image = ImageResult(
                dataset=tile.dataset,
                image_id=tile.image_id,
                group=tile.group,
                true_objects=len(order) - count,
                found_objects=len(np.unique(found[found != 0])),
                scores=score_instances(found, others),
                downsample=downsample,
                seconds=seconds,
            )
            results.append(LikeResult(count, image))
        return results

    def _find(self, tile: Tile, request: RegionRequest, size: tuple[int, ...]) -> tuple[NDArray[np.int32], float]:
        objects: list[RegionObject] = []
        downsample = 0.0
        for batch in self._engine.segment_region(PushedReader.of_image(tile.read_pixels(), tile.mpp), request):
            objects += batch.objects
            downsample = batch.downsample or downsample
        return painted(objects, (size[0], size[1])), downsample


def without_examples(found: NDArray[np.int32], examples: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the found objects without those that lie in an example.

    Args:
        found: labels ``(H, W)``; 0 is background.
        examples: bool ``(H, W)``.
    """
    areas = np.bincount(found.ravel())
    inside = np.bincount(found[examples], minlength=len(areas))
    dropped = inside >= SAME_OBJECT * np.maximum(areas, 1)
    dropped[0] = False
    return np.where(dropped[found], 0, found)


def _without_specks(labels: NDArray[np.integer], min_area: int) -> NDArray[np.int32]:
    values, areas = np.unique(labels, return_counts=True)
    return np.where(np.isin(labels, values[areas >= min_area]), labels, 0).astype(np.int32)


def _seed_of(tile: Tile, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{tile.dataset}/{tile.image_id}".encode()).digest()[:8], "big")
