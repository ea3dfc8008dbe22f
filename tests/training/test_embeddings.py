"""What an epoch shows: the same places each time, looking the same only where their embeddings are kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from qupath_sam.networks.canvas import CANVAS_SIZE
from qupath_sam.training.crops import Crop, CropPlan
from qupath_sam.training.embeddings import EmbeddedCrops, FreshCrops

PLANS = [CropPlan(tile=0, seed=3), CropPlan(tile=1, seed=4)]


def make(plan: CropPlan) -> Crop:
    """Noise of the plan's seed; the tile's number is its one label."""
    noise = np.random.default_rng(plan.seed).integers(0, 256, (CANVAS_SIZE, CANVAS_SIZE, 3)).astype(np.uint8)
    labels = np.full((CANVAS_SIZE, CANVAS_SIZE), plan.tile + 1, np.int32)
    return Crop(noise, labels, (plan.tile + 1,))


def test_fresh_crops_look_different_each_epoch_and_the_same_when_asked_again() -> None:
    crops, again = FreshCrops(PLANS, make), FreshCrops(PLANS, make)
    seen = [crops[index] for index in range(3 * len(PLANS))]
    assert [crop.targets for crop in seen] == [(1,), (2,)] * 3
    pixels = [crop.image for crop in seen]
    assert len({each.numpy().tobytes() for each in pixels}) == len(seen)
    for index in (0, 5, 2):
        assert torch.equal(again[index].image, seen[index].image)


def test_embedded_crops_are_encoded_once_for_all_epochs(tmp_path: Path) -> None:
    encoded: list[int] = []

    def encode(pixels: np.ndarray) -> torch.Tensor:
        encoded.append(int(pixels.sum()))
        return torch.full((1, 1, 2, 2), float(pixels[0, 0, 0]))

    crops = EmbeddedCrops(PLANS, make, encode=encode, source="test", folder=tmp_path)
    for epoch in range(3):
        for place in range(len(PLANS)):
            crop = crops[epoch * len(PLANS) + place]
            assert crop.targets == (place + 1,)
            assert crop.embedding is not None
            assert crop.embedding[0, 0, 0, 0] == make(PLANS[place]).pixels[0, 0, 0]
    assert len(encoded) == len(PLANS)


def test_runs_that_share_a_cache_may_make_the_same_crop_at_the_same_time(tmp_path: Path) -> None:
    """Two wait for each other in the middle of it; each then puts what it made."""
    both = threading.Barrier(2)

    def encode(pixels: np.ndarray) -> torch.Tensor:
        both.wait(timeout=60)
        return torch.full((1, 1, 2, 2), float(pixels[0, 0, 0]))

    def first_crop(run: int) -> torch.Tensor | None:
        return EmbeddedCrops(PLANS, make, encode=encode, source="test", folder=tmp_path)[0].embedding

    with ThreadPoolExecutor(2) as runs:
        one, other = runs.map(first_crop, range(2))
    assert one is not None
    assert other is not None
    assert torch.equal(one, other)
    (kept,) = tmp_path.iterdir()
    assert kept.suffix == ".safetensors"
