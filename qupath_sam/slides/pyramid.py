"""The levels of a pyramid and the pixel size: what a file says, as QuPath understands it. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from qupath_sam.slides.base import Level

LEVEL_SLACK = 1.01
"""A level may be this much coarser than asked, as in QuPath: pyramids are rarely exact."""

PLAUSIBLE_MPP = (0.05, 50.0)
"""um per px. Finer than any light microscope resolves, coarser than a slide scanner's overview."""


def estimate_downsample(full: tuple[int, int], level: tuple[int, int]) -> float:
    """Return the level-0 px per level px, from the two sizes ``(width, height)``.

    Level sizes are rounded, so that their ratio is not the factor with which the pyramid was made: 250 px become 62 at
    a downsample of 4, not 4.03. Follows ``ImageServerMetadata.estimateDownsample`` of QuPath: the nearest power of two
    where both sizes are within 2 px of it, else whole numbers where within 1 px, else the mean of both ratios.
    """
    (full_width, full_height), (width, height) = full, level
    across, down = full_width / width, full_height / height
    power = 2.0 ** round(math.log2((across + down) / 2))
    if abs(full_height / power - height) < 2 and abs(full_width / power - width) < 2:
        return power
    if abs(full_width / max(1, round(across)) - width) <= 1:
        across = float(max(1, round(across)))
    if abs(full_height / max(1, round(down)) - height) <= 1:
        down = float(max(1, round(down)))
    if power in (across, down):
        return power
    return (across + down) / 2


def levels_of(sizes: Sequence[tuple[int, int]]) -> tuple[Level, ...]:
    """Return levels from their sizes ``(width, height)``, level 0 first."""
    return tuple(Level(estimate_downsample(sizes[0], size), *size) for size in sizes)


def choose_level(downsamples: Iterable[float], wanted: float) -> int:
    """Return the index of the coarsest level that is at least as fine as ``wanted`` (1 % slack); else of the finest."""
    return max(
        ((ds, i) for i, ds in enumerate(downsamples) if ds <= wanted * LEVEL_SLACK),
        default=(0.0, 0),
    )[1]


def plausible_mpp(across: float | None, down: float | None) -> tuple[float | None, str]:
    """Return the pixel size in um (mean of both axes), and why the stated one is not used ("" where it is)."""
    if across is None or down is None or not (math.isfinite(across) and math.isfinite(down)):
        return None, ""
    mpp = (across + down) / 2
    finest, coarsest = PLAUSIBLE_MPP
    if finest <= mpp <= coarsest:
        return mpp, ""
    return None, (
        f"the file says {mpp:.4g} um per px, which no microscope slide has ({finest:g} to {coarsest:g}); "
        "set the pixel size in QuPath or give a downsample"
    )
