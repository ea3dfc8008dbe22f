"""How well a Segment Any Cell model finds the cells of an image: its one mask, and the connected parts of it.

Images are seen in overlapping squares, as the model was trained on them: 256 px of nuclei, else as much as a square
holds. Dice and IoU are of the mask; the parts are objects by no decision of the model's, so touching cells are one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.simulated_clicks import next_click
from qupath_sam.evaluation.automatic import ImageResult, score_tile
from qupath_sam.models.sac.prompts import Points, PromptOptions
from qupath_sam.models.sac.segmenter import SacSegmenter
from qupath_sam.networks.canvas import CANVAS_SIZE
from qupath_sam.types.masks import Mask
from qupath_sam.types.prompts import Label

#: Share of a square that it has in common with the next one, at least.
_OVERLAP = 0.125
#: Px of the smallest part that counts.
_LEAST_PART = 12


@dataclass(frozen=True, slots=True)
class SemanticChoices:
    """What is asked of each square.

    Attributes:
        prompts: which generated points reach the decoder; None takes those of the training.
        expert_points: that a person adds to a square, one after the other in the middle of the largest error.
    """

    prompts: PromptOptions | None = None
    expert_points: int = 0


class SemanticEvaluation:
    """A model round which images come one after the other.

    Args:
        model: to evaluate.
        choices: of the caller.
    """

    def __init__(self, model: SacSegmenter, choices: SemanticChoices | None = None) -> None:
        self._model = model
        self._choices = choices or SemanticChoices()

    def run(
        self, datasets: Sequence[Dataset], *, on_image: Callable[[ImageResult], None] = lambda result: None
    ) -> Iterator[ImageResult]:
        """Yield the result of every tile of the data sets, in their order.

        Args:
            datasets: to evaluate.
            on_image: called after each.
        """
        for dataset in datasets:
            for tile in dataset.tiles:
                result = self.score(tile, crop=dataset.crop)
                on_image(result)
                yield result

    def score(self, tile: Tile, *, crop: int | None = CANVAS_SIZE) -> ImageResult:
        """Find the cells of one tile, and hold them against its labels.

        Args:
            tile: with labels.
            crop: side of the squares, px; None takes as much as a square holds.

        Raises:
            InvalidRequest: image and labels differ in size.
        """
        truth = tile.read_labels() != 0
        return score_tile(tile, lambda pixels: (parts_of(self._probability(pixels, truth, crop) > 0.5), 1.0))

    def _probability(self, pixels: NDArray[np.uint8], truth: Mask, crop: int | None) -> NDArray[np.float32]:
        """Return float32 ``(H, W)``: the mean over the squares that show a pixel."""
        height, width = pixels.shape[:2]
        side = min(crop or max(height, width), height, width)
        total = np.zeros((height, width), np.float32)
        squares = np.zeros((height, width), np.float32)
        for top in _starts(height, side):
            for left in _starts(width, side):
                inside = slice(top, top + side), slice(left, left + side)
                total[inside] += self._of_square(pixels[inside], truth[inside])
                squares[inside] += 1
        return total / squares

    def _of_square(self, pixels: NDArray[np.uint8], truth: Mask) -> NDArray[np.float32]:
        side = len(truth)
        expert: Points | None = None
        clicked = np.zeros_like(truth)
        probability = _over(self._model.segment(pixels, self._choices.prompts).probability, side)
        for _ in range(self._choices.expert_points):
            click = next_click(probability > 0.5, truth, clicked)
            if click is None:
                break
            clicked[click.y, click.x] = True
            xy = np.array([click.point], np.float32) * (CANVAS_SIZE / side)
            expert = Points(xy, np.array([click.label is Label.POSITIVE])).and_also(expert)
            answer = self._model.segment(pixels, self._choices.prompts, expert=expert)
            probability = _over(answer.probability, side)
        return probability


def parts_of(mask: Mask) -> NDArray[np.int32]:
    """Return labels of the connected parts of a mask that have at least `_LEAST_PART` px."""
    labels, count = ndimage.label(mask)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    kept: NDArray[np.int32] = np.where(areas[labels] >= _LEAST_PART, labels, 0).astype(np.int32)
    return kept


def _starts(extent: int, side: int) -> list[int]:
    """Return where squares begin: evenly spread, the first and the last at the borders."""
    if extent <= side:
        return [0]
    count = math.ceil((extent - side) / (side * (1 - _OVERLAP))) + 1
    return [round(place * (extent - side) / (count - 1)) for place in range(count)]


def _over(probability: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    if len(probability) == side:
        return probability
    return np.asarray(Image.fromarray(probability).resize((side, side), Image.Resampling.BILINEAR))
