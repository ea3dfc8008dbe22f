"""What makes one tile look like several: symmetries of the square, small angles, other stains, other optics."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]
Labels = NDArray[np.integer]

#: Optical density of haematoxylin, eosin and residual in R, G, B (Ruifrok and Johnston 2001).
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_STAINS = _STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True)
_UNMIX = np.linalg.inv(_STAINS)

#: Share of crops that look like no stain, so that dark on bright is not all that the model knows.
_OTHER_MODALITY_SHARE = 0.1
#: Share of crops that are turned by an angle that is no multiple of 90 degrees, and the largest such angle, degrees.
_TILTED_SHARE, _STEEPEST = 0.25, 45.0
#: What grey is of R, G, B.
_LUMINANCE = np.array([0.299, 0.587, 0.114])

#: Linear RGB to cone responses, and their logarithms to the decorrelated axes of Reinhard et al. (l-alpha-beta).
_TO_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_TO_LAB = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
_FROM_LMS, _FROM_LAB = np.linalg.inv(_TO_LMS), np.linalg.inv(_TO_LAB)


def augment(
    pixels: Pixels, labels: Labels, random: np.random.Generator, *, colours: NDArray[np.float64]
) -> tuple[Pixels, Labels]:
    """Turn and mirror a crop, and see it through another laboratory and scanner.

    Args:
        pixels: uint8 ``(S, S, 3)`` RGB.
        labels: ``(S, S)``.
        random: seed it for the same crop again.
        colours: ``(N, 2, 3)``, `colour_statistics` of tiles whose look may be taken on; N may be 0.
    """
    if random.random() < _TILTED_SHARE:
        pixels, labels = tilted(pixels, labels, float(random.uniform(-_STEEPEST, _STEEPEST)))
    turns, mirrored = int(random.integers(4)), bool(random.random() < 0.5)
    pixels, labels = np.rot90(pixels, turns), np.rot90(labels, turns)
    if mirrored:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    pixels = augment_colour(np.ascontiguousarray(pixels), random, colours=colours)
    if random.random() < _OTHER_MODALITY_SHARE:
        pixels = other_modality(pixels, random)
    return pixels, np.ascontiguousarray(labels)


def tilted(pixels: Pixels, labels: Labels, degrees: float) -> tuple[Pixels, Labels]:
    """Turn by any angle about the middle; what comes in at the corners mirrors the border."""
    side = labels.shape[0]
    margin = math.ceil(side * 0.21)
    around = (margin, margin), (margin, margin)
    wide = Image.fromarray(np.pad(pixels, (*around, (0, 0)), mode="symmetric")).rotate(
        degrees, Image.Resampling.BILINEAR
    )
    marks = Image.fromarray(np.pad(labels, around, mode="symmetric").astype(np.int32)).rotate(degrees)
    inside = slice(margin, margin + side), slice(margin, margin + side)
    return np.asarray(wide)[inside], np.asarray(marks)[inside].astype(labels.dtype)


def augment_colour(pixels: Pixels, random: np.random.Generator, *, colours: NDArray[np.float64]) -> Pixels:
    """Leave three tenths as they are, give others jittered stains or another tile's; then light, blur, compression."""
    drawn = random.random()
    if drawn >= 0.65 and len(colours):
        other = colours[int(random.integers(len(colours)))]
        pixels = stain_jitter(reinhard(pixels, other, share=random.uniform(0.5, 1)), random, sigma=0.06, bias=0.02)
    elif drawn >= 0.30:
        pixels = stain_jitter(pixels, random)
    if random.random() < 0.5:
        pixels = _light(pixels, random)
    if random.random() < 0.15:
        sigma = random.uniform(0.4, 1.2)
        pixels = ndimage.gaussian_filter(pixels, (sigma, sigma, 0))
    if random.random() < 0.10:
        pixels = _compressed(pixels, int(random.integers(40, 90)))
    return pixels


def other_modality(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Return the crop as another technique shows it: bright on dark like fluorescence, grey, or in other colours."""
    if random.random() < 0.7:
        pixels = np.asarray(255 - pixels, dtype=np.uint8)
    if random.random() < 0.5:
        grey = pixels.astype(np.float64) @ _LUMINANCE
        tint = np.ones(3) if random.random() < 0.5 else random.uniform(0, 1, 3)
        return _bytes(grey[..., None] * tint / tint.max())
    return np.ascontiguousarray(pixels[..., random.permutation(3)])


def stain_jitter(pixels: Pixels, random: np.random.Generator, *, sigma: float = 0.12, bias: float = 0.03) -> Pixels:
    """Scale and shift each stain's density on its own (Tellez et al. 2018, "Whole-slide mitosis detection")."""
    density = -np.log((pixels.astype(np.float64) + 1) / 256) @ _UNMIX
    density = density * random.normal(1, sigma, 3).clip(0.5, 1.6) + random.normal(0, bias, 3)
    return _bytes(np.exp(-(density @ _STAINS)) * 256 - 1)


def reinhard(pixels: Pixels, statistics: NDArray[np.float64], *, share: float = 1.0) -> Pixels:
    """Take on another image's colours (Reinhard et al. 2001, "Color transfer between images").

    Args:
        pixels: uint8 ``(H, W, 3)`` RGB.
        statistics: the other's `colour_statistics`.
        share: 0 changes nothing, 1 takes them on wholly.
    """
    axes = _to_axes(pixels)
    own = colour_statistics(pixels)
    mean, spread = (1 - share) * own + share * statistics
    moved = (axes - own[0]) / own[1] * spread + mean
    return _bytes(np.exp(moved @ _FROM_LAB.T) @ _FROM_LMS.T * 255)


def colour_statistics(pixels: Pixels) -> NDArray[np.float64]:
    """Return ``(2, 3)``: mean and standard deviation on each of Reinhard's axes."""
    axes = _to_axes(pixels).reshape(-1, 3)
    return np.stack([axes.mean(axis=0), axes.std(axis=0) + 1e-3])


def _to_axes(pixels: Pixels) -> NDArray[np.float64]:
    cones = (pixels.astype(np.float64) + 1) / 256 @ _TO_LMS.T
    axes: NDArray[np.float64] = np.log(cones) @ _TO_LAB.T
    return axes


def _light(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Vary gamma, contrast and brightness."""
    x = (pixels / 255) ** np.exp(random.normal(0, 0.18))
    return _bytes(((x - 0.5) * random.uniform(0.85, 1.15) + 0.5 + random.uniform(-0.05, 0.05)) * 255)


def _compressed(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _bytes(values: NDArray[np.float64]) -> Pixels:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
