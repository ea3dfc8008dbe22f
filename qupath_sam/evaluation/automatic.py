"""How well a model finds all objects of an image by itself: every image once, through the engine, scored as a whole.

The engine does what it does for a user: tiles, stitching, the scale from the pixel size, or guessed from the objects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.kinds import Kind
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.painting import paint
from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.instances import InstanceScores, score_instances
from qupath_sam.evaluation.one_model import engine_of
from qupath_sam.models.load import LoadedModel
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.types.region_requests import Effort, ObjectFilter, ObjectKind, Prompting, RegionRequest
from qupath_sam.types.region_results import RegionObject


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The scores of one image.

    Attributes:
        dataset, image_id, group: of its tile.
        true_objects, found_objects: how many.
        scores: see `InstanceScores`.
        downsample: image px per tile px that the engine chose.
        seconds: of the whole image, by the clock.
        processor_seconds: the same of all threads of this process: other work on the machine changes it little.
        organ: of its tile; empty where the data set names none.
    """

    dataset: str
    image_id: str
    group: str
    true_objects: int
    found_objects: int
    scores: InstanceScores
    downsample: float
    seconds: float
    processor_seconds: float = 0.0
    organ: str = ""


#: Finds all objects of a tile's pixels, uint8 ``(H, W, 3)``: labels ``(H, W)``, and the downsample they were seen at.
FindObjects = Callable[[NDArray[np.uint8]], tuple[NDArray[np.integer], float]]


def score_tile(tile: Tile, find: FindObjects) -> ImageResult:
    """Find all objects of one tile, and hold them against its labels.

    Args:
        tile: with labels.
        find: what is evaluated.

    Raises:
        InvalidRequest: image and labels differ in size.
    """
    pixels, truth = tile.read_pixels(), tile.read_labels()
    if pixels.shape[:2] != truth.shape:
        raise InvalidRequest(
            f"{tile.dataset}/{tile.image_id}: the image is {pixels.shape[1]} x {pixels.shape[0]} px but its labels "
            f"are {truth.shape[1]} x {truth.shape[0]}; both must show the same pixels"
        )
    started, of_processor = time.perf_counter(), time.process_time()
    found, downsample = find(pixels)
    seconds, of_processor = time.perf_counter() - started, time.process_time() - of_processor
    return ImageResult(
        dataset=tile.dataset,
        image_id=tile.image_id,
        group=tile.group,
        true_objects=len(np.unique(truth[truth != 0])),
        found_objects=len(np.unique(found[found != 0])),
        scores=score_instances(found, truth),
        downsample=downsample,
        seconds=seconds,
        processor_seconds=of_processor,
        organ=tile.organ,
    )


def score_tiles(
    datasets: Sequence[Dataset], score: Callable[[Tile, Kind], ImageResult], on_image: Callable[[ImageResult], None]
) -> Iterator[ImageResult]:
    """Yield the result of every tile of the data sets, in their order.

    Args:
        datasets: to evaluate.
        score: gives the result of a tile of a data set of a kind.
        on_image: called after each.
    """
    for dataset in datasets:
        for tile in dataset.tiles:
            result = score(tile, dataset.kind)
            on_image(result)
            yield result


@dataclass(frozen=True, slots=True)
class AutomaticChoices:
    """What is asked of each image.

    Attributes:
        effort: see `Effort`.
        min_score: of objects that count; None takes the engine's own.
        known_mpp: whether the engine gets the pixel size where a data set knows it.
    """

    effort: Effort = Effort.BEST
    min_score: float | None = None
    known_mpp: bool = True


class AutomaticEvaluation:
    """The engine as the server runs it, round one model. Close it to end its thread.

    Args:
        model: with a dense head.
        choices: of the caller.

    Raises:
        InvalidRequest: the model has no dense head.
    """

    def __init__(self, model: LoadedModel, choices: AutomaticChoices) -> None:
        if not model.dense:
            raise InvalidRequest(
                f"{model.spec.name} generates no prompts itself; name its dense head (--dense FILE), or make one with "
                f"`qupath-sam train ... --method dense --init {model.spec.name}`"
            )
        self._choices = choices
        self._engine = engine_of(model)

    def close(self) -> None:
        """End the engine's thread."""
        self._engine.close()

    def run(
        self, datasets: Sequence[Dataset], *, on_image: Callable[[ImageResult], None] = lambda result: None
    ) -> Iterator[ImageResult]:
        """Return the results of all tiles of the data sets, in their order.

        Args:
            datasets: to evaluate.
            on_image: called after each.
        """
        return score_tiles(datasets, lambda tile, kind: self.score(tile, objects=objects_of(kind)), on_image)

    def score(self, tile: Tile, *, objects: ObjectKind = ObjectKind.NUCLEI) -> ImageResult:
        """Find all objects of one tile, and hold them against its labels.

        Args:
            tile: with labels.
            objects: that are labelled.

        Raises:
            InvalidRequest: image and labels differ in size.
        """
        mpp = tile.mpp if self._choices.known_mpp else None
        return score_tile(tile, lambda pixels: self.find(pixels, mpp, objects))

    def find(
        self, pixels: NDArray[np.uint8], mpp: float | None, objects: ObjectKind = ObjectKind.NUCLEI
    ) -> tuple[NDArray[np.int32], float]:
        """Find all objects of an image: labels, and the downsample of the tiles.

        Args:
            pixels: uint8 ``(H, W, 3)`` RGB, taken as level 0.
            mpp: um per px, or None.
            objects: which.
        """
        request = RegionRequest(
            prompting=Prompting.AUTOMATIC,
            objects=objects,
            effort=self._choices.effort,
            clip=True,
            search_background=True,
            filter=ObjectFilter(min_score=self._choices.min_score),
        )
        found: list[RegionObject] = []
        downsample = 0.0
        for batch in self._engine.segment_region(PushedReader.of_image(pixels, mpp), request):
            found += batch.objects
            downsample = batch.downsample or downsample
        height, width = pixels.shape[:2]
        return painted(found, (height, width)), downsample


def objects_of(kind: Kind) -> ObjectKind:
    """Return what automatic prompts are to find in a data set of a kind."""
    return ObjectKind.GLANDS if kind is Kind.GLAND else ObjectKind.NUCLEI


def painted(objects: Sequence[RegionObject], size: tuple[int, int]) -> NDArray[np.int32]:
    """Paint outlines as labels; where two overlap, the pixel is of the one with the higher score.

    Args:
        objects: in level-0 px.
        size: ``(height, width)``.
    """
    if not objects:
        return np.zeros(size, np.int32)
    # `paint` leaves a pixel to the last.
    rising = sorted(objects, key=lambda each: (each.score, -each.number))
    return np.asarray(paint([each.geometry for each in rising], size), np.int32)
