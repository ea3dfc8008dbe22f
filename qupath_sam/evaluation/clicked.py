"""One click in the middle of every object: what finding objects without clicks is held against.

The click is the first of the protocol (`qupath_sam.datasets.simulated_clicks`): where the object is deepest. Windows
are the engine's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.simulated_clicks import error_distance
from qupath_sam.evaluation.automatic import ImageResult, painted, score_tile, score_tiles
from qupath_sam.evaluation.one_model import engine_of
from qupath_sam.models.load import LoadedModel
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.types.prompts import Click, Label, ObjectPrompts
from qupath_sam.types.region_results import RegionObject
from qupath_sam.types.requests import ObjectRequest

_EMBEDDING_BYTES = 256 * 2**20
#: Objects of one call.
_TOGETHER = 32


class ClickedEvaluation:
    """The engine as the server runs it, round one model. Close it to end its thread.

    Args:
        model: that is clicked at.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._engine = engine_of(model, embedding_bytes=_EMBEDDING_BYTES)

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
        return score_tiles(datasets, lambda tile, kind: self.score(tile), on_image)

    def score(self, tile: Tile) -> ImageResult:
        """Click on all objects of one tile, and hold the outlines against its labels.

        Raises:
            InvalidRequest: image and labels differ in size.
        """
        middles = middles_of(tile.read_labels())
        return score_tile(tile, lambda pixels: (self._outlined(pixels, tile.mpp, middles), 1.0))

    def _outlined(
        self, pixels: NDArray[np.uint8], mpp: float | None, middles: Sequence[tuple[float, float]]
    ) -> NDArray[np.int32]:
        """Outline each object; where two overlap, the pixel is of the one with the higher score."""
        slide = PushedReader.of_image(pixels, mpp)
        found: list[RegionObject] = []
        for start in range(0, len(middles), _TOGETHER):
            some = middles[start : start + _TOGETHER]
            requests = [ObjectRequest(ObjectPrompts(clicks=(Click.at(x, y, Label.POSITIVE),))) for x, y in some]
            for result in self._engine.predict(slide, requests).results:
                found += [RegionObject(len(found), outline, (0, 0)) for outline in result.outlines[:1]]
        return painted(found, (pixels.shape[0], pixels.shape[1]))


def middles_of(labels: NDArray[np.integer]) -> list[tuple[float, float]]:
    """Return the first click of the protocol on each object, ``(x, y)`` in px on pixel edges, by rising label."""
    values = np.unique(labels[labels != 0])
    middles = []
    for value, place in zip(values, ndimage.find_objects(_numbered(labels, values)), strict=True):
        # A border round the box, for an object's own edge; the image's edge counts as one too.
        distance = error_distance(np.pad(labels[place] == value, 1))
        row, column = np.unravel_index(int(distance.argmax()), distance.shape)
        middles.append((place[1].start + int(column) - 0.5, place[0].start + int(row) - 0.5))
    return middles


def _numbered(labels: NDArray[np.integer], values: NDArray[np.integer]) -> NDArray[np.int32]:
    return np.where(labels != 0, np.searchsorted(values, labels) + 1, 0).astype(np.int32)
