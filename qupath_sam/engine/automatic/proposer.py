"""The proposer of a model with a dense head: what it sees at once, and what the decoder makes of the doubtful."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.engine.automatic.objects import DenseObject, dense_objects
from qupath_sam.engine.automatic.stained import darker_than_around
from qupath_sam.engine.automatic.strategy import StrategyOptions, better_mask, is_doubtful, prompts_of
from qupath_sam.engine.automatic.watershed import WATERSHEDS, WatershedOptions
from qupath_sam.engine.region.proposals import Proposal, Tile, cropped
from qupath_sam.models.base import Capabilities
from qupath_sam.models.dense import DenseMaps
from qupath_sam.networks.dense_head import MAPS
from qupath_sam.types.choices import Effort, ObjectKind

#: Score below which a proposal is no object, where the caller says nothing: our choice, on training tiles.
LEAST_SCORE = 0.65


class AutomaticProposer:
    """A `Proposer` round a dense head.

    Args:
        maps: the head.
        capabilities: of the model that decodes.
        effort: `Effort.FAST` takes the head's proposals as they are; `Effort.BEST` asks the decoder about the doubtful.
        min_score: of what is proposed.
        watershed: thresholds of the head's objects; None takes those that suit them.
        strategy: when the decoder is asked.
    """

    def __init__(
        self,
        maps: DenseMaps,
        capabilities: Capabilities,
        *,
        effort: Effort = Effort.BEST,
        min_score: float = LEAST_SCORE,
        watershed: WatershedOptions | None = None,
        strategy: StrategyOptions | None = None,
    ) -> None:
        self._maps = maps
        self._capabilities = capabilities
        self._effort = effort
        self._min_score = min_score
        self._watershed = watershed or WATERSHEDS[maps.objects]
        self._strategy = strategy or StrategyOptions()

    def propose(self, tile: Tile) -> Sequence[Proposal]:
        """Return the objects that the tile shows; see `Proposer.propose`."""
        pixels = tile.pixels
        maps = tile.model.run(lambda: self._maps(pixels, tile.embedding))
        size = pixels.shape[0], pixels.shape[1]
        found = dense_objects(_over(maps, size), self._watershed)
        objects = [each for each in found if each.score >= self._min_score]
        if self._maps.objects is ObjectKind.NUCLEI:
            objects = darker_than_around(objects, pixels)
        doubtful = [each for each in objects if is_doubtful(each, self._strategy)] if self._asks else []
        answers = dict(zip(map(id, doubtful), self._decoded(tile, doubtful, size), strict=True))
        return [answers.get(id(each)) or _proposal(each) for each in objects]

    @property
    def _asks(self) -> bool:
        return self._effort is Effort.BEST

    def _decoded(self, tile: Tile, objects: Sequence[DenseObject], size: tuple[int, int]) -> list[Proposal | None]:
        """Return the decoder's proposals; None where its answer is about something else."""
        if not objects:
            return []
        prompts = [prompts_of(each, size, self._capabilities, self._strategy) for each in objects]
        proposals = []
        for each, answer in zip(objects, tile.model.decode(prompts), strict=True):
            mask = better_mask(each, answer, self._strategy)
            # The head's score of the object says whether there is one; the decoder answers to anything.
            proposals.append(None if mask is None else cropped(mask, each.score, point=each.point))
        return proposals


def _proposal(each: DenseObject) -> Proposal:
    return Proposal(each.mask, each.score, at=each.at, point=each.point)


def _over(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return maps over the model's square as maps over a window of ``(height, width)`` px."""
    if maps.shape[1:] == size:
        return maps
    scaled = [Image.fromarray(maps[i]).resize((size[1], size[0]), Image.Resampling.BILINEAR) for i in range(MAPS)]
    return np.stack([np.asarray(each) for each in scaled])
