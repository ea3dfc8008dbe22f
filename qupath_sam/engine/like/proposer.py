"""Proposes what looks like examples: all nuclei of a dense head, or the areas that are like them, kept by likeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qupath_sam.engine.automatic.objects import DenseObject
from qupath_sam.engine.automatic.strategy import StrategyOptions, better_mask, prompts_of
from qupath_sam.engine.like.areas import REACH, like_areas, over_pixels
from qupath_sam.engine.like.features import cell_features
from qupath_sam.engine.like.prototype import Prototype
from qupath_sam.engine.region.proposals import Proposal, Proposer, Tile, cropped
from qupath_sam.models.base import Capabilities
from qupath_sam.types.region_requests import Effort

#: An object's area lies between those of the examples, and beyond by this factor at most.
AREA_FACTOR = 4.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Areas of the positive examples, tile px."""

    smallest: float
    median: float
    largest: float

    def admits(self, area: float) -> bool:
        """Return whether an object may have this area."""
        return self.smallest / AREA_FACTOR <= area <= self.largest * AREA_FACTOR


class LikeProposer:
    """A `Proposer` of what looks like examples.

    Args:
        prototype: of the examples.
        sizes: of the examples.
        threshold: least likeness, 0 to 1.
        candidates: proposes what may be like them; None takes the areas that are.
        capabilities: of the model that decodes areas.
        effort: `Effort.FAST` takes areas as they are; `Effort.BEST` has the decoder outline them.
        strategy: when the decoder's answer to an area is taken.
    """

    def __init__(
        self,
        prototype: Prototype,
        sizes: Sizes,
        *,
        threshold: float,
        candidates: Proposer | None,
        capabilities: Capabilities,
        effort: Effort = Effort.BEST,
        strategy: StrategyOptions | None = None,
    ) -> None:
        self._prototype = prototype
        self._sizes = sizes
        self._threshold = threshold
        self._candidates = candidates
        self._capabilities = capabilities
        self._effort = effort
        self._strategy = strategy or StrategyOptions()

    def propose(self, tile: Tile) -> Sequence[Proposal]:
        """Return the objects that the tile shows; see `Proposer.propose`."""
        pixels = tile.pixels
        features = tile.model.run(lambda: cell_features(pixels, tile.embedding))
        likeness = over_pixels(self._prototype.likeness_map(features), pixels.shape[0])
        if self._candidates is not None:
            found = self._candidates.propose(tile)
        else:
            found = self._outlined(tile, self._areas(likeness))
        return [kept for each in found if (kept := self._kept(each, likeness)) is not None]

    def _areas(self, likeness: NDArray[np.float32]) -> list[DenseObject]:
        sizes = self._sizes
        return like_areas(
            likeness,
            radius=float(np.sqrt(sizes.median / np.pi)),
            least=REACH * self._prototype.threshold,
            smallest=sizes.smallest / AREA_FACTOR,
            largest=sizes.largest * AREA_FACTOR,
        )

    def _outlined(self, tile: Tile, areas: Sequence[DenseObject]) -> list[Proposal]:
        """Return what the decoder makes of areas; the area itself where its answer is about something else."""
        proposals = [Proposal(each.mask, each.score, at=each.at, point=each.point) for each in areas]
        if self._effort is Effort.FAST or not areas:
            return proposals
        size = (tile.window.height, tile.window.width)
        prompts = [prompts_of(each, size, self._capabilities, self._strategy) for each in areas]
        for index, (each, answer) in enumerate(zip(areas, tile.model.decode(prompts), strict=True)):
            mask = better_mask(each, answer, self._strategy)
            if mask is not None:
                outlined = cropped(mask, float(answer.scores[0]), point=each.point, logits=answer.logits[0])
                proposals[index] = outlined or proposals[index]
        return proposals

    def _kept(self, proposal: Proposal, likeness: NDArray[np.float32]) -> Proposal | None:
        """Return a proposal with its likeness; None where it is too unlike the examples."""
        (column, row), (height, width) = proposal.at, proposal.mask.shape
        mean = float(likeness[row : row + height, column : column + width][proposal.mask].mean())
        like = min(max(mean, 0.0), 1.0)
        at_edge = not (row and column and row + height < len(likeness) and column + width < len(likeness))
        area = int(np.count_nonzero(proposal.mask))
        if like < self._threshold or not (self._sizes.admits(area) or (at_edge and area < self._sizes.largest)):
            return None
        return replace(proposal, likeness=like)
