"""What is evaluated: tiles (an image with labelled objects) and the objects taken from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qupath_sam.datasets.options import Target
from qupath_sam.errors import InvalidRequest
from qupath_sam.types.masks import Mask


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """An image and the labels of its objects; neither is read before it is asked for.

    Attributes:
        dataset: name of the data set.
        image_id: unique in the data set, stable from machine to machine.
        group: case, patient or slide: what intervals are bootstrapped over and training must not have seen.
        split: "train", "validation", ... or None where the data set names none.
        mpp: um per px, or None where unknown.
        read_pixels: uint8 ``(H, W, 3)`` RGB.
        read_labels: integer ``(H, W)``; 0 is background, every other value an object.
        cut_from: name of the slide that the tile is a part of; empty where it is an image of its own.
        organ: or tissue, as the data set names it; empty where it does not.
    """

    dataset: str
    image_id: str
    group: str
    split: str | None
    mpp: float | None
    read_pixels: Callable[[], NDArray[np.uint8]]
    read_labels: Callable[[], NDArray[np.integer]]
    cut_from: str = ""
    organ: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationObject:
    """One object to be segmented.

    Attributes:
        dataset, image_id, group, mpp: of its tile.
        object_id: unique in the data set.
        labels: integer ``(H, W)`` at the resolution at which IoU is measured; all objects of a view share them.
        value: of the object's px in ``labels``; None for all that are not 0.
        digest: hex SHA-256 of the pixels and the mask: identifies the object, not its name.
    """

    dataset: str
    image_id: str
    object_id: str
    group: str
    mpp: float | None
    labels: NDArray[np.integer]
    value: int | None
    digest: str

    @property
    def mask(self) -> Mask:
        """Mask, bool ``(H, W)``, not empty; made at each call, as all masks of a large tile do not fit into memory."""
        return _mask(self.labels, self.value)


@dataclass(frozen=True, slots=True, eq=False)
class TileView:
    """The part of a tile that a model is shown, and the objects to be found in it.

    Attributes:
        pixels: uint8 ``(H, W, 3)`` RGB.
        objects: with masks of the same ``(H, W)``.
        mpp: um per px, or None where unknown.
    """

    pixels: NDArray[np.uint8]
    objects: tuple[EvaluationObject, ...]
    mpp: float | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a tile are evaluated, and how much of the tile is shown.

    Attributes:
        target: what counts as one object.
        min_area: px that an object must have *in the view*; smaller ones are left out.
        crop: side of the square at the top left that is shown, px; None shows the whole tile. Objects that the crop
            cuts are scored as cut.
        per_tile: at most this many objects of a tile, drawn by ``seed``; None takes all.
        seed: draws the same objects whenever the data are the same.
    """

    target: Target = Target.INSTANCES
    min_area: int = 1
    crop: int | None = None
    per_tile: int | None = None
    seed: int = 0

    def view(self, tile: Tile) -> TileView:
        """Return the view of ``tile`` with its chosen objects, by falling area.

        Raises:
            InvalidRequest: image and labels differ in size.
        """
        pixels, labels = tile.read_pixels(), tile.read_labels()
        if pixels.shape[:2] != labels.shape:
            raise InvalidRequest(
                f"{tile.dataset}/{tile.image_id}: the image is {pixels.shape[1]} x {pixels.shape[0]} px but its labels "
                f"are {labels.shape[1]} x {labels.shape[0]}; both must show the same pixels"
            )
        if self.crop is not None:
            pixels, labels = pixels[: self.crop, : self.crop], labels[: self.crop, : self.crop]
        pixels = np.ascontiguousarray(pixels)
        pixels_digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        objects = [
            EvaluationObject(
                dataset=tile.dataset,
                image_id=tile.image_id,
                object_id=f"{tile.image_id}#{name}",
                group=tile.group,
                mpp=tile.mpp,
                labels=labels,
                value=value,
                digest=hashlib.sha256(pixels_digest + np.packbits(_mask(labels, value)).tobytes()).hexdigest(),
            )
            for name, value in self._values(labels)
        ]
        return TileView(pixels, tuple(self._draw(objects)), tile.mpp)

    def _values(self, labels: NDArray[np.integer]) -> Iterator[tuple[str, int | None]]:
        """Yield the name and value of every object that is large enough, by falling area."""
        if self.target is Target.REGION:
            if np.count_nonzero(labels) >= max(1, self.min_area):
                yield "region", None
            return
        values, areas = np.unique(labels[labels != 0], return_counts=True)
        for value, area in sorted(
            zip(values.tolist(), areas.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])
        ):
            if area >= self.min_area:
                yield str(value), value

    def _draw(self, objects: list[EvaluationObject]) -> list[EvaluationObject]:
        """Draw ``per_tile`` of the objects; which ones depends on the seed and on each object, not on its place."""
        if self.per_tile is None or len(objects) <= self.per_tile:
            return objects
        lots = {o.object_id: hashlib.sha256(f"{self.seed}:{o.digest}".encode()).digest() for o in objects}
        drawn = sorted(objects, key=lambda o: lots[o.object_id])[: self.per_tile]
        return [o for o in objects if o in drawn]


def _mask(labels: NDArray[np.integer], value: int | None) -> Mask:
    mask: Mask = labels != 0 if value is None else labels == value
    return mask
