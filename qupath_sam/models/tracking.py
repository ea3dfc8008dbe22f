"""Models with a memory of video: what they keep of an object goes from plane to plane of a stack.

SAM 2 (Ravi et al. 2024, arXiv 2408.00714, sec. 4) keeps a memory bank of each object: the spatial memory of the frame
that was prompted and of the last few frames, and the object pointers of some more. Each plane is one frame here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from qupath_sam.models.base import Embedding, MaskSet, Segmenter

if TYPE_CHECKING:
    import torch

#: Tensors by name; the contents belong to the model.
PlaneMemory = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True, slots=True, eq=False)
class MemoryBank:
    """What a model remembers of one object; only the model that made it can read it. A value: tracking makes a new one.

    Attributes:
        first: memory of the plane whose outline was given.
        recent: memories of the planes that were tracked last, without a gap, the newest last; no more than the model
            looks back at.
        tracked: planes that were tracked since the first.
    """

    first: PlaneMemory
    recent: tuple[PlaneMemory, ...] = ()
    tracked: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes that the tensors take; one that several planes share counts once."""
        distinct = {id(tensor): tensor for tensor in self._tensors()}
        return sum(tensor.numel() * tensor.element_size() for tensor in distinct.values())

    def _tensors(self) -> Iterator[torch.Tensor]:
        for plane in (self.first, *self.recent):
            yield from plane.values()


class Tracker(Protocol):
    """Follows objects from plane to plane. All embeddings of an object's planes are of the same window.

    Calls may come from any thread, but one at a time, as those of `Segmenter`.
    """

    def remember(self, embedding: Embedding, mask: NDArray[np.bool_]) -> MemoryBank:
        """Begin a memory with an object's mask, which is taken as it is.

        Args:
            embedding: of the window on the mask's plane, made by this model's `Segmenter.embed`.
            mask: bool ``(height, width)`` over the window's px.

        Raises:
            OutOfMemory: the device has no room.
        """
        ...

    def track(self, embedding: Embedding, bank: MemoryBank) -> tuple[MaskSet, MemoryBank]:
        """Find the object on the next plane.

        Args:
            embedding: of the window on that plane.
            bank: after the plane before.

        Returns:
            One mask, empty where the model sees the object no longer, and the memory after this plane.

        Raises:
            OutOfMemory: the device has no room.
        """
        ...


def tracker_of(segmenter: Segmenter) -> Tracker | None:
    """Return the tracker of a segmenter whose model has a memory of video; None for others."""
    tracker: Tracker | None = getattr(segmenter, "tracker", None)
    return tracker
