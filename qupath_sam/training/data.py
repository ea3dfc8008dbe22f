"""What is trained on: the tiles of one split, and a record of whose they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.kinds import Kind
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.options import Target
from qupath_sam.errors import InvalidRequest

TRAINING_SPLIT = "train"


@dataclass(frozen=True, slots=True, eq=False)
class TrainingTile:
    """A tile and how small its objects may be.

    Attributes:
        tile: of a `TRAINING_SPLIT`, or of a set that names no splits.
        min_area: px of the smallest object that is learnt from.
        target: each label, or all foreground as one object.
        crop: side of the square that the papers' protocol shows of it, px; None for all of it.
        kind: of its objects.
    """

    tile: Tile
    min_area: int
    target: Target
    crop: int | None = None
    kind: Kind = Kind.NUCLEUS


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """The tiles of all data sets, in a stable order."""

    tiles: tuple[TrainingTile, ...]

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groups by data set, sorted."""
        return _by_dataset((each.tile.dataset, each.tile.group) for each in self.tiles)

    @property
    def groups_seen(self) -> dict[str, list[str]]:
        """Groups and slides by data set, sorted: what `evaluate` refuses to score the trained model on.

        The slides too, as a patient's name in a project's metadata is not known elsewhere.
        """
        slides = ((each.tile.dataset, each.tile.cut_from) for each in self.tiles if each.tile.cut_from)
        groups = ((each.tile.dataset, each.tile.group) for each in self.tiles)
        return _by_dataset((*groups, *slides))

    def digest(self) -> str:
        """Return the hex SHA-256 of all pixels and labels with their names; reads every tile."""
        digest = hashlib.sha256()
        for each in self.tiles:
            tile = each.tile
            digest.update(repr((tile.dataset, tile.image_id, tile.group, each.min_area, each.target.value)).encode())
            digest.update(tile.read_pixels().tobytes())
            digest.update(tile.read_labels().astype("int64").tobytes())
        return digest.hexdigest()


def training_data(datasets: Sequence[Dataset], *, target: Target | None = None) -> TrainingData:
    """Return the training tiles of data sets.

    Args:
        datasets: with all their splits.
        target: what counts as one object; None leaves it to each data set.

    Raises:
        InvalidRequest: there are none.
    """
    tiles = tuple(
        TrainingTile(tile, dataset.min_area, target or dataset.target, dataset.crop, dataset.kind)
        for dataset in (each.of_split(TRAINING_SPLIT) for each in datasets)
        for tile in dataset.tiles
    )
    if not tiles:
        raise InvalidRequest("there is no tile to train on; name data sets with a split 'train', or without splits")
    return TrainingData(tiles)


def _by_dataset(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for dataset, name in names:
        found.setdefault(dataset, set()).add(name)
    return {dataset: sorted(some) for dataset, some in sorted(found.items())}
