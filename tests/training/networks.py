"""Small networks and crops for tests of training."""

from __future__ import annotations

import functools

import numpy as np
import torch

from qupath_sam.models.adapters.sam import INPUT_SIZE, vision_transformer
from qupath_sam.networks.network import Parts, PromptableNetwork
from qupath_sam.networks.stages import Late, early_map
from qupath_sam.training.embeddings import EncodedCrop
from qupath_sam.training.sampling import PromptMix
from tests.models.networks import seeded

#: First clicks only, in the middle of the one object.
ONE_CLICK = PromptMix(boxes=0, outlines=0, strokes=0, single=1, exact=1, unions=0, lumens=0, halves=0)


def small_network(parts: Parts | None = None) -> PromptableNetwork:
    """SAM with two narrow blocks in its encoder, random but for a head that changes little."""
    encoder = vision_transformer(channels=32, depth=2, heads=1, global_blocks=(1,))
    return seeded(PromptableNetwork(encoder, input_size=INPUT_SIZE, parts=parts))


class DiscCrops:
    """Discs in the middle of noise; embeddings that hold them, or pixels where the encoder is trained."""

    def __init__(self, count: int = 2, *, pixels: bool = False) -> None:
        self._count, self._pixels = count, pixels

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> EncodedCrop:
        return _crop(index % self._count, self._pixels)


class EarlyCrops(DiscCrops):
    """Crops with what an encoder makes of them before its late modules."""

    def __init__(self, network: PromptableNetwork, count: int = 2, late: Late = Late.HALF) -> None:
        super().__init__(count, pixels=True)
        self._network, self._late = network, late

    @torch.no_grad()
    def __getitem__(self, index: int) -> EncodedCrop:
        crop = super().__getitem__(index)
        early = early_map(self._network.image_encoder, crop.image.float() / 255, self._late)
        return EncodedCrop(crop.image, crop.labels, crop.targets, embedding=early.half())


@functools.cache
def _crop(index: int, pixels: bool) -> EncodedCrop:
    rows, columns = np.mgrid[:256, :256]
    labels = (np.hypot(rows - 128, columns - 128) < 30 + 20 * index).astype(np.int32)
    image = torch.from_numpy(np.where(labels, 90, 230).astype(np.uint8)).expand(1, 3, -1, -1).contiguous()
    if pixels:
        return EncodedCrop(image.repeat_interleave(4, 2).repeat_interleave(4, 3), labels, (1,))
    generator = torch.Generator().manual_seed(index)
    embedding = torch.randn(1, 256, 64, 64, generator=generator)
    embedding[:, :64] += 2 * torch.from_numpy(labels[::4, ::4]).float()
    return EncodedCrop(image, labels, (1,), embedding=embedding.half())
