"""Where the answers of a frozen encoder, or of its frozen half, are kept: each crop is made and encoded once.

An embedding takes 2.1 MB on disk in fp16, LiteMedSAM's early map 1.3 MB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from qupath_sam.machine.files import atomic_write
from qupath_sam.training.crops import CROPS_VERSION, Crop, CropPlan

_TARGETS, _LABELS, _IMAGE, _EMBEDDING = "targets", "labels", "image", "embedding"


@dataclass(frozen=True, slots=True, eq=False)
class EncodedCrop:
    """A crop with what a model needs to answer prompts in it.

    Attributes:
        image: uint8 ``(1, 3, S, S)`` RGB of the encoder's size.
        labels: int32 ``(S, S)``.
        targets: labels to learn from.
        embedding: fp16, ``(1, 256, 64, 64)``, or the map ``(1, C, 64, 64)`` that the encoder's late half starts from;
            None where all of the encoder is trained.
    """

    image: Tensor
    labels: NDArray[np.int32]
    targets: tuple[int, ...]
    embedding: Tensor | None = None


class FreshCrops:
    """Crops for an encoder that is trained: made at each call, not kept, and augmented differently in each epoch.

    Args:
        plans: all crops.
        make: makes the pixels and labels of one.
    """

    def __init__(self, plans: Sequence[CropPlan], make: Callable[[CropPlan], Crop]) -> None:
        self._plans = plans
        self._make = make

    def __len__(self) -> int:
        return len(self._plans)

    def __getitem__(self, index: int) -> EncodedCrop:
        """Make the crop now; its epochs differ in all that is random about it."""
        epoch, place = divmod(index, len(self._plans))
        plan = self._plans[place]
        if epoch:
            plan = replace(plan, seed=int(np.random.default_rng((plan.seed, epoch)).integers(2**31)))
        crop = self._make(plan)
        return EncodedCrop(image_of(crop), crop.labels, crop.targets)


class EmbeddedCrops:
    """Crops with their embeddings or early maps, by their place in a plan; every epoch shows the same.

    Args:
        plans: all crops.
        make: makes the pixels and labels of one.
        encode: what is kept of a crop's pixels, uint8 ``(S, S, 3)`` RGB.
        source: what tells the data, the encoder's weights and what is kept apart from others.
        folder: of the cache; may be shared by runs.
    """

    def __init__(
        self,
        plans: Sequence[CropPlan],
        make: Callable[[CropPlan], Crop],
        *,
        encode: Callable[[NDArray[np.uint8]], Tensor],
        source: str,
        folder: Path,
    ) -> None:
        self._plans = plans
        self._make = make
        self._encode = encode
        self._source = f"{source}:{CROPS_VERSION}"
        self._folder = folder

    def __len__(self) -> int:
        return len(self._plans)

    def __getitem__(self, index: int) -> EncodedCrop:
        """Return a crop: from disk where its file is whole, else made now and kept."""
        path = self.path(index)
        try:
            tensors = load_file(path)
        except (FileNotFoundError, SafetensorError):
            tensors = self._encoded(index)
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with atomic_write(path) as file:
                    file.write(save(tensors))
            except PermissionError:  # Windows: another run has made the same crop, and has it open
                if not path.exists():
                    raise
        targets: list[int] = tensors[_TARGETS].tolist()
        return EncodedCrop(tensors[_IMAGE], tensors[_LABELS].numpy(), tuple(targets), tensors[_EMBEDDING])

    def path(self, index: int) -> Path:
        """Return the file of a crop."""
        plan = self._plan(index)
        key = hashlib.sha256(f"{self._source}:{plan.tile}:{plan.seed}".encode()).hexdigest()
        return self._folder / f"{key[:32]}.safetensors"

    def _plan(self, index: int) -> CropPlan:
        return self._plans[index % len(self._plans)]

    def _encoded(self, index: int) -> dict[str, Tensor]:
        crop = self._make(self._plan(index))
        return {
            _EMBEDDING: self._encode(crop.pixels).to("cpu", torch.float16).contiguous(),
            _IMAGE: image_of(crop),
            _LABELS: torch.from_numpy(crop.labels),
            _TARGETS: torch.tensor(crop.targets, dtype=torch.int64),
        }


def image_of(crop: Crop) -> Tensor:
    """Return the crop's RGB as the encoder and the refinement head see it: uint8 ``(1, 3, S, S)``."""
    return torch.from_numpy(crop.pixels).permute(2, 0, 1)[None].contiguous()
