"""What is trained on: the tiles of one split, and a record of whose they are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.datasets.base import Dataset
from qupath_sam.evaluation.objects import Tile
from qupath_sam.evaluation.options import Target

TRAINING_SPLIT = "train"


@dataclass(frozen=True, slots=True, eq=False)
class TrainingTile:
    """A tile and how small its objects may be.

    Attributes:
        tile: of a `TRAINING_SPLIT`, or of a set that names no splits.
        min_area: px of the smallest object that is learnt from.
        target: each label, or all foreground as one object.
        crop: side of the square that the papers' protocol shows of it, px; None for all of it.
    """

    tile: Tile
    min_area: int
    target: Target
    crop: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """The tiles of all data sets, in a stable order."""

    tiles: tuple[TrainingTile, ...]

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groups by data set, sorted: what `evaluate` refuses to score the trained model on."""
        seen: dict[str, set[str]] = {}
        for each in self.tiles:
            seen.setdefault(each.tile.dataset, set()).add(each.tile.group)
        return {name: sorted(groups) for name, groups in sorted(seen.items())}

    def digest(self) -> str:
        """Hex SHA-256 of all pixels and labels with their names; reads every tile."""
        digest = hashlib.sha256()
        for each in self.tiles:
            tile = each.tile
            digest.update(repr((tile.dataset, tile.image_id, tile.group, each.min_area, each.target.value)).encode())
            digest.update(tile.read_pixels().tobytes())
            digest.update(tile.read_labels().astype("int64").tobytes())
        return digest.hexdigest()


def training_data(datasets: Sequence[Dataset], *, target: Target | None = None) -> TrainingData:
    """The training tiles of data sets.

    Args:
        datasets: with all their splits.
        target: what counts as one object; None leaves it to each data set.

    Raises:
        InvalidRequest: there are none.
    """
    tiles = tuple(
        TrainingTile(tile, dataset.min_area, target or dataset.target, dataset.crop)
        for dataset in (each.of_split(TRAINING_SPLIT) for each in datasets)
        for tile in dataset.tiles
    )
    if not tiles:
        raise InvalidRequest("there is no tile to train on; name data sets with a split 'train', or without splits")
    return TrainingData(tiles)
