"""Outlines as a person in a hurry or another model would leave them: the truth, bent until a given IoU is left."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.types.masks import Mask, intersection_over_union

#: What `numpy.random.default_rng` takes.
Seed = int | tuple[int, ...]
#: Steps of the bisection for the strength of the bend.
_BISECTIONS = 16
#: How near is near enough.
_CLOSE = 0.05


def perturbed_outline(truth: Mask, *, seed: Seed, iou: float) -> Mask:
    """Return the object with its outline moved in and out by a smooth random field.

    The signed distance to the object's outline gets a random field added whose waves are a quarter of the object's
    diameter wide, and the part above 0 is the new object: it swells here, shrinks there, may lose a tip or a hole. The
    field's strength is found by bisection so that the IoU with the truth comes as near to ``iou`` as pixels allow.
    Where they allow nothing near it, the field less its mean is tried: an object that fills the image cannot swell, and
    a field that is positive all over leaves it as it was.
    FocalClick's DAVIS-585 (Chen et al. 2022, sec. 4) starts from masks spoilt to an IoU of 0.75 to 0.85.

    Args:
        truth: bool ``(H, W)``, not empty.
        seed: the same seed bends the same object the same way.
        iou: IoU with the truth to aim at, in 0..1.

    Returns:
        bool ``(H, W)``, not empty.

    Raises:
        ValueError: the object is empty.
    """
    if not truth.any():
        raise ValueError("an empty object has no outline to perturb")
    diameter = 2 * math.sqrt(np.count_nonzero(truth) / math.pi)
    box = _box_with_margin(truth, math.ceil(diameter))
    cropped = truth[box]
    distance = _signed_distance(cropped)
    field = _smooth_field(cropped.shape, wave=max(1.0, diameter / 4), seed=seed)

    best, gap = _bent(cropped, distance, field, strongest=2 * diameter, iou=iou)
    if gap > _CLOSE:
        centred, centred_gap = _bent(cropped, distance, field - field.mean(), strongest=2 * diameter, iou=iou)
        best = centred if centred_gap < gap else best
    outline = np.zeros_like(truth)
    outline[box] = best
    return outline


def _bent(
    truth: Mask, distance: NDArray[np.float64], field: NDArray[np.float64], *, strongest: float, iou: float
) -> tuple[Mask, float]:
    """Return the bend of a field that comes nearest to the IoU, and how far from it that is."""
    weakest = 0.0
    best, best_gap = truth, abs(1.0 - iou)
    for _ in range(_BISECTIONS):
        strength = (weakest + strongest) / 2
        bent = distance + strength * field > 0
        reached = intersection_over_union(bent, truth)
        if bent.any() and abs(reached - iou) < best_gap:
            best, best_gap = bent, abs(reached - iou)
        weakest, strongest = (strength, strongest) if reached > iou else (weakest, strength)
    return best, best_gap


def _signed_distance(mask: Mask) -> NDArray[np.float64]:
    """Return the distance to the outline in px: positive inside, negative outside (also beyond the image), never 0."""
    padded = np.pad(mask, 1)
    inside = ndimage.distance_transform_edt(padded)
    outside = ndimage.distance_transform_edt(~padded)
    signed: NDArray[np.float64] = (inside - outside)[1:-1, 1:-1]
    return signed


def _smooth_field(shape: tuple[int, int], *, wave: float, seed: Seed) -> NDArray[np.float64]:
    """Return white noise smoothed over ``wave`` px, of standard deviation 1."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    field: NDArray[np.float64] = ndimage.gaussian_filter(noise, wave)
    return field / max(float(field.std()), 1e-12)


def _box_with_margin(mask: Mask, margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin),
    )
